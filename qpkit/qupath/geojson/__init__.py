"""QuPath's GeoJSON: every dialect from 0.2 to 0.7 is read, one is written that all of them import."""
