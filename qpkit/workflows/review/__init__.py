"""qpkit review: what became of everything that was imported, by comparing the project with its ledgers."""
