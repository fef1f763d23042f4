"""Clicks on a tile: how they become channels of a network's input, and how people who click are simulated."""
