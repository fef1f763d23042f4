"""The Java and QuPath classes that qpkit reads and writes, with the layouts that v0.2.3 to v0.7.0 share.

All serialVersionUIDs and fields were dumped from files of all six versions; QuPath's own are always 1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from qpkit.errors import FormatError
from qpkit.qupath.javanodes import (
    Array,
    Block,
    ClassDesc,
    Content,
    Enum,
    Field,
    JavaString,
    Obj,
    Part,
    Primitive,
    Value,
)

MEASUREMENTS: Final = "qupath.lib.measurements."
OBJECTS: Final = "qupath.lib.objects."
ROI: Final = "qupath.lib.roi."

_STRING: Final = "Ljava/lang/String;"
_BOX: Final = (
    "I c, I t, D x, D x2, D y, D y2, I z, L name Ljava/lang/String;",
    "I c, I t, I z, L name Ljava/lang/String;, [ x [F, [ y [F",
)
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
    MEASUREMENTS + "NumericMeasurementList$AbstractNumericMeasurementList": (
        1,
        2,
        "Z isClosed, L map Ljava/util/Map;, L names Ljava/util/List;",
        "",
    ),
    MEASUREMENTS + "NumericMeasurementList$DoubleList": (
        1,
        2,
        "[ values [D",
        MEASUREMENTS + "NumericMeasurementList$AbstractNumericMeasurementList",
    ),
    OBJECTS + "MetadataMap": (1, 12, "", ""),
    OBJECTS + "PathObject": (1, 12, "", ""),
    OBJECTS + "PathROIObject": (1, 12, "", OBJECTS + "PathObject"),
    OBJECTS + "PathRootObject": (1, 12, "", OBJECTS + "PathObject"),
    OBJECTS + "PathAnnotationObject": (1, 12, "", OBJECTS + "PathROIObject"),
    OBJECTS + "PathDetectionObject": (1, 12, "", OBJECTS + "PathROIObject"),
    OBJECTS + "PathCellObject": (1, 12, "", OBJECTS + "PathDetectionObject"),
    OBJECTS + "PathTileObject": (1, 12, "", OBJECTS + "PathDetectionObject"),
    OBJECTS + "TMACoreObject": (1, 12, "", OBJECTS + "PathROIObject"),
    OBJECTS + "classes.PathClass": (
        1,
        2,
        "L colorRGB Ljava/lang/Integer;, L name Ljava/lang/String;, "
        "L parentClass Lqupath/lib/objects/classes/PathClass;",
        "",
    ),
    OBJECTS + "hierarchy.PathObjectHierarchy": (
        1,
        2,
        "L rootObject Lqupath/lib/objects/PathObject;, L tmaGrid Lqupath/lib/objects/hierarchy/TMAGrid;",
        "",
    ),
    "qupath.lib.plugins.workflow.Workflow": (1, 12, "", ""),
    ROI + "RectangleROI$SerializationProxy": (1, 2, _BOX[0], ""),
    ROI + "EllipseROI$SerializationProxy": (1, 2, _BOX[0], ""),
    ROI + "LineROI$SerializationProxy": (1, 2, _BOX[0], ""),
    ROI + "PointsROI$SerializationProxy": (1, 2, _BOX[1], ""),
    ROI + "PolygonROI$SerializationProxy": (
        1,
        2,
        "I c, I t, I z, L name Ljava/lang/String;, L stats Lqupath/lib/roi/ClosedShapeStatistics;, [ x [F, [ y [F",
        "",
    ),
    ROI + "PolylineROI$SerializationProxy": (1, 2, "I c, I t, I z, [ x [F, [ y [F", ""),
    ROI + "GeometryROI$WKBSerializationProxy": (
        1,
        2,
        "I c, I t, I z, L stats Lqupath/lib/roi/GeometryROI$GeometryStats;, [ wkb [B",
        "",
    ),
}


class Vocabulary:
    """Makes nodes of known classes; descriptions and small constants are shared within one file.

    Args:
        classes: Descriptions of an existing file, to be used again.
    """

    def __init__(self, classes: Iterable[ClassDesc] = ()) -> None:
        self._known: dict[str, ClassDesc] = {}
        self._strings: dict[str, JavaString] = {}
        self._integers: dict[int, Obj] = {}
        self._booleans: dict[bool, Obj] = {}
        for desc in classes:
            self._known.setdefault(desc.name, desc)

    def desc(self, name: str) -> ClassDesc:
        """Give the description of a class.

        Raises:
            FormatError: The file describes this class differently from v0.2.3 to v0.7.0.
        """
        suid, flags, layout, parent = _LAYOUTS.get(name, (0, 18, "", "java.lang.Enum"))
        found = self._known.get(name)
        if found is None:
            above = self.desc(parent) if parent else None
            found = ClassDesc(name, suid, flags, self._fields(layout), superclass=above).finish()
            self._known[name] = found
        elif (found.suid, found.flags, _named(found.fields)) != (suid, flags, _named(self._fields(layout))):
            raise FormatError(f"class {name} has another layout than in QuPath 0.2 to 0.7; update qpkit")
        return found

    def _fields(self, layout: str) -> list[Field]:
        parts = [item.split() for item in layout.split(", ") if item]
        return [Field(p[0], p[1], self.string(p[2]) if len(p) > 2 else None) for p in parts]

    def string(self, text: str) -> JavaString:
        """Give one shared string node for a text."""
        return self._strings.setdefault(text, JavaString(text))

    def text(self, text: str) -> JavaString:
        """Give a string node of its own, for texts that rarely repeat."""
        return JavaString(text)

    def integer(self, value: int) -> Obj:
        """Give one shared java.lang.Integer for a value."""
        if value not in self._integers:
            self._integers[value] = self.obj("java.lang.Integer", {"value": value})
        return self._integers[value]

    def boolean(self, value: bool) -> Obj:
        """Give one shared java.lang.Boolean for a value."""
        if value not in self._booleans:
            self._booleans[value] = self.obj("java.lang.Boolean", {"value": value})
        return self._booleans[value]

    def obj(self, name: str, fields: Mapping[str, Value | Primitive], own: Sequence[Content] = ()) -> Obj:
        """Make an object with fields of its whole chain; `own` is what its class writes itself behind them.

        Raises:
            FormatError: A number is out of Java's range (a colour or plane beyond 32 bits).
        """
        node = Obj(self.desc(name))
        for desc in node.desc.chain:
            assert isinstance(desc, ClassDesc)
            try:
                raw = desc.layout.pack(*(fields[key] for key in desc.primitives))
            except struct.error as err:
                raise FormatError(f"a number does not fit into a {name} ({err})") from err
            objects: list[Value] = [fields[key] for key in desc.objects]  # type: ignore[misc]  # not primitive
            node.parts.append(Part(raw, objects))
        node.parts[-1].annotation.extend(own)
        return node

    def external(self, name: str, contents: Sequence[Content]) -> Obj:
        """Make an externalizable object."""
        return Obj(self.desc(name), [Part(annotation=list(contents))])

    def object_array(self, values: Sequence[Value]) -> Array:
        """Make an Object[]."""
        return Array(self.desc("[Ljava.lang.Object;"), values=list(values))

    def primitive_array(self, code: str, data: bytes) -> Array:
        """Make a [F, [D or [B from big-endian bytes."""
        return Array(self.desc("[" + code), data)

    def array_list(self, values: Sequence[Value]) -> Obj:
        """Make a java.util.ArrayList (its own block holds the capacity)."""
        own: list[Content] = [Block(struct.pack(">i", len(values))), *values]
        return self.obj("java.util.ArrayList", {"size": len(values)}, own)

    def hash_map(self, items: Mapping[str, str]) -> Obj:
        """Make a java.util.HashMap of strings (its own block holds the capacity and the size)."""
        capacity = 16
        while capacity * 0.75 < len(items):
            capacity *= 2
        own: list[Content] = [Block(struct.pack(">ii", capacity, len(items)))]
        for key, value in items.items():
            own += [self.string(key), self.string(value)]
        return self.obj("java.util.HashMap", {"loadFactor": 0.75, "threshold": int(capacity * 0.75)}, own)

    def enum(self, name: str, constant: str) -> Enum:
        """Make an enum constant."""
        return Enum(self.desc(name), self.string(constant))


def _named(fields: Sequence[Field]) -> list[tuple[str, str]]:
    return [(field.code, field.name) for field in fields]
