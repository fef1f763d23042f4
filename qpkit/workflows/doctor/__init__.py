"""qpkit doctor: what is wrong with a project or a GeoJSON file, and the mending."""
