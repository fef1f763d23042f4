"""Pure work on values: rasterize, vectorize, merge, tissue. No files."""
