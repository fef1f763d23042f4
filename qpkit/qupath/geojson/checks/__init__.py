"""What is wrong with a GeoJSON file, for which QuPath, and how to mend it."""
