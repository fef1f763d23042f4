"""Java serialization streams: scanned, read and written anew. Knows the grammar, nothing of QuPath."""
