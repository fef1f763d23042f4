"""What qpkit writes against what QuPath itself wrote, class by class and field by field."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import javatree_reader as javastream
import pytest
import shapely
from javatree_nodes import Array, Block, ClassDesc, Enum, Obj, Stream

from qpkit.core.annotation import Annotation, PathClass
from qpkit.core.geometry import ellipse
from qpkit.qupath import new_qpdata, open_project

BOX = shapely.box(0, 0, 10, 10)
EVERY_KIND = [
    Annotation(geometry=BOX, shape="rectangle", path_class=PathClass(("A", "B"), -1), name="n", color=-3,
               measurements={"a": 1.0}, metadata={"k": "v"}, locked=True),
    Annotation(geometry=ellipse(0, 0, 10, 10), shape="ellipse", kind="detection"),
    Annotation(geometry=BOX.difference(shapely.box(2, 2, 3, 3)), shape="geometry"),
    Annotation(geometry=shapely.Polygon([(0, 0), (5, 0), (2, 7)]), shape="polygon", kind="tile"),
    Annotation(geometry=shapely.LineString([(0, 0), (5, 5)]), shape="line"),
    Annotation(geometry=shapely.LineString([(0, 0), (5, 5), (7, 3)]), shape="polyline"),
    Annotation(geometry=shapely.MultiPoint([(1, 1), (2, 2)]), shape="points"),
    Annotation(geometry=BOX, kind="cell", nucleus=shapely.box(2, 2, 4, 4)),
]  # fmt: skip


def nodes(stream: Stream) -> Iterator[Any]:
    """Every node of a stream once, in no particular order."""
    seen: set[int] = set()
    waiting: list[Any] = [*stream.contents]
    while waiting:
        node = waiting.pop()
        if id(node) in seen or isinstance(node, str | bytes | int | None):
            continue
        seen.add(id(node))
        yield node
        for name in getattr(type(node), "__slots__", ()):
            value = getattr(node, name)
            waiting += value if isinstance(value, list | tuple) else [value]


def descriptions(stream: Stream) -> dict[str, tuple[Any, ...]]:
    """Name -> all that Java compares when it matches a class of a stream with its own."""
    return {
        node.name: (
            node.suid,
            node.flags,
            tuple((f.code, f.name, f.signature) for f in node.fields),
            node.superclass.name if node.superclass else None,
        )
        for node in nodes(stream)
        if isinstance(node, ClassDesc)
    }


def test_every_class_is_described_as_quPath_describes_it(shared: Path) -> None:
    real: dict[str, set[tuple[Any, ...]]] = {}
    for file in sorted(shared.glob("fixtures/qupath/v0.[3-7]*/project/data/*/data.qpdata")):
        for name, description in descriptions(javastream.parse(file.read_bytes())).items():
            real.setdefault(name, set()).add(description)
    ours = descriptions(javastream.parse(new_qpdata(image_type="BRIGHTFIELD_H_E", objects=EVERY_KIND).to_bytes()))
    assert len(ours) > 25
    assert {name: d for name, d in ours.items() if d not in real.get(name, ())} == {}


STATS = {"stats"}
"""Fields that QuPath leaves null or fills with cached numbers; a reader ignores them, a writer writes null."""


def plain(node: Any) -> Any:
    """A node as nested plain values: class names, primitive bytes, contents in order."""
    if isinstance(node, Obj):
        parts = []
        for part, desc in zip(node.parts, node.desc.chain[-len(node.parts) :], strict=True):
            names = [f.name for f in desc.fields if f.signature] if isinstance(desc, ClassDesc) else []
            kept = [plain(v) for v, name in zip(part.objects, names, strict=True) if name not in STATS]
            parts.append((part.primitives, kept, [plain(v) for v in part.annotation]))
        return node.desc.name, parts
    if isinstance(node, Array):
        return node.desc.name, node.data, [plain(v) for v in node.values]
    if isinstance(node, Enum):
        return node.desc.name, str(node.constant)
    return node.data if isinstance(node, Block) else node


def path_objects(stream: Stream) -> list[Any]:
    """Annotations of a flat hierarchy as plain values, in order."""
    found = [n for n in nodes(stream) if isinstance(n, Obj) and n.desc.name.endswith("PathRootObject")]
    (part,) = [p for p in found[0].parts if p.annotation]
    return [plain(v) for v in part.annotation if isinstance(v, Obj) and v.desc.name.endswith("PathAnnotationObject")]


@pytest.mark.parametrize("patient", [1, 2, 4])
def test_objects_of_quPath_written_anew_are_the_same_nodes(composed: Path, patient: int) -> None:
    """Rectangles, ellipses, polygons, holes, points, classes, names, metadata, as QuPath 0.5.1 wrote them."""
    entry = open_project(composed / "qupath-0.5.1").entries[patient - 1]
    real = path_objects(javastream.parse(entry.files.data.read_bytes()))
    again = new_qpdata(image_type="BRIGHTFIELD_H_E", objects=entry.objects())
    ours = path_objects(javastream.parse(again.to_bytes()))
    assert len(real) == len(entry.objects())
    assert ours == real
