"""qpkit compare: readers against each other."""
