"""qpkit import-predictions: label rasters to valid polygons in the QuPath project they came from."""
