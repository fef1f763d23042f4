"""What the user points at: slides, entries of projects, label images, and which tiles are tissue."""
