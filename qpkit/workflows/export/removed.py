"""What reviewers took away from predictions: deleted, cut off, made another class.

In reviewed regions all that is not drawn is background. Outside of them it is where the label map has a single class:
what was predicted to be of it, and is no more, is not of it. With several classes nobody has said what it is instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import shapely
from shapely.geometry.base import BaseGeometry

from qpkit.core.annotation import DEFAULT_PLANE, Annotation, PathClass, Plane
from qpkit.core.geometry import has_area
from qpkit.core.labels import LabelMap
from qpkit.core.review import REVIEWED_CLASS
from qpkit.ops.masks.paint_order import on_plane
from qpkit.ops.scores.shape_fates import areas_of
from qpkit.predictions.ledger import read_ledgers
from qpkit.workflows.export.reviewed import ReviewedObjects
from qpkit.workflows.inputs.slides import SlideInput
from qpkit.workflows.review.entry import review_entry
from qpkit.workflows.review.result import DECIDED, Reviewed


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What people did to the predictions on a plane of a slide.

    Args:
        rows: Those that they changed or deleted, where it is known how they were.
        gone: Runs of which nothing at all is left there.
    """

    rows: list[Reviewed]
    gone: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What reviewers took away from the predictions of a slide.

    Args:
        rejected: Deleted predictions, as they were.
        background: Predictions of which something outside all regions is background, as `removed_of` has it.
        unlearned: Deleted predictions outside all regions from which nothing is learned.
        gone: Runs of these of which nothing is left on the slide.
    """

    rejected: list[Annotation]
    background: int
    unlearned: int
    gone: tuple[str, ...]


def changes(item: SlideInput, plane: Plane) -> Changes:
    """Compare a slide with the ledgers of its project."""
    if item.entry is None or not on_plane(DEFAULT_PLANE, plane):  # where imports are
        return Changes(rows=[], gone=frozenset())
    ledgers, _ = read_ledgers(item.entry.project_path.parent)
    rows = review_entry(item.entry, ledgers).rows if ledgers else []
    rejected = {row.run for row in rows if row.outcome == "rejected"}
    return Changes(
        rows=[row for row in rows if row.outcome in DECIDED and row.outcome != "accepted" and row.then is not None],
        gone=frozenset(rejected - {row.run for row in rows if row.objects}),
    )


def notes_on_ledgers(items: Iterable[SlideInput]) -> list[str]:
    """Name the ledgers that cannot be read."""
    folders = {item.entry.project_path.parent for item in items if item.entry is not None}
    damaged = [text for folder in sorted(folders) for text in read_ledgers(folder)[1]]
    return [f"{text}: what reviewers deleted is not known" for text in damaged]


def removed_of(row: Reviewed, labels: LabelMap) -> BaseGeometry | None:
    """The part of a prediction where background is now: it was of the only class there is, and is no more.

    Args:
        row: Of `Changes`.
        labels: Of the export.

    Returns:
        An area in slide px; None where nothing was removed, or nobody has said what is there.
    """
    of_it = labels.class_of(row.predicted_class or None) if row.kind in labels.objects else None
    if of_it is None or labels.classes != (of_it,) or row.then is None:
        return None
    still = [one.geometry for one in row.objects if labels.class_of(one.class_name) == of_it]
    left = areas_of([row.then])[0].difference(shapely.union_all(areas_of(still)))
    return left if has_area(left) else None


def with_removed(
    found: ReviewedObjects, changed: Changes, labels: LabelMap, plane: Plane, *, is_background: bool
) -> tuple[ReviewedObjects, Removed]:
    """Let what was removed say that background is there; what nobody has looked at stays unknown.

    Args:
        found: Of `reviewed_objects`.
        changed: Of `changes`.
        labels, plane: Of the export.
        is_background: Whether it says so outside of regions, too. Of runs of which nothing is left it never does:
            they may have been cleared away, or the data may be of another time than the ledger.
    """
    regions = shapely.union_all(areas_of([one.geometry for one in found.draw if one.class_name in labels.regions]))
    removed = [
        removed_of(row, labels) if is_background and row.run not in changed.gone else None for row in changed.rows
    ]
    areas = areas_of([area for area in removed if area is not None])
    outside = areas[~shapely.covers(regions, areas)]
    unknown = shapely.union_all(areas_of([one.geometry for one in found.unknown]))
    background = shapely.union_all(outside).difference(unknown)
    if has_area(background):
        region = Annotation(geometry=background, path_class=PathClass((REVIEWED_CLASS,)), plane=plane)
        found = replace(found, draw=[*found.draw, region])
    rejected, unlearned = [], list[str]()
    for row, area in zip(changed.rows, removed, strict=True):
        if row.outcome == "rejected" and row.then is not None:
            rejected.append(Annotation(geometry=row.then, path_class=PathClass(("rejected",)), plane=plane))
            unlearned += [row.run] if area is None and not areas_of([row.then])[0].intersects(regions) else []
    return found, Removed(
        rejected=rejected,
        background=len(outside),
        unlearned=len(unlearned),
        gone=tuple(sorted(changed.gone & set(unlearned))),
    )
