"""QuPath's own formats of a file, one file each, as in `qpkit.formats.plugins`."""
