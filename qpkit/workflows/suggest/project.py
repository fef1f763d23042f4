"""Suggestions as rectangles in a project, and taken out again."""

from __future__ import annotations

import hashlib
import uuid
from typing import Final

import shapely

from qpkit.core.annotation import Annotation, PathClass, argb
from qpkit.core.review import SUGGESTED_CLASS, SUGGESTION_KEY, is_suggestion
from qpkit.errors import ProjectError
from qpkit.files import AnyPath
from qpkit.qupath import Entry, Project, open_project
from qpkit.workflows.inputs.settings import ALL_SLIDES, SlideSettings
from qpkit.workflows.inputs.slides import entries_where
from qpkit.workflows.suggest.result import Suggestion, SuggestReport

_CLASS: Final = PathClass((SUGGESTED_CLASS,), argb(255, 0, 200))
_NAMESPACE: Final = uuid.UUID("2b0f4b0e-7f4e-4c55-9d0a-56c3b2a5f1d7")


def write_suggestions(project: AnyPath, report: SuggestReport) -> tuple[int, int]:
    """Put suggestions into a project, for those that are there.

    Returns:
        (written, replaced): how many are there now, and how many earlier ones were taken out.
    """
    text = "/".join(f"{one.candidate.item.source.name} {one.candidate.region}" for one in report.suggestions)
    call = f"suggest-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
    removed = 0
    for entry in open_project(project).entries:
        own = [one for one in report.suggestions if _entry_id(one) == str(entry.id)]
        there = _suggestions(entry)
        made = [_annotation(one, call) for one in own]
        if set(there.values()) != {o.id for o in made}:
            entry.replace_objects(remove=set(there), add=made)
            removed += len(there)
    return len(report.suggestions), removed


def remove_suggestions(project: Project, slides: SlideSettings = ALL_SLIDES, *, dry_run: bool = False) -> int:
    """Take all suggestions out that are still there as such; gives how many. A dry run only counts them.

    Args:
        project: QuPath has to be closed.
        slides: Which entries.
        dry_run: Change nothing.

    Raises:
        ProjectError: There is none, or an entry does not exist.
    """
    removed = 0
    for entry in entries_where(project.chosen(slides.entries), slides.where):
        there = _suggestions(entry)
        if there and not dry_run:
            entry.replace_objects(remove=set(there), add=())
        removed += len(there)
    if not removed:
        raise ProjectError(f"{project.path}: no suggestion is there; those that became a Region* stay")
    return removed


def _suggestions(entry: Entry) -> dict[int, str | None]:
    """The ids of the suggestions that are there, by their place among the objects."""
    return {number: o.id for number, o in enumerate(entry.objects()) if is_suggestion(o)}


def _entry_id(one: Suggestion) -> str:
    entry = one.candidate.item.entry
    return "" if entry is None else str(entry.id)


def _annotation(one: Suggestion, call: str) -> Annotation:
    region, name = one.candidate.region, one.candidate.item.source.name
    box = shapely.box(region.x, region.y, region.x + region.width, region.y + region.height)
    return Annotation(
        geometry=box,
        shape="rectangle",
        path_class=_CLASS,
        id=str(uuid.uuid5(_NAMESPACE, f"{call}/{name}/{region}/{one.rank}/{one.scores}")),
        name=one.name,
        measurements={"Rank": float(one.rank), **one.scores},
        metadata={SUGGESTION_KEY: call},
    )
