"""The label map as text (labels.toml) and as plain values (in export.json, predictions.json and checkpoints)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from qpkit.core.annotation import PathClass, argb
from qpkit.core.label_map import LabelClass, LabelMap, Unannotated, Unlisted
from qpkit.core.label_rules import Between, Boundary, CellShape, Derivation, DrawnKind, Erased, Eraser, Masks, Overlap
from qpkit.errors import LabelError

_Names = str | list[str]


class _ClassTable(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    value: int | Erased
    source: list[str] = msgspec.field(default_factory=list, name="from")
    color: list[int] | None = None
    optional: bool = False
    of: _Names = []
    inside: _Names = msgspec.field(default_factory=list, name="and")
    outside: _Names = msgspec.field(default_factory=list, name="not")
    grow_um: float | None = None
    around: _Names = []
    within_um: float | None = None


class _BoundaryTable(msgspec.Struct, forbid_unknown_fields=True):
    value: int | Literal["background", "ignore"]
    width_um: float
    between: Between = "instances"
    name: str = "boundary"
    color: list[int] | None = None


class _LabelTable(msgspec.Struct, forbid_unknown_fields=True):
    classes: list[_ClassTable] = msgspec.field(name="class")
    background: int = 0
    ignore: int = 255
    unannotated: Unannotated = "background"
    unlisted: Unlisted = "skip"
    regions: list[str] = []
    ignored: list[str] = []
    overlap: Overlap = "order"
    masks: Masks = "single"
    instances: bool = False
    objects: list[DrawnKind] = msgspec.field(default_factory=lambda: ["annotation"])
    cell: CellShape = "outline"
    line_width_um: float | None = None
    point_radius_um: float | None = None
    boundary: _BoundaryTable | None = None


_RULES: Final = ("overlap", "masks", "instances", "objects", "cell", "line_width_um", "point_radius_um")
"""Keys that are written only where they are not the default, so that older readers take what they can."""


def parse_label_map(text: str, *, source: str) -> LabelMap:
    """Read the text of a labels.toml; docs/labels.md tells its keys.

    Args:
        text: TOML; top-level keys as in LabelMap, tables [[class]] with name, value (a number, or "background" or
            "ignore" for an eraser), from (default: the name itself) and color ([r, g, b], optional), or of, and, not,
            grow_um, around, within_um instead of from; [boundary] with value, width_um, between, name and color.
        source: File name for messages.

    Raises:
        LabelError: Not TOML, an unknown key, or a map with faults.
    """
    try:
        return label_map_from_builtins(tomllib.loads(text))
    except tomllib.TOMLDecodeError as err:
        raise LabelError(f"{source}: not valid TOML: {err}") from err
    except LabelError as err:
        raise LabelError(f"{source}: {err}") from err


def label_map_from_builtins(tables: Any) -> LabelMap:
    """Build a label map from plain dicts and lists with the keys of a labels.toml (as in export.json).

    Raises:
        LabelError: An unknown key, a value of the wrong kind, or a map with faults.
    """
    try:
        table = msgspec.convert(tables, _LabelTable)
    except msgspec.ValidationError as err:
        raise LabelError(f"{err}; {_known_keys(str(err))}") from err
    classes, erasers = [], []
    for place, item in enumerate(table.classes):
        if (leaves := _erased(item, table)) is not None:
            erasers.append(_eraser(item, leaves, place))
        else:
            classes.append(_label_class(item))
    boundary = _boundary(table)
    if boundary is not None and table.boundary is not None and isinstance(table.boundary.value, int):
        classes.append(LabelClass(table.boundary.name, boundary.value, (), _argb(table.boundary.color)))
    return LabelMap(
        classes=tuple(classes),
        background=table.background,
        ignore=table.ignore,
        unannotated=table.unannotated,
        unlisted=table.unlisted,
        regions=tuple(table.regions),
        ignored=tuple(table.ignored),
        erasers=tuple(erasers),
        overlap=table.overlap,
        masks=table.masks,
        instances=table.instances,
        objects=tuple(dict.fromkeys(table.objects)),
        cell=table.cell,
        line_width_um=table.line_width_um,
        point_radius_um=table.point_radius_um,
        boundary=boundary,
    )


def _known_keys(message: str) -> str:
    """The keys, or where a word was wrong the words, that there are."""
    words = {
        "overlap": Overlap,
        "masks": Masks,
        "between": Between,
        "cell": CellShape,
        "objects[0]": DrawnKind,
        "unannotated": Unannotated,
        "unlisted": Unlisted,
        "class[0].value": Erased,
    }
    for key, choice in words.items():
        if re.sub(r"\[\d+\]", "[0]", message).endswith(f".{key}`"):
            return f"it can be {' or '.join(map(repr, choice.__args__))}"  # type: ignore[attr-defined]  # a Literal's
    return (
        f"known keys are {', '.join(_keys(_LabelTable)[1:-1])}, [[class]] with {', '.join(_keys(_ClassTable))} "
        f"and [boundary] with {', '.join(_keys(_BoundaryTable))}"
    )


def _keys(table: type[msgspec.Struct]) -> list[str]:
    return [item.encode_name for item in msgspec.structs.fields(table)]


def _erased(item: _ClassTable, table: _LabelTable) -> Erased | None:
    """What is left where a class is drawn whose value is that of background or ignore; None for other classes."""
    meanings: dict[int | str, Erased] = {table.background: "background", table.ignore: "ignore"}
    return item.value if isinstance(item.value, str) else meanings.get(item.value)


def _eraser(item: _ClassTable, leaves: Erased, place: int) -> Eraser:
    if _is_derived(item):
        raise LabelError(f"label map: class {item.name!r} has the value of {leaves}, which no derived class can have")
    return Eraser(item.name, leaves, tuple(item.source or [item.name]), place, item.optional)


def _is_derived(item: _ClassTable) -> bool:
    return any((item.of, item.inside, item.outside, item.around)) or (item.grow_um, item.within_um) != (None,) * 2


def _label_class(item: _ClassTable) -> LabelClass:
    assert isinstance(item.value, int)  # the words are those of erasers
    if not _is_derived(item):
        sources = tuple(item.source or [item.name])
        return LabelClass(item.name, item.value, sources, _argb(item.color), optional=item.optional)
    for key, um in (("grow_um", item.grow_um), ("within_um", item.within_um)):
        if um == 0:
            raise LabelError(f"label map: class {item.name!r}: {key} = 0 does nothing")
    derivation = Derivation(
        of=_names(item.of),
        inside=_names(item.inside),
        outside=_names(item.outside),
        grow_um=item.grow_um or 0.0,
        around=_names(item.around),
        within_um=item.within_um or 0.0,
    )
    return LabelClass(item.name, item.value, tuple(item.source), _argb(item.color), derivation)


def _names(names: _Names) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _boundary(table: _LabelTable) -> Boundary | None:
    if table.boundary is None:
        return None
    own = {"background": table.background, "ignore": table.ignore}
    value = table.boundary.value
    return Boundary(own[value] if isinstance(value, str) else value, table.boundary.width_um, table.boundary.between)


def label_map_to_builtins(labels: LabelMap) -> dict[str, Any]:
    """The inverse of label_map_from_builtins: plain values with the keys of a labels.toml."""
    tables: dict[str, Any] = {
        "background": labels.background,
        "ignore": labels.ignore,
        "unannotated": labels.unannotated,
        "unlisted": labels.unlisted,
        "regions": list(labels.regions),
        "ignored": list(labels.ignored),
    }
    plain = LabelMap(classes=())
    for key in _RULES:
        if (value := getattr(labels, key)) != getattr(plain, key):
            tables[key] = list(value) if isinstance(value, tuple) else value
    boundary = labels.boundary
    own = next((c for c in labels.classes if boundary and c.value == boundary.value), None)
    if boundary is not None:
        tables["boundary"] = _boundary_to_builtins(boundary, labels, own)
    return tables | {"class": [_class_to_builtins(item) for item in labels.order if item is not own]}


def _class_to_builtins(item: LabelClass | Eraser) -> dict[str, Any]:
    optional = {"optional": True} if item.optional else {}
    if isinstance(item, Eraser):
        return {"name": item.name, "value": item.leaves, "from": list(item.sources)} | optional
    row: dict[str, Any] = {"name": item.name, "value": item.value}
    if item.derivation is None:
        row["from"] = list(item.sources)
    else:
        rule = item.derivation
        lists = {"of": rule.of, "and": rule.inside, "not": rule.outside, "around": rule.around}
        row |= {key: list(names) for key, names in lists.items() if names}
        row |= {key: um for key, um in (("grow_um", rule.grow_um), ("within_um", rule.within_um)) if um}
    return row | _color_to_builtins(item) | optional


def _boundary_to_builtins(boundary: Boundary, labels: LabelMap, own: LabelClass | None) -> dict[str, Any]:
    row: dict[str, Any] = {"width_um": boundary.width_um, "between": boundary.between}
    if own is None:
        return row | {"value": "ignore" if boundary.value == labels.ignore else "background"}
    return row | {"value": own.value, "name": own.name} | _color_to_builtins(own)


def _color_to_builtins(item: LabelClass) -> dict[str, Any]:
    if item.color is None:
        return {}
    return {"color": list(PathClass((item.name,), item.color).rgb or ())}


def _argb(color: Sequence[int] | None) -> int | None:
    if color is None:
        return None
    if len(color) != 3 or not all(0 <= c <= 255 for c in color):
        raise LabelError(f"color {list(color)} is not [red, green, blue] in 0..255")
    return argb(*color)
