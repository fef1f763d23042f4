"""A review as tables: counts by run, class, slide and reviewer; one row per object."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

from qpkit.files import csv_bytes
from qpkit.ops.scores.shape_fates import LEAST_PART, MOST, MOST_OVERLAP, SAME_IOU
from qpkit.workflows.review.result import DECIDED, OUTCOMES, Reviewed, ReviewReport

NOBODY: Final = "(not said)"
DRAWN: Final = "(drawn)"

KEYS: Final[Mapping[str, Callable[[Reviewed], str]]] = {
    "run": lambda row: row.run or DRAWN,
    "class": lambda row: row.predicted_class or row.class_now or "(none)",
    "slide": lambda row: row.slide,
    "reviewer": lambda row: row.reviewer or NOBODY,
}
"""What counts are told by; the class is the predicted one, of added objects their own."""

_HIDDEN: Final = ("then", "objects")


def counts_by(rows: Sequence[Reviewed], key: str) -> list[dict[str, Any]]:
    """Counts of every outcome for each run, class, slide or reviewer, in the order of their names.

    Returns:
        Dicts of the key, each of OUTCOMES, "objects" (all of the row), "agreed" (accepted of decided, 0..1 or None),
        "median_iou" of the edited ones, "seconds" in all, where known.
    """
    groups: dict[str, list[Reviewed]] = {}
    for row in rows:
        groups.setdefault(KEYS[key](row), []).append(row)
    return [{key: name, **figures_of(own)} for name, own in sorted(groups.items())]


def figures_of(rows: Sequence[Reviewed]) -> dict[str, Any]:
    """The figures of some rows, as in `counts_by`."""
    counts = Counter(row.outcome for row in rows)
    decided = sum(counts[name] for name in DECIDED)
    ious = [row.iou for row in rows if row.outcome == "edited" and row.iou is not None]
    timed = [row.seconds for row in rows if row.seconds is not None]
    return {
        "objects": len(rows),
        **{name: counts[name] for name in OUTCOMES},
        "agreed": round(counts["accepted"] / decided, 4) if decided else None,
        "median_iou": round(statistics.median(ious), 4) if ious else None,
        "seconds": round(sum(timed), 1) if timed else None,
    }


def class_changes(rows: Sequence[Reviewed]) -> list[dict[str, Any]]:
    """How often which class became which, the most frequent first."""
    counts = Counter(
        (r.predicted_class or "(none)", r.class_now or "(none)") for r in rows if r.outcome == "reclassified"
    )
    return [{"from": a, "to": b, "objects": n} for (a, b), n in sorted(counts.items(), key=lambda x: (-x[1], x[0]))]


def review_to_builtins(report: ReviewReport) -> dict[str, Any]:
    """The counts as plain values; objects are in the CSV."""
    return {
        "format": "qpkit review 1",
        "thresholds": {
            "same_iou": SAME_IOU, "most_of_a_part": MOST, "least_part": LEAST_PART, "parts_overlap": MOST_OVERLAP
        },
        "all": figures_of(report.rows),
        **{f"by_{key}": counts_by(report.rows, key) for key in KEYS},
        "class_changes": class_changes(report.rows),
        "notes": list(report.notes),
    }  # fmt: skip


def review_csv(report: ReviewReport) -> bytes:
    """One row per object, UTF-8."""
    names = [field.name for field in fields(Reviewed) if field.name not in _HIDDEN]
    return csv_bytes([names, *([_cell(getattr(row, name)) for name in names] for row in report.rows)])


def _cell(value: Any) -> Any:
    if isinstance(value, tuple):
        return " ".join(value)
    return "" if value is None else value
