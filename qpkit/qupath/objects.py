"""The externalizable body of QuPath's PathObjects: which value of the stream is what, and how to take it out.

Source: writeExternal/readExternal of PathObject, PathROIObject, PathCellObject and TMACoreObject, v0.2.3 to v0.7.0.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from qpkit.core.annotation import Kind, PathClass
from qpkit.qupath.javanodes import Array, Block, Content, Obj, Reset, Value
from qpkit.qupath.javavalues import describe, elements, fail, int_or_none, text_or_none

_PREFIX: Final = "qupath.lib.objects."
ROOT: Final = _PREFIX + "PathRootObject"
KINDS: Final[Mapping[str, Kind]] = {
    _PREFIX + "PathAnnotationObject": "annotation",
    _PREFIX + "PathDetectionObject": "detection",
    _PREFIX + "PathCellObject": "cell",
    _PREFIX + "PathTileObject": "tile",
    _PREFIX + "TMACoreObject": "tma_core",
}
OBJECT_ID: Final = "Object ID"
"""Metadata key under which v0.4+ keep an object's UUID."""

_MAX_CLASS_NAMES: Final = 100
_COUNT: Final = struct.Struct(">i")


@dataclass(slots=True)
class Body:
    """What an object stores, taken apart but not yet converted.

    Args:
        node: The object.
        name: None if unnamed.
        color: Signed ARGB of the object itself.
        metadata: Reserved keys included.
        measurements: Measurement list or None.
        children: Directly below, in order; unknown classes too.
        slot: Where the number of children stands in the annotation of `node`; the children follow.
        locked: QuPath's lock.
        path_class: PathClass or None.
        roi: ROI proxy or None.
        nucleus: ROI proxy or None; only cells.
        is_missing: Only TMA cores.
        rest: Values behind the body that no known version writes.
    """

    node: Obj
    name: str | None
    color: int | None
    metadata: dict[str, str]
    measurements: Value
    children: list[Obj]
    slot: int
    locked: bool = False
    path_class: Obj | None = None
    roi: Obj | None = None
    nucleus: Obj | None = None
    is_missing: bool = False
    rest: list[Content] = field(default_factory=list)

    def set_children(self, children: Sequence[Obj]) -> None:
        """Change the children in the tree."""
        own = self.node.annotation
        own[self.slot : self.slot + 1 + len(self.children)] = [Block(_COUNT.pack(len(children))), *children]
        self.children = list(children)


class _Cursor:
    """Walk over the values and the block bytes of a body."""

    __slots__ = ("index", "items", "node")

    def __init__(self, node: Obj) -> None:
        self.node = node
        self.items = node.parts[0].annotation
        self.index = 0

    def peek(self) -> Content:
        return self.items[self.index] if self.index < len(self.items) else Reset()

    def value(self) -> Value:
        item = self.peek()
        if isinstance(item, Block | Reset):
            raise fail(f"the {self.node.class_name} ends too early or holds stray bytes", self.node)
        self.index += 1
        return item

    def block(self, size: int) -> bytes:
        item = self.peek()
        if not isinstance(item, Block) or len(item.data) != size:
            raise fail(f"the {self.node.class_name} lacks its {size}-byte block", self.node)
        self.index += 1
        return item.data

    def obj(self) -> Obj | None:
        item = self.value()
        if item is None or isinstance(item, Obj):
            return item
        raise fail(f"an object is expected, not {describe(item)}", self.node)


def read_body(node: Obj) -> Body:
    """Take one PathObject apart.

    Raises:
        FormatError: Not laid out as in v0.2 to v0.7.
    """
    cursor = _Cursor(node)
    name = text_or_none(cursor.value(), node)
    color = int_or_none(cursor.value(), node)
    metadata: dict[str, str] = {}
    item = cursor.peek()
    if isinstance(item, Obj) and item.class_name == _PREFIX + "MetadataMap":  # left out by v0.2/v0.3 if empty
        metadata = _read_metadata(item)
        cursor.index += 1
    measurements = cursor.value()
    slot = cursor.index
    children = _read_children(cursor)
    body = Body(node, name, color, metadata, measurements, children, slot)
    if node.class_name != ROOT:
        _read_roi_part(cursor, body)
    body.rest = cursor.items[cursor.index :]
    return body


