"""From tiles on disk to mini-batches in memory: which tiles, in which order, with which labels."""
