"""Figures and pictures (matplotlib, Pillow), made of values; no screen needed."""
