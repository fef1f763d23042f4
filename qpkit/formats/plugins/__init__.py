"""Formats: one file each. The next one is a file beside these with a FORMAT, see `qpkit.formats.format`."""
