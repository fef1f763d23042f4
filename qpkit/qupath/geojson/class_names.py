"""Class names as QuPath takes them apart: "Tumor: Positive" has two, split at colons and stripped as Java strips."""

from __future__ import annotations

from qpkit.qupath.geojson.gson import JAVA_BLANKS


def split_name(text: str) -> list[str]:
    """Split at colons as Java does: without the empty names at the end, so that ":" has none; nothing is stripped."""
    parts = text.split(":")
    while len(parts) > 1 and not parts[-1]:
        parts.pop()
    return parts if parts[0] or len(parts) > 1 or ":" not in text else []


def strip_name(text: str) -> str:
    """Strip a name as Java does."""
    return text.strip(JAVA_BLANKS)


def names_in(text: str) -> list[str]:
    """List the names in a text that are not blank, not even with blanks that Java does not strip."""
    return [strip_name(part) for part in text.split(":") if part.strip()]
