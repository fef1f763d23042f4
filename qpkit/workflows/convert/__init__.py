"""qpkit convert: annotations from one format to another."""