def _read_children(cursor: _Cursor) -> list[Obj]:
    (count,) = _COUNT.unpack(cursor.block(4))
    if not 0 <= count <= len(cursor.items) - cursor.index:
        raise fail(f"the {cursor.node.class_name} claims {count} children", cursor.node)
    children = []
    for _ in range(count):
        child = cursor.value()
        if not isinstance(child, Obj):
            raise fail(f"a child object is expected, not {describe(child)}", cursor.node)
        children.append(child)
    return children


def _read_roi_part(cursor: _Cursor, body: Body) -> None:
    """Read what PathROIObject and the classes below it add."""
    value = cursor.obj()
    if value is not None and value.class_name == "java.lang.Boolean":  # missing in the oldest files
        body.locked = bool(value.fields()["value"]) if "value" in value.fields() else False
        value = cursor.obj()
    body.path_class = value
    body.roi = cursor.obj()
    kind = KINDS[cursor.node.class_name]
    tail = cursor.block(9 if kind == "tma_core" else 8)  # class probability (NaN if unset), then isMissing
    if kind == "tma_core":
        body.is_missing = tail[8] != 0
    if kind == "cell":
        body.nucleus = cursor.obj()


def _read_metadata(node: Obj) -> dict[str, str]:
    own = node.annotation
    if len(own) != 3 or not isinstance(own[1], Array) or not isinstance(own[2], Array):
        raise fail("a MetadataMap of an unknown version", node)
    keys, values = own[1].values, own[2].values
    if len(keys) != len(values):
        raise fail("a MetadataMap whose keys and values do not fit together", node)
    pairs = ((text_or_none(k, node), text_or_none(v, node)) for k, v in zip(keys, values, strict=True))
    return {key: value for key, value in pairs if key is not None and value is not None}


def read_path_class(node: Obj | None) -> PathClass | None:
    """Read a class with its parents; a class without a name is QuPath's "no class".

    Raises:
        FormatError: Not a PathClass, a blank name, or parents in a circle.
    """
    names: list[str] = []
    color: int | None = None
    current: Value = node
    while current is not None:
        if not isinstance(current, Obj) or current.class_name != _PREFIX + "classes.PathClass":
            raise fail(f"a PathClass is expected, not {describe(current)}", node)
        fields = current.fields()
        if current is node:
            color = int_or_none(_node(fields.get("colorRGB")), node)
        name = text_or_none(_node(fields.get("name")), node)
        if name is not None:
            names.append(name)
        current = _node(fields.get("parentClass"))
        if len(names) > _MAX_CLASS_NAMES or (name is None and current is not None):
            raise fail("a PathClass with parents that make no sense", node)
    if not names:
        return None
    try:
        return PathClass(tuple(reversed(names)), color)
    except ValueError as err:
        raise fail(str(err), node) from err


def read_measurements(node: Value) -> dict[str, float]:
    """Read any of QuPath's measurement lists, in its order; null has none.

    Raises:
        FormatError: An unknown list class.
    """
    if node is None:
        return {}
    if not isinstance(node, Obj) or not node.class_name.startswith("qupath.lib.measurements."):
        raise fail(f"a measurement list is expected, not {describe(node)}", node)
    fields = node.fields()
    if node.class_name.endswith("$FloatList") or node.class_name.endswith("$DoubleList"):
        values = fields.get("values")
        if not isinstance(values, Array) or values.code not in ("F", "D"):
            raise fail("a measurement list without values", node)
        names = [_name(item, node) for item in elements(_node(fields.get("names")), node)]
        return dict(zip(names, values.numbers().tolist(), strict=False))
    if node.class_name.endswith(".DefaultMeasurementList"):
        return dict(_read_measurement(item, node) for item in elements(_node(fields.get("list")), node))
    raise fail(f"unknown measurement list {node.class_name}", node)


def _read_measurement(item: Value, owner: Obj) -> tuple[str, float]:
    fields = item.fields() if isinstance(item, Obj) else {}
    value = fields.get("value")
    if not isinstance(value, float):
        raise fail(f"a measurement is expected, not {describe(item)}", owner)
    return _name(_node(fields.get("name")), owner), value


def _name(item: Value, owner: Obj) -> str:
    name = text_or_none(item, owner)
    if name is None:
        raise fail("a measurement without a name", owner)
    return name


def _node(value: object) -> Value:
    """Narrow a field to a node; a primitive in its place is as good as nothing."""
    return None if isinstance(value, int | float) else value  # type: ignore[return-value]  # fields() holds nodes
