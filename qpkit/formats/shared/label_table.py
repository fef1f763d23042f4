"""What the values of a label image mean: a labels.toml, or the table of names, numbers and colours that comes with it.

Source: gtruth_codes.tsv of BCSS (label, GT_code), the GTcodes.csv of HistomicsTK (group, overlay_order, GT_code,
color).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from qpkit.core.label_map import MOST_CLASSES
from qpkit.core.labels import LabelClass, LabelMap, label_map_to_builtins, parse_label_map
from qpkit.errors import LabelError
from qpkit.formats.shared.class_names import parse_color
from qpkit.formats.shipped_labels import labels_file

SIDECAR: Final = ".labels.toml"
"""What is written beside every label image: mask.png and mask.labels.toml."""

_VALUE: Final = ("gt_code", "number", "value", "code", "id", "index")
_NAME: Final = ("label", "group", "name", "class", "classification", "category")
_COLOR: Final = ("color", "colour")


def read_label_table(path: Path) -> LabelMap:
    """Read a labels.toml, one that comes with qpkit (by name), or a table in CSV or TSV.

    A table has a column of names (label, group, name or class) and one of numbers (GT_code, value, code or id), and may
    have color and overlay_order. Value 0 is what lies outside: it is not made into objects.

    Raises:
        LabelError: The file is missing, not one of these, or has faults.
    """
    path = labels_file(path)
    if path.suffix.lower() == ".toml":
        return parse_label_map(_text(path), source=str(path))
    rows = _rows(path)
    if len(rows) > MOST_CLASSES:
        raise LabelError(
            f"{path}: {len(rows):,} values, and a label image has at most {MOST_CLASSES} classes; if each number is an "
            f"object: qpkit convert --instances {path}"
        )
    classes = [_class(row, f"{path}: line {number}") for number, row in enumerate(rows, start=2)]
    order = sorted(range(len(rows)), key=lambda i: int(rows[i].get("overlay_order") or 0))
    used = {item.value for item in classes}
    free = [value for value in range(255, 0, -1) if value not in used]
    try:
        return LabelMap(
            classes=tuple(classes[i] for i in order if classes[i].value != 0), ignore=free[0] if free else 255
        )
    except LabelError as err:
        raise LabelError(f"{path}: {err}") from err


def read_instance_classes(stated: str) -> dict[int, str]:
    """Read what --instances says: a table of numbers and classes, or the class of all numbers.

    Returns:
        Class by number; -1 stands for all.

    Raises:
        LabelError: The table cannot be read, or has a value that is no number.
    """
    path = Path(stated)
    if path.suffix.lower() not in (".csv", ".tsv", ".txt"):
        return {-1: stated}
    return {
        item.value: item.name for item in (_class(row, f"{path}: line {n}") for n, row in enumerate(_rows(path), 2))
    }


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as err:
        raise LabelError(f"{path}: label table cannot be read ({err})") from err


def _rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table, with names in lower case."""
    text = _text(path)
    head = text.partition("\n")[0]
    delimiter = max("\t;,", key=head.count)
    rows = [
        {key.strip().lower(): (value or "").strip() for key, value in row.items() if isinstance(key, str)}
        for row in csv.DictReader(text.splitlines(), delimiter=delimiter)
    ]
    if not rows or not set(rows[0]) & set(_VALUE) or not set(rows[0]) & set(_NAME):
        raise LabelError(
            f"{path}: no table with a column of names ({', '.join(_NAME)}) and values ({', '.join(_VALUE)})"
        )
    return rows


def _class(row: Mapping[str, str], where: str) -> LabelClass:
    name, value, color = (next((row[key] for key in keys if row.get(key)), "") for keys in (_NAME, _VALUE, _COLOR))
    try:
        return LabelClass(name, int(value), (name,), parse_color(color))
    except ValueError as err:
        raise LabelError(f"{where}: the value {value!r} is no whole number") from err


def label_table_text(labels: LabelMap) -> str:
    """Write a labels.toml that `parse_label_map` reads."""
    tables = label_map_to_builtins(labels)
    classes, boundary = tables.pop("class"), tables.pop("boundary", None)
    lines = [f"{key} = {_toml(value)}" for key, value in tables.items()]
    if boundary is not None:
        lines += ["", "[boundary]", *(f"{key} = {_toml(value)}" for key, value in boundary.items())]
    for record in classes:
        lines += ["", "[[class]]", *(f"{key} = {_toml(value)}" for key, value in record.items())]
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    """JSON's texts, numbers and lists are TOML's, but for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def sidecar(path: Path) -> Path:
    """Where the labels of a label image stand beside it."""
    return path.with_name(path.stem + SIDECAR)
