"""qpkit split and qpkit stats: the table of tiles, shared out anew and summed up."""
