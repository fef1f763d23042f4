"""What the values of a label image mean: a labels.toml, or the table of names, numbers and colours that comes with it.

Source: gtruth_codes.tsv of BCSS (label, GT_code), the GTcodes.csv of HistomicsTK (group, overlay_order, GT_code,
color).
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Final

from qpkit.core.label_map import MOST_CLASSES
from qpkit.core.labels import LabelClass, LabelMap, label_map_to_builtins, parse_label_map
from qpkit.errors import LabelError
from qpkit.formats.shared.class_names import parse_color
from qpkit.formats.shared.fields import Fields, UnreadJson
from qpkit.formats.shipped_labels import labels_file

SIDECAR: Final = ".labels.toml"
"""What is written beside every label image: mask.png and mask.labels.toml."""

_VALUE: Final = ("gt_code", "number", "value", "code", "id", "index")
_NAME: Final = ("label", "group", "name", "class", "classification", "category")
_COLOR: Final = ("color", "colour")
_ORDER: Final = ("overlay_order",)


def read_label_table(path: Path, notes: Counter[str] | None = None) -> LabelMap:
    """Read a labels.toml, one that comes with qpkit (by name), or a table in CSV or TSV.

    A table has a column of names (label, group, name or class) and one of numbers (GT_code, value, code or id), and may
    have color and overlay_order. Value 0 is what lies outside: it is not made into objects.

    Args:
        path: The file.
        notes: Counts the cells of a table that are not read, by their column.

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
    placed = [(row, f"{path}: line {number}") for number, row in enumerate(rows, start=2)]
    classes = [_class(row, where) for row, where in placed]
    orders = [_whole(_taken(row, _ORDER) or "0", "overlay_order", where) for row, where in placed]
    order = sorted(range(len(rows)), key=orders.__getitem__)
    if notes is not None:
        notes.update(_unread(rows))
    used = {item.value for item in classes}
    free = [value for value in range(255, 0, -1) if value not in used]
    try:
        return LabelMap(
            classes=tuple(classes[i] for i in order if classes[i].value != 0), ignore=free[0] if free else 255
        )
    except LabelError as err:
        raise LabelError(f"{path}: {err}") from err


def read_instance_classes(stated: str, notes: Counter[str] | None = None) -> dict[int, str]:
    """Read what --instances says: a table of numbers and classes, or the class of all numbers.

    Args:
        stated: The table, or the class.
        notes: Columns that are not read are counted here.

    Returns:
        Class by number; -1 stands for all.

    Raises:
        LabelError: The table cannot be read, or has a value that is no number.
    """
    path = Path(stated)
    if path.suffix.lower() not in (".csv", ".tsv", ".txt"):
        return {-1: stated}
    rows = _rows(path)
    classes = [_class(row, f"{path}: line {number}") for number, row in enumerate(rows, start=2)]
    if notes is not None:
        notes.update(_unread(rows))
    return {item.value: item.name for item in classes}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as err:
        raise LabelError(f"{path}: label table cannot be read ({err})") from err


def _rows(path: Path) -> list[dict[str, str]]:
    """Cells by column, in lower case; a column without a name, or with that of another one, is called by its number."""
    text = _text(path)
    head = text.partition("\n")[0]
    delimiter = max("\t;,", key=head.count)
    lines = [line for line in csv.reader(text.splitlines(), delimiter=delimiter) if line]
    names: list[str] = []
    for number in range(max(map(len, lines), default=0)):
        name = lines[0][number].strip().lower() if number < len(lines[0]) else ""
        names.append(f"column {number + 1}" if name in ("", *names) else name)
    rows = [dict(zip_longest(names, map(str.strip, line), fillvalue="")) for line in lines[1:]]
    if not rows or not set(rows[0]) & set(_VALUE) or not set(rows[0]) & set(_NAME):
        raise LabelError(
            f"{path}: no table with a column of names ({', '.join(_NAME)}) and values ({', '.join(_VALUE)})"
        )
    return rows


def _class(row: dict[str, str], where: str) -> LabelClass:
    """Make a class of a row, and take out of it what was read."""
    name, value = _taken(row, _NAME), _whole(_taken(row, _VALUE), "value", where)
    color = parse_color(row.pop(next((key for key in _COLOR if parse_color(row.get(key)) is not None), ""), None))
    return LabelClass(name, value, (name,), color)


def _whole(text: str, what: str, where: str) -> int:
    try:
        return int(text)
    except ValueError as err:
        raise LabelError(f"{where}: the {what} {text!r} is no whole number") from err


def _taken(row: dict[str, str], names: Sequence[str]) -> str:
    """Take the first cell of these names that is not blank out of a row."""
    return next((row.pop(name) for name in names if row.get(name)), "")


def _unread(rows: Sequence[dict[str, str]]) -> Counter[str]:
    """Count what was not taken out of rows."""
    unread = UnreadJson(Fields(read={}))
    unread.look("labels", rows)
    return unread.notes()


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
