"""Losses: one term a file, and their weighted sum."""
