"""qpkit export: slides and their annotations to tiles, masks and a table."""
