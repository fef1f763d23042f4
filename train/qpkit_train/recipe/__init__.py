"""Recipes: what can be set, which values make sense, and how they are read. Imports no torch."""
