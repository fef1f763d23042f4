"""Points on slides into objects: models that answer clicks, what they answer, and the rasters of it."""
