"""Annotations to masks: what is drawn, in which order, and which pixels it has."""
