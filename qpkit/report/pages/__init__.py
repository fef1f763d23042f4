"""Self-contained HTML pages made of values: the report of a training, tiles beside their augmentations."""
