"""qpkit simulate: the review loop, played with the annotations that are there as the pathologist."""
