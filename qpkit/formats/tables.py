"""The formats as rows and Markdown tables, for the command line and docs/formats.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from qpkit.formats.format import Format

HEAD: Final = ("name", "format", "files", "cannot hold, or changes")
"""Over the rows of `format_row`."""


def format_row(item: Format) -> tuple[str, str, str, str]:
    """Name, title, endings, and what it cannot hold, as for HEAD."""
    return item.name, item.title, " ".join(item.suffixes), ", ".join(item.cannot_hold) or "-"


def rules_table(formats: Sequence[Format]) -> str:
    """Make the Markdown table of how formats hold things; those of the same rule share a row."""
    titles: dict[tuple[str, str], list[str]] = {}
    for item in formats:
        if item.rule:
            titles.setdefault((item.rule, item.source), []).append(item.title)
    return markdown_table(
        ("format", "rule", "source"),
        [(", ".join(names), rule, source) for (rule, source), names in titles.items()],
    )


def idle_table(formats: Sequence[Format]) -> str:
    """Make the Markdown table of the fields that say nothing about the objects."""
    rows = [(item.title, item.fields) for item in formats if item.fields is not None and item.fields.idle_paths()]
    return markdown_table(
        ("format", "fields that are passed over"),
        [(title, ", ".join(f"`{path}`" for path in sorted(fields.idle_paths()))) for title, fields in rows],
    )


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Make a Markdown table; cells may hold Markdown of one line, no vertical bars."""
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join([lines[0], f"|{'---|' * len(head)}", *lines[1:]])
