"""instances/SLIDE.csv: which object each number of a slide's instance masks is."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from qpkit.ops.masks.paint_order import Instance

_COLUMNS: Final = ("number", "object", "class", "label", "value")


def write_instances(path: Path, instances: Sequence[Instance]) -> None:
    """Write a row per instance: its number, QuPath's id and class of the object, label and value of the mask."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(_COLUMNS)
        rows.writerows((i.number, i.object_id, i.class_name, i.label, i.value) for i in instances)
