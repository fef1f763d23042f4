"""From the pixels of a slide to those of its rasters: what is read, blended, cleared and written."""
