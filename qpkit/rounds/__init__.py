"""Whole rounds of the loop: played with a simulated pathologist, and with a network's own labels."""
