"""Readers of small projects, and how they are compared."""

from __future__ import annotations

from collections.abc import Sequence

import shapely
from small_project import CLASSES, MPP

from qpkit.core.annotation import Annotation, PathClass
from qpkit.workflows.compare.compare import compare
from qpkit.workflows.compare.readers import readers_of
from qpkit.workflows.compare.result import Comparison, Row
from qpkit.workflows.compare.settings import CompareSettings

SETTINGS = CompareSettings(mpp=MPP)
REGION = Annotation(geometry=shapely.box(0, 0, 200, 200), path_class=PathClass(("Region*",)), name="left")


def drawn(*boxes: tuple[int, int, int, int], class_number: int = 0) -> list[Annotation]:
    return [Annotation(geometry=shapely.box(*box), path_class=CLASSES[class_number]) for box in boxes]


def found(sources: Sequence[object], settings: CompareSettings = SETTINGS) -> Comparison:
    return compare(readers_of([str(source) for source in sources], settings), settings)


def row(comparison: Comparison, name: str, level: str = "all", *, slide: str = "", region: str = "") -> Row:
    rows = [r for r in comparison.rows if (r.level, r.class_name, r.second != "") == (level, name, True)]
    (one,) = [r for r in rows if r.slide == slide and r.region == region]
    return one
