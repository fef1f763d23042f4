"""Frozen values and their laws: geometry, annotations, labels, tiles. Knows no files, no clock, no randomness."""
