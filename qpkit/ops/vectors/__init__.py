"""Masks to polygons, and what can be wrong with a polygon."""
