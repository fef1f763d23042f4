"""Every format that qpkit convert reads and writes: QuPath's own, everybody else's, and projects."""

from __future__ import annotations

from typing import Final

from qpkit.formats.format import Format
from qpkit.formats.registry import FORMATS, formats_in, in_order
from qpkit.formats.shared.cannot_hold import CannotHold, cannot_hold
from qpkit.formats.tables import HEAD, format_row, idle_table, markdown_table, rules_table
from qpkit.workflows.convert import qupath_formats

ALL_FORMATS: Final[tuple[Format, ...]] = in_order(*formats_in(qupath_formats), *FORMATS)
"""Every format of one file."""

PROJECT: Final = "project"
"""A project is a folder, not a format of a file; the workflow itself reads and writes it."""

PROJECT_CANNOT_HOLD: Final[CannotHold] = cannot_hold("mixed shapes")
"""Of adding objects to an entry."""


def format_rows() -> list[tuple[str, str, str, str]]:
    """List the formats and what each cannot hold, as for `qpkit.formats.tables.HEAD`."""
    project = (PROJECT, "QuPath project", ".qpproj, folder", ", ".join(PROJECT_CANNOT_HOLD))
    return [project, *map(format_row, ALL_FORMATS)]


def formats_markdown() -> str:
    """Make the Markdown table of the formats for docs/formats.md."""
    return markdown_table(HEAD, [(f"`{name}`", *rest) for name, *rest in format_rows()])


def rules_markdown() -> str:
    """Make the Markdown table of how each format holds things for docs/formats.md."""
    return rules_table(ALL_FORMATS)


def idle_markdown() -> str:
    """Make the Markdown table of the fields that are passed over for docs/formats.md."""
    return idle_table(ALL_FORMATS)
