"""qpkit doctor without a path: what this installation has, and what it lacks; torch is the trainer's to look at."""
