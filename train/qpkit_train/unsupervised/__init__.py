"""Tissue sorted without labels: what looks alike gets one number, by networks that nobody has taught anything."""
