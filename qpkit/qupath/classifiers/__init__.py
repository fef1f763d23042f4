"""Pixel classifiers that QuPath loads: what is in their JSON, and where they lie in a project."""
