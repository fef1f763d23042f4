"""Encoders that learn from tissue that nobody has annotated."""
