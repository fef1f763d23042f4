"""What is said before a project is changed that somebody has signed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qpkit.cli.shared.console import say

if TYPE_CHECKING:
    from qpkit.qupath import Project


def warn_of_stamps(project: Project) -> None:
    """Say that data files of this project are signed by qTrace, if they are: a change breaks the stamps."""
    stamps = project.stamps()
    if stamps:
        say(
            f"note: {len(stamps)} qTrace stamp(s) in {stamps[0].parent}: data files that change no longer fit them; "
            "work on a copy of the project if they matter"
        )
