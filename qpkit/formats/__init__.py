"""Everybody else's annotation files: read into annotations and written from them, with what each cannot hold."""
