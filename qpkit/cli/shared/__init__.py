"""What several commands use: the console, tables, the way to the trainer."""
