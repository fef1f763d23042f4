"""Rounds of pseudo-labels: a network labels what nobody annotated, and the next one learns from both."""
