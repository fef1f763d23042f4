"""Pictures from values (matplotlib, no screen needed)."""
