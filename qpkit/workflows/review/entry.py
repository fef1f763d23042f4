"""One entry of a project against what the ledgers say was put there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from qpkit.core.annotation import Annotation
from qpkit.core.geometry import has_area, mend
from qpkit.core.provenance import (
    RUN_KEY,
    has_prediction_id,
    is_prediction,
    origin_of,
    predicted_class_of,
    run_of,
    same_shapes,
    was_locked,
)
from qpkit.core.review import is_mark, is_reviewed, is_reviewed_region, is_unsure, reviewer_of, said_of, seconds_of
from qpkit.errors import FormatError
from qpkit.ops.scores.shape_fates import SAME_IOU, Fate, areas_of, hausdorff, iou, shape_fates
from qpkit.predictions.ledger import PROBABILITY, Ledger
from qpkit.qupath import Entry
from qpkit.workflows.review.result import Outcome, Reviewed

_REGION: Final = "Region*"
_INSIDE: Final = 0.5
"""An object lies in reviewed regions with at least this fraction of its area."""


@dataclass(slots=True)
class EntryReview:
    """What became of everything in one entry.

    Args:
        rows: As ReviewReport has them, of all runs.
        notes: What could not be known.
    """

    rows: list[Reviewed] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Place:
    """An entry and what is there.

    Args:
        entry: Itself.
        objects: All that is there.
        reviewed: Where everything was looked at; None for nowhere.
    """

    entry: Entry
    objects: Sequence[Annotation]
    reviewed: BaseGeometry | None


def review_entry(entry: Entry, ledgers: Sequence[Ledger]) -> EntryReview:
    """Compare an entry with the ledgers of a project; nothing is changed.

    Each run is compared by itself, so that of two runs on top of each other each has its counts.
    """
    found = EntryReview()
    rows = {ledger.run: _rows_of(ledger, str(entry.id)) for ledger in ledgers}
    try:
        objects = entry.objects() if entry.has_data else []
    except FormatError as err:
        found.notes.append(f"{entry.name}: cannot be read ({err}): what became of its objects is not known")
        objects = None
    if objects is None or (not entry.has_data and any(rows.values())):
        if objects is not None:
            found.notes.append(f"{entry.name}: has no data file: what became of its objects is not known")
        for run, own in rows.items():
            found.rows += [_gone(row, run, entry.name, "unknown") for row in own]
        return found
    place = _Place(entry, objects, reviewed_area(objects, entry.metadata, entry.image_size))
    claimed: set[int] = set()
    for ledger in ledgers:
        if rows[ledger.run]:
            was_locked_all = bool(ledger.entries.get(str(entry.id), {}).get("locked"))
            claimed |= _review_run(place, ledger.run, rows[ledger.run], was_locked_all, found)
    _without_ledger(place, claimed, found)
    _doubled(rows, entry.name, found)
    if not found.rows:  # nothing was imported there, so nothing was added to it
        return found
    people = [k for k, o in enumerate(objects) if k not in claimed and _is_drawn(o)]
    found.rows += [_added(place, objects[k]) for k in people]
    return found


def reviewed_area(
    objects: Sequence[Annotation], metadata: Mapping[str, str], size: tuple[int, int] | None
) -> BaseGeometry | None:
    """Where everything was looked at: regions that say so, or all of an image whose metadata says so; None: nowhere.

    Args:
        objects: Of one slide.
        metadata: Of its entry.
        size: Width and height, slide px.
    """
    regions: list[BaseGeometry] = [o.geometry for o in objects if is_reviewed_region(o) and has_area(o.geometry)]
    if is_reviewed(metadata) and size is not None:
        regions.append(shapely.box(0, 0, *size))
    if not regions:
        return None
    area = shapely.union_all(areas_of(regions))
    shapely.prepare(area)  # it is asked for every object
    return area


def _rows_of(ledger: Ledger, entry: str) -> list[dict[str, Any]]:
    is_own = np.array(ledger.table["entry"].to_pylist(), object) == entry
    return [row | {"shape": shapely.from_wkb(row["geometry"])} for row in _filtered(ledger.table, is_own)]


def _filtered(table: Any, mask: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.take(np.flatnonzero(mask)).to_pylist()
    return rows


def _is_drawn(item: Annotation) -> bool:
    """Whether people drew it, and not to mark a region."""
    is_region = is_reviewed_region(item) or is_mark(item) or item.class_name == _REGION
    return item.kind == "annotation" and not is_prediction(item) and not is_region


def _review_run(
    place: _Place, run: str, every: Sequence[Mapping[str, Any]], all_locked: bool, found: EntryReview
) -> set[int]:
    """Review what one run put there; gives the positions of the objects that became of it."""
    name, objects = place.entry.name, place.objects
    found.rows += [_gone(row, run, name, row["state"]) for row in every if row["state"] != "imported"]
    rows = [row for row in every if row["state"] == "imported"]
    usable = [k for k, o in enumerate(objects) if _may_be_of(o, run)]
    ids: dict[str | None, int] = {}
    for k in usable:
        ids.setdefault(objects[k].id, k)
    known = [ids.get(row["id"]) for row in rows]
    fates = _fates(rows, objects, known, usable)
    firsts = [i for i, fate in enumerate(fates) if fate.kind == "same"]
    same = same_shapes([rows[i]["shape"] for i in firsts], [objects[fates[i].now[0]].geometry for i in firsts])
    unchanged = {i for i, is_same in zip(firsts, same.tolist(), strict=True) if is_same}
    for i, (row, fate) in enumerate(zip(rows, fates, strict=True)):
        there = [objects[k] for k in fate.now]
        now = _Now(fate, there, changed=i not in unchanged, by_id=known[i] is not None, all_locked=all_locked)
        found.rows.append(_reviewed(place, run, row, now))
    claimed = {k for fate in fates for k in fate.now}
    _notes_on(place, run, rows, known, fates, found)
    left = [k for k in usable if k not in claimed and run_of(objects[k]) == run]
    there_twice = {objects[k].id for k in claimed}
    # With an id of its own it may be one of which the ledger lost sight; see _without_ledger.
    copies = [k for k in left if objects[k].id in there_twice or not has_prediction_id(objects[k])]
    if copies:
        found.notes.append(
            f"{name}: {len(copies)} object(s) say that they are of run {run}, but are copies of what it put there: not "
            "counted"
        )
    return claimed | set(copies)


def _may_be_of(item: Annotation, run: str) -> bool:
    """Whether an object can be what became of an import: of the run, or of none that is known."""
    if is_reviewed_region(item) or is_mark(item) or item.class_name == _REGION or item.kind in ("tile", "tma_core"):
        return False
    return has_area(item.geometry) and run_of(item) in (run, None)


def _fates(
    rows: Sequence[Mapping[str, Any]], objects: Sequence[Annotation], known: Sequence[int | None], usable: Sequence[int]
) -> list[Fate]:
    """What became of each row; those whose shape is as it was are not compared with others."""
    paired = [(i, k) for i, k in enumerate(known) if k is not None]
    then, now = [rows[i]["shape"] for i, _ in paired], [objects[k].geometry for _, k in paired]
    same = same_shapes(then, now).tolist()
    settled = {i: k for (i, k), is_same in zip(paired, same, strict=True) if is_same}
    open_rows = [i for i in range(len(rows)) if i not in settled]
    others = sorted(set(usable) - set(settled.values()))
    position = {k: p for p, k in enumerate(others)}
    open_known = [None if (k := known[i]) is None else position[k] for i in open_rows]
    made = shape_fates([rows[i]["shape"] for i in open_rows], [objects[k].geometry for k in others], open_known)
    fates = {i: Fate("same", (k,)) for i, k in settled.items()}
    for i, fate in zip(open_rows, made, strict=True):
        fates[i] = replace(fate, now=tuple(others[p] for p in fate.now))
    return [fates[i] for i in range(len(rows))]


@dataclass(frozen=True, slots=True)
class _Now:
    """What is there now of a predicted object.

    Args:
        fate: What became of its shape.
        there: The objects.
        changed: Whether the shape is another one.
        by_id: Whether an object has its id.
        all_locked: Whether all objects of the import were locked.
    """

    fate: Fate
    there: Sequence[Annotation]
    changed: bool
    by_id: bool
    all_locked: bool


def _reviewed(place: _Place, run: str, row: Mapping[str, Any], now: _Now) -> Reviewed:
    plain = _gone(row, run, place.entry.name, "rejected")
    fate, there, changed = now.fate, now.there, now.changed
    if not there:
        return plain
    first = there[0]
    shape = first.geometry if len(there) == 1 else shapely.union_all(areas_of([o.geometry for o in there]))
    seconds = [s for o in there if (s := seconds_of(o)) is not None]
    outcome: Outcome
    if fate.kind in ("split", "merged"):
        outcome = "split" if fate.kind == "split" else "merged"
    else:
        is_locked = was_locked(first) or (now.all_locked and RUN_KEY not in first.metadata)
        outcome = _outcome(first, row["class"], changed, is_locked, place.reviewed)
    apart = hausdorff(row["shape"], shape) if changed and fate.kind != "merged" else None
    mpp = place.entry.mpp()
    return replace(
        plain,
        outcome=outcome,
        class_now=" | ".join(sorted({o.class_name or "" for o in there})),
        iou=round(iou(row["shape"], shape), 4) if changed and fate.kind != "merged" else None,
        distance_px=None if apart is None else round(apart, 2),
        distance_um=None if apart is None or mpp is None else round(apart * mpp, 2),
        matched_by="id" if now.by_id else "shape",
        now=tuple(o.id or "" for o in there),
        reviewer=next((who for o in there if (who := reviewer_of(o))), ""),
        seconds=sum(seconds) if seconds else None,
        objects=tuple(there),
    )


def _outcome(
    item: Annotation, predicted: str | None, changed: bool, locked_before: bool, reviewed: BaseGeometry | None
) -> Outcome:
    """What became of an object that is there by itself."""
    if is_unsure(item):
        return "unsure"
    if item.class_name != predicted:
        return "reclassified"
    if changed:
        return "edited"
    if (item.locked and not locked_before) or said_of(item.metadata) or _is_inside(item.geometry, reviewed):
        return "accepted"
    return "untouched"


def _is_inside(shape: BaseGeometry, reviewed: BaseGeometry | None) -> bool:
    if reviewed is None or not shape.intersects(reviewed):
        return False
    area = mend(shape)[0]
    return bool(area.intersection(reviewed).area >= _INSIDE * area.area)


def _gone(row: Mapping[str, Any], run: str, slide: str, outcome: Outcome) -> Reviewed:
    """A row of a ledger of which nothing is known to be there."""
    return Reviewed(
        outcome=outcome, run=run, entry=row["entry"], slide=slide, id=row["id"], predicted_class=row["class"] or "",
        kind=row["kind"], probability=row["probability"], imported=row["when"] or "", then=row["shape"],
        **_bounds(row["shape"]),
    )  # fmt: skip


def gone_rows(ledger: Ledger, entry: str) -> list[Reviewed]:
    """The rows of an entry that the project does not have any more."""
    return [_gone(row, ledger.run, row["slide"] or entry, "unknown") for row in _rows_of(ledger, entry)]


def _bounds(shape: BaseGeometry) -> dict[str, Any]:
    left, top, right, bottom = shape.bounds if not shape.is_empty else (0.0, 0.0, 0.0, 0.0)
    sides = {"x": left, "y": top, "width": right - left, "height": bottom - top, "area_px2": shape.area}
    return {name: round(value, 2) for name, value in sides.items()}


def _now(place: _Place, item: Annotation, outcome: Outcome, run: str, predicted: str) -> Reviewed:
    """An object of which only that is known that is there."""
    return Reviewed(
        outcome=outcome, run=run, entry=str(place.entry.id), slide=place.entry.name, id=item.id or "",
        predicted_class=predicted, class_now=item.class_name or "", kind=item.kind,
        probability=item.measurements.get(PROBABILITY), now=(item.id or "",), reviewer=reviewer_of(item),
        seconds=seconds_of(item), objects=(item,), matched_by="metadata" if run else "", **_bounds(item.geometry),
    )  # fmt: skip


def _added(place: _Place, item: Annotation) -> Reviewed:
    return _now(place, item, "unsure" if is_unsure(item) else "added", "", "")


def _without_ledger(place: _Place, claimed: set[int], found: EntryReview) -> None:
    """Judge imported objects that no ledger has, by their metadata."""
    runs: Counter[str] = Counter()
    for k, item in enumerate(place.objects):
        run = run_of(item)
        if run is None or k in claimed:
            continue
        predicted = predicted_class_of(item)
        # An object that was not only accepted and has its class has another shape.
        changed = origin_of(item) == "edited"
        outcome = _outcome(item, predicted, changed, was_locked(item), place.reviewed)
        found.rows.append(_now(place, item, outcome, run, predicted or ""))
        runs[run] += 1
    for run, count in runs.items():
        found.notes.append(
            f"{place.entry.name}: no ledger has {count} object(s) of run {run} (none kept, damaged, or copied from "
            "elsewhere): judged by their metadata; what was rejected and how far outlines moved is not known"
        )


def _notes_on(
    place: _Place,
    run: str,
    rows: Sequence[Mapping[str, Any]],
    known: Sequence[int | None],
    fates: Sequence[Fate],
    found: EntryReview,
) -> None:
    by_shape = sum(bool(fate.now) and k is None for fate, k in zip(fates, known, strict=True))
    if by_shape:
        found.notes.append(
            f"{place.entry.name}: {by_shape} object(s) of run {run} found by shape, not by id: whether they were "
            "edited or drawn anew is not known"
        )
    if rows and not any(fate.now for fate in fates):
        found.notes.append(
            f"{place.entry.name}: none of the {len(rows)} object(s) of run {run} is there: all rejected, unless the "
            "data are of another time than the ledger"
        )


def _doubled(rows: Mapping[str, Sequence[Mapping[str, Any]]], name: str, found: EntryReview) -> None:
    """Say it where two runs lie on top of each other."""
    shapes = {run: [r["shape"] for r in own if r["state"] == "imported"] for run, own in rows.items()}
    runs = [run for run, own in shapes.items() if own]
    for number, first in enumerate(runs):
        for second in runs[number + 1 :]:
            if count := _on_top(shapes[first], shapes[second]):
                found.notes.append(
                    f"{name}: {count} object(s) of runs {first} and {second} lie on top of each other: one without its "
                    "id counts for both"
                )


def _on_top(first: Sequence[BaseGeometry], second: Sequence[BaseGeometry]) -> int:
    a, b = areas_of(first), areas_of(second)
    i, j = shapely.STRtree(b).query(a, predicate="intersects")
    shared = shapely.area(shapely.intersection(a[i], b[j]))
    both = shapely.area(a[i]) + shapely.area(b[j]) - shared
    return len(set(i[shared >= SAME_IOU * both].tolist()))
