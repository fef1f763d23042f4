"""QuPath projects: entries, class lists, data folders; opened, changed and made."""
