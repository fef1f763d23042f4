"""qpkit evaluate: predictions against the ground truth."""
