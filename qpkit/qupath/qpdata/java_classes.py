"""The Java and QuPath classes that qpkit reads and writes, with the layouts that v0.2.3 to v0.7.0 share.

All serialVersionUIDs and fields were dumped from files of all six versions; QuPath's own are always 1.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from qpkit.errors import FormatError
from qpkit.qupath.java.emitter import Emitter
from qpkit.qupath.java.grammar import (
    TC_ARRAY,
    TC_BLOCKDATA,
    TC_BLOCKDATALONG,
    TC_CLASSDESC,
    TC_ENDBLOCKDATA,
    TC_ENUM,
    TC_LONGSTRING,
    TC_NULL,
    TC_OBJECT,
    TC_STRING,
)
from qpkit.qupath.java.modified_utf8 import encode
from qpkit.qupath.java.tape import JavaClass

MEASUREMENTS: Final = "qupath.lib.measurements."
OBJECTS: Final = "qupath.lib.objects."
ROI: Final = "qupath.lib.roi."

_NUMBERS: Final = MEASUREMENTS + "NumericMeasurementList$"
_NAME: Final = "L name Ljava/lang/String;"
_LIST: Final = "Z isClosed, L map Ljava/util/Map;, L names Ljava/util/List;"
_CLASS: Final = f"L colorRGB Ljava/lang/Integer;, {_NAME}, L parentClass Lqupath/lib/objects/classes/PathClass;"
_HIERARCHY: Final = "L rootObject Lqupath/lib/objects/PathObject;, L tmaGrid Lqupath/lib/objects/hierarchy/TMAGrid;"
_BOX: Final = f"I c, I t, D x, D x2, D y, D y2, I z, {_NAME}"
_POINTS: Final = f"I c, I t, I z, {_NAME}, [ x [F, [ y [F"
_POLYGON: Final = f"I c, I t, I z, {_NAME}, L stats Lqupath/lib/roi/ClosedShapeStatistics;, [ x [F, [ y [F"
_WKB: Final = "I c, I t, I z, L stats Lqupath/lib/roi/GeometryROI$GeometryStats;, [ wkb [B"
_LAYOUTS: Final[Mapping[str, tuple[int, int, str, str]]] = {
    "[B": (-5984413125824719648, 2, "", ""),
    "[D": (4514449696888150558, 2, "", ""),
    "[F": (836686056779680834, 2, "", ""),
    "[Ljava.lang.Object;": (-8012369246846506644, 2, "", ""),
    "java.lang.Boolean": (-3665804199014368530, 2, "Z value", ""),
    "java.lang.Enum": (0, 18, "", ""),
    "java.lang.Integer": (1360826667806852920, 2, "I value", "java.lang.Number"),
    "java.lang.Number": (-8742448824652078965, 2, "", ""),
    "java.util.ArrayList": (8683452581122892189, 3, "I size", ""),
    "java.util.HashMap": (362498820763181265, 3, "F loadFactor, I threshold", ""),
    "qupath.lib.color.ColorDeconvolutionStains": (1, 12, "", ""),
    "qupath.lib.images.ImageData$ImageType": (0, 18, "", "java.lang.Enum"),
    _NUMBERS + "AbstractNumericMeasurementList": (1, 2, _LIST, ""),
    _NUMBERS + "DoubleList": (1, 2, "[ values [D", _NUMBERS + "AbstractNumericMeasurementList"),
    OBJECTS + "MetadataMap": (1, 12, "", ""),
    OBJECTS + "PathObject": (1, 12, "", ""),
    OBJECTS + "PathROIObject": (1, 12, "", OBJECTS + "PathObject"),
    OBJECTS + "PathRootObject": (1, 12, "", OBJECTS + "PathObject"),
    OBJECTS + "PathAnnotationObject": (1, 12, "", OBJECTS + "PathROIObject"),
    OBJECTS + "PathDetectionObject": (1, 12, "", OBJECTS + "PathROIObject"),
    OBJECTS + "PathCellObject": (1, 12, "", OBJECTS + "PathDetectionObject"),
    OBJECTS + "PathTileObject": (1, 12, "", OBJECTS + "PathDetectionObject"),
    OBJECTS + "TMACoreObject": (1, 12, "", OBJECTS + "PathROIObject"),
    OBJECTS + "classes.PathClass": (1, 2, _CLASS, ""),
    OBJECTS + "hierarchy.PathObjectHierarchy": (1, 2, _HIERARCHY, ""),
    "qupath.lib.plugins.workflow.Workflow": (1, 12, "", ""),
    ROI + "RectangleROI$SerializationProxy": (1, 2, _BOX, ""),
    ROI + "EllipseROI$SerializationProxy": (1, 2, _BOX, ""),
    ROI + "LineROI$SerializationProxy": (1, 2, _BOX, ""),
    ROI + "PointsROI$SerializationProxy": (1, 2, _POINTS, ""),
    ROI + "PolygonROI$SerializationProxy": (1, 2, _POLYGON, ""),
    ROI + "PolylineROI$SerializationProxy": (1, 2, "I c, I t, I z, [ x [F, [ y [F", ""),
    ROI + "GeometryROI$WKBSerializationProxy": (1, 2, _WKB, ""),
}


NULL: Final = bytes([TC_NULL])
END: Final = bytes([TC_ENDBLOCKDATA])
_INT: Final = struct.Struct(">i")
_SHORT: Final = struct.Struct(">BH")
_LONG: Final = struct.Struct(">Bq")
_HEADS: Final = [_SHORT.pack(TC_STRING, size).decode("latin-1") for size in range(1024)]
"""What stands before strings of ASCII alone, by their length."""


class Vocabulary:
    """Writes new values of known classes into an output; class descriptions and small constants are shared.

    Args:
        emitter: Where to write; the class descriptions of the file that it edits are used again.
    """

    def __init__(self, emitter: Emitter) -> None:
        self.emitter = emitter
        # Reversed: where a class is described twice, the first one counts.
        self._known = {desc.name: desc for desc in reversed(emitter.tape.classes)}
        self._heads: dict[str, bytes] = {}
        self._shared: dict[object, bytes] = {}
        self._repeats: dict[object, tuple[bytes, int] | None] = {}
        self.own_places: list[int] = []
        """Where `own` wrote in the output, since somebody cleared this."""

    def own(self, data: bytes) -> None:
        """Write what differs from one value of a kind to the next: texts, numbers."""
        self.own_places.append(len(self.emitter.out))
        self.emitter.out.append(data)

    def begin(self, name: str, tag: int = TC_OBJECT) -> None:
        """Begin an object, array or enum constant: its class and its handle.

        Raises:
            FormatError: The file describes this class differently from v0.2.3 to v0.7.0.
        """
        emitter = self.emitter
        head = self._heads.get(name)
        # The class is written out once; from then on tag and reference are the same bytes every time.
        if head is None:
            emitter.out.append(bytes([tag]))
            self._heads[name] = bytes([tag]) + self._class(name)
        else:
            emitter.out.append(head)
        emitter.next += 1

    def raw(self, data: bytes) -> None:
        """Write own bytes of an object, END or NULL."""
        self.emitter.out.append(data)

    def pack(self, layout: struct.Struct, *values: float) -> None:
        """Write primitive fields.

        Raises:
            FormatError: A number is out of Java's range (a colour or plane beyond 32 bits).
        """
        try:
            self.emitter.out.append(layout.pack(*values))
        except struct.error as err:
            raise FormatError(f"a number does not fit into a QuPath file ({err})") from err

    def block(self, data: bytes) -> None:
        """Write bytes as block data."""
        self.emitter.out.append(block(data))

    def text(self, text: str) -> None:
        """Write a string of its own, for texts that rarely repeat."""
        self.own(records([text]))
        self.emitter.next += 1

    def string(self, text: str) -> None:
        """Write one shared string for a text."""
        known = self._shared.get(text)
        if known is None:
            self._shared[text] = self.emitter.reference(self.emitter.next)
            self.text(text)
        else:
            self.emitter.out.append(known)

    def integer(self, value: int) -> None:
        """Write one shared java.lang.Integer for a value."""
        self._box("java.lang.Integer", _INT, value)

    def boolean(self, value: bool) -> None:
        """Write one shared java.lang.Boolean for a value."""
        self._box("java.lang.Boolean", struct.Struct(">?"), value)

    def _box(self, name: str, layout: struct.Struct, value: int) -> None:
        known = self._shared.get((name, value))
        if known is None:
            self.begin(name)
            self._shared[name, value] = self.emitter.reference(self.emitter.next - 1)
            self.pack(layout, value)
        else:
            self.emitter.out.append(known)

    def strings(self, values: Sequence[str], *, shared: bool) -> None:
        """Write an Object[] of strings."""
        self.begin("[Ljava.lang.Object;", TC_ARRAY)
        self.raw(_INT.pack(len(values)))
        if shared:
            for value in values:
                self.string(value)
        else:
            self.own(records(values))
            self.emitter.next += len(values)

    def array(self, code: str, elements: bytes) -> None:
        """Write a [F, [D or [B of what `counted` gives."""
        self.begin("[" + code, TC_ARRAY)
        self.own(elements)

    def list_of_strings(self, values: Sequence[str]) -> None:
        """Write a java.util.ArrayList of shared strings (its own block holds the capacity)."""
        self.begin("java.util.ArrayList")
        size = _INT.pack(len(values))
        self.raw(size + block(size))
        for value in values:
            self.string(value)
        self.raw(END)

    def hash_map(self, items: Mapping[str, str]) -> None:
        """Write a java.util.HashMap of strings (its own block holds the capacity and the size)."""
        capacity = 16
        while capacity * 0.75 < len(items):
            capacity *= 2
        self.begin("java.util.HashMap")
        self.raw(struct.pack(">fi", 0.75, int(capacity * 0.75)) + block(struct.pack(">ii", capacity, len(items))))
        for key, value in items.items():
            self.string(key)
            self.string(value)
        self.raw(END)

    def enum(self, name: str, constant: str) -> None:
        """Write an enum constant."""
        self.begin(name, TC_ENUM)
        self.string(constant)

    def repeat(self, key: object, write: Callable[[], None]) -> None:
        """Write something that is the same bytes every time but the first, when its definitions stand in it.

        Args:
            key: What tells it from other such things.
            write: Writes it; what it refers to must be shared.
        """
        emitter = self.emitter
        known = self._repeats.get(key)
        if known is not None:
            emitter.out.append(known[0])
            emitter.next += known[1]
            return
        pieces, handles = len(emitter.out), emitter.next
        write()
        is_second = key in self._repeats
        self._repeats[key] = (b"".join(emitter.out[pieces:]), emitter.next - handles) if is_second else None

    def _class(self, name: str) -> bytes:
        """Write a class description, or a reference to it; gives the reference."""
        known = self._shared.get(("class", name))
        if known is not None:
            self.emitter.out.append(known)
            return known
        found = self._known.get(name)
        if found is None:
            reference = self._new_class(name)
        else:
            self._check(found)
            reference = self.emitter.reference(self.emitter.keep(found.row))
        self._shared["class", name] = reference
        return reference

    def _check(self, found: JavaClass) -> None:
        suid, flags, layout, _ = _layout(found.name)
        if (found.suid, found.flags, found.fields) != (suid, flags, _fields(layout)):
            raise FormatError(f"class {found.name} has another layout than in QuPath 0.2 to 0.7; update qpkit")

    def _new_class(self, name: str) -> bytes:
        emitter = self.emitter
        suid, flags, layout, parent = _layout(name)
        fields = _fields(layout)
        emitter.out.append(bytes([TC_CLASSDESC]) + _utf(name) + struct.pack(">q", suid))
        reference = emitter.reference(emitter.define())
        emitter.out.append(struct.pack(">BH", flags, len(fields)))
        for code, field, kind in fields:
            emitter.out.append(code.encode("ascii") + _utf(field))
            if kind is not None:
                self.string(kind)
        emitter.out.append(END)
        if parent:
            self._class(parent)
        else:
            emitter.out.append(NULL)
        return reference


def records(texts: Collection[str]) -> bytes:
    """Strings as the stream has them, one behind the other."""
    whole = "".join(texts)
    if whole.isascii() and len(whole) < len(_HEADS) and "\0" not in whole:
        return "".join([_HEADS[len(text)] + text for text in texts]).encode("latin-1")
    return b"".join(map(_record, texts))


def _record(text: str) -> bytes:
    raw = encode(text)
    head = _SHORT.pack(TC_STRING, len(raw)) if len(raw) <= 0xFFFF else _LONG.pack(TC_LONGSTRING, len(raw))
    return head + raw


def counted(data: bytes, width: int) -> bytes:
    """The elements of a primitive array, of `width` bytes each, with their number before them."""
    return _INT.pack(len(data) // width) + data


def block(data: bytes) -> bytes:
    """Frame bytes as block data, in Java's shortest form."""
    if len(data) <= 255:
        return bytes((TC_BLOCKDATA, len(data))) + data
    return bytes((TC_BLOCKDATALONG,)) + _INT.pack(len(data)) + data


def _layout(name: str) -> tuple[int, int, str, str]:
    return _LAYOUTS.get(name, (0, 18, "", "java.lang.Enum"))


def _fields(layout: str) -> tuple[tuple[str, str, str | None], ...]:
    parts = [item.split() for item in layout.split(", ") if item]
    return tuple((p[0], p[1], p[2] if len(p) > 2 else None) for p in parts)


def _utf(text: str) -> bytes:
    raw = encode(text)
    return struct.pack(">H", len(raw)) + raw
