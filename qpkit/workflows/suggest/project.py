"""Suggestions as rectangles in a project, and taken out again."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from typing import Final

import shapely

from qpkit.core.annotation import Annotation, PathClass, argb
from qpkit.core.review import SUGGESTED_CLASS, SUGGESTION_KEY, is_suggestion
from qpkit.errors import ProjectError
from qpkit.qupath import Project
from qpkit.workflows.suggest.result import Suggestion, SuggestReport

_CLASS: Final = PathClass((SUGGESTED_CLASS,), argb(255, 0, 200))
_NAMESPACE: Final = uuid.UUID("2b0f4b0e-7f4e-4c55-9d0a-56c3b2a5f1d7")


def write_suggestions(project: Project, report: SuggestReport) -> tuple[int, int]:
    """Put suggestions into a project, for those that are there.

    Returns:
        (written, replaced): how many are there now, and how many earlier ones were taken out.
    """
    text = "/".join(f"{one.candidate.item.source.name} {one.candidate.region}" for one in report.suggestions)
    call = f"suggest-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
    removed = 0
    for entry in project.entries:
        own = [one for one in report.suggestions if _entry_id(one) == str(entry.id)]
        there = [o for o in entry.objects() if is_suggestion(o)] if entry.has_data else []
        made = [_annotation(one, call) for one in own]
        if {o.id for o in there} == {o.id for o in made} and all(o.id is not None for o in there):
            continue
        removed += len(there)
        if there or made:
            entry.replace_objects(remove=_ids(there, entry.name), add=made)
    return len(report.suggestions), removed


def remove_suggestions(project: Project, entries: Sequence[str] = ()) -> int:
    """Take all suggestions out that are still there as such; gives how many.

    Raises:
        ProjectError: There is none.
    """
    removed = 0
    for entry in project.chosen(entries):
        there = [o for o in entry.objects() if is_suggestion(o)] if entry.has_data else []
        if there:
            entry.replace_objects(remove=_ids(there, entry.name), add=())
            removed += len(there)
    if not removed:
        raise ProjectError(f"{project.path}: no suggestion is there; those that became a Region* stay")
    return removed


def _ids(there: Sequence[Annotation], name: str) -> set[str]:
    """Their ids.

    Raises:
        ProjectError: One has none (a project of QuPath 0.2 or 0.3).
    """
    ids = {o.id for o in there if o.id is not None}
    if len(ids) < len(there):
        raise ProjectError(f"{name}: a suggestion has no id (QuPath before 0.4); delete {SUGGESTED_CLASS} in QuPath")
    return ids


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
