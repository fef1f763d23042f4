"""qpkit suggest: where annotating is worth the most."""
