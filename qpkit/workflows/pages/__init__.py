"""qpkit preview: one HTML page about a project or an export."""
