"""Edits through the tree: each does what the same edit on a plain tree of objects does, and nothing else."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from javatree_nodes import Obj
from javatree_reader import parse, write
from qupath_files import VERSIONS, comparable
from qupath_strategies import annotations, lists, path_classes

from qpkit.core.annotation import Annotation, PathClass
from qpkit.errors import FormatError
from qpkit.qupath import QpData, new_qpdata
from qpkit.qupath.qpdata.object_reader import ObjectColumns
from qpkit.qupath.qpdata.read_back import require_kept


@dataclasses.dataclass
class Node:
    """An object in a plain tree: what the edits are checked against."""

    value: Annotation | None
    children: list[Node] = dataclasses.field(default_factory=list)

    def walk(self) -> Iterator[Node]:
        yield self
        for child in self.children:
            yield from child.walk()


def tree(objects: list[Annotation]) -> Node:
    root = Node(None)
    nodes: list[Node] = []
    for item in objects:
        nodes.append(Node(item))
        (root if item.parent is None else nodes[item.parent]).children.append(nodes[-1])
    return root


def flat(root: Node) -> list[tuple[object, ...]]:
    """The tree as `QpData.objects` lists it."""
    nodes = [node for node in root.walk() if node is not root]
    place = {id(node): number for number, node in enumerate(nodes)}
    above = {id(child): node for node in root.walk() for child in node.children}
    listed = []
    for node in nodes:
        parent = above[id(node)]
        assert node.value is not None
        moved = dataclasses.replace(node.value, parent=None if parent is root else place[id(parent)])
        listed.append(comparable(moved, parent=True))
    return listed


def check(data: QpData, root: Node) -> None:
    """The file holds this tree, and an independent reader finds it written as Java writes."""
    assert [comparable(item, parent=True) for item in data.objects()] == flat(root)
    content = data.to_bytes()
    assert write(parse(content, until="EOF")) == content
    assert QpData.parse(content, source="again").unknown == []


def nested(objects: list[Annotation], draw: st.DataObject) -> list[Annotation]:
    """Give every object a random parent among those before it, in depth-first order."""
    root = tree([])
    for item in objects:
        nodes = list(root.walk())
        nodes[draw.draw(st.integers(0, len(nodes) - 1))].children.append(Node(item))
    ordered = [node for node in root.walk() if node is not root]
    place = {id(node): n for n, node in enumerate(ordered)}
    above = {id(child): place.get(id(node)) for node in root.walk() for child in node.children}
    return [dataclasses.replace(node.value, parent=above[id(node)]) for node in ordered if node.value is not None]


@settings(max_examples=120, deadline=None)
@given(lists(), st.data())
def test_edits_do_to_the_file_what_they_do_to_a_plain_tree(objects: list[Annotation], draw: st.DataObject) -> None:
    objects = nested(objects, draw)
    data, root = new_qpdata(image_type="OTHER", objects=objects, nested=True), tree(objects)
    check(data, root)
    for _ in range(draw.draw(st.integers(1, 4))):
        nodes = [node for node in root.walk() if node is not root]
        pick = st.integers(0, len(nodes) - 1)
        verb = draw.draw(st.sampled_from(["add", "remove", "move", "update"] if nodes else ["add"]))
        if verb == "add":
            new = draw.draw(annotations())
            above = None if not nodes or draw.draw(st.booleans()) else draw.draw(pick)
            if any(node.value is not None and node.value.id == new.id for node in nodes):
                continue
            data.add([new], parent=above)
            (root if above is None else nodes[above]).children.append(Node(dataclasses.replace(new, parent=None)))
        elif verb == "remove":
            gone = draw.draw(st.sets(pick, min_size=1))
            assert data.remove(gone) == len(gone)
            for number in sorted(gone, reverse=True):
                parent = next(node for node in root.walk() if any(child is nodes[number] for child in node.children))
                at = next(k for k, child in enumerate(parent.children) if child is nodes[number])
                parent.children[at : at + 1] = nodes[number].children
        elif verb == "move":
            number, to = draw.draw(pick), draw.draw(st.none() | pick)
            if to is not None and any(node is nodes[to] for node in nodes[number].walk()):
                with pytest.raises(FormatError, match="below itself"):
                    data.move([number], to=to)
                continue
            data.move([number], to=to)
            parent = next(node for node in root.walk() if any(child is nodes[number] for child in node.children))
            parent.children = [child for child in parent.children if child is not nodes[number]]
            (root if to is None else nodes[to]).children.append(nodes[number])
        else:
            number = draw.draw(pick)
            old, other = nodes[number].value, draw.draw(annotations())
            assert old is not None
            new = dataclasses.replace(other, kind=old.kind, id=old.id, is_missing=False)
            if old.kind != "cell":
                new = dataclasses.replace(new, nucleus=None)
            changed = data.update({number: new})
            assert changed == (comparable(old) != comparable(new))
            nodes[number].value = new
        check(data, root)


def fixture(shared: Path, version: str, entry: int) -> QpData:
    path = shared / f"fixtures/qupath/{version}/project/data/{entry}/data.qpdata"
    return QpData.parse(path.read_bytes(), source=path.name)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("entry", [1, 2, 3, 5, 11])
def test_every_object_of_qupath_can_be_changed_and_changed_back(shared: Path, version: str, entry: int) -> None:
    """Reclassify, rename, recolour, lock, measure and annotate each object; everything else stays equal."""
    data = fixture(shared, version, entry)
    before, around = data.objects(), (data.properties, data.workflow, data.stains, data.tma_grid)
    new = {
        number: dataclasses.replace(
            item,
            path_class=PathClass(("New", "Class"), -77),
            name="renamed µ😀",
            color=-5,
            locked=not item.locked,
            measurements={**item.measurements, "added": 1.5},
            metadata={**item.metadata, "key": "value"},
        )
        for number, item in enumerate(before)
    }
    assert data.update(new) == len(before)
    assert [comparable(item, parent=True) for item in data.objects()] == [
        comparable(item, parent=True) for item in new.values()
    ]
    assert write(parse(data.to_bytes(), until="EOF")) == data.to_bytes()
    assert data.update(dict(enumerate(before))) == len(before)
    assert [comparable(item, parent=True) for item in data.objects()] == [comparable(i, parent=True) for i in before]
    assert (data.properties, data.workflow, data.stains, data.tma_grid) == around


def test_what_is_equal_is_not_written(shared: Path) -> None:
    data = fixture(shared, "v0.5.1", 3)
    content = data.to_bytes()
    assert data.update(dict(enumerate(data.objects()))) == 0
    data.set_property("another", "x")
    data.move([], to=None)
    assert data.remove(["no such id"]) == 0
    assert data.properties["another"] == "x"
    again = QpData.parse(content, source="x")
    assert again.update({}) == 0 and again.to_bytes() == content


def test_objects_of_one_class_share_the_class_in_the_file(shared: Path) -> None:
    """Also after the object that defined it was taken out, moved or reclassified."""
    data = fixture(shared, "v0.5.1", 3)
    target = PathClass(("Tumor",), -3670016)
    numbers = range(len(data.objects()))
    data.update({n: dataclasses.replace(data.objects()[n], path_class=target) for n in numbers})
    data.remove([0])
    data.move([0], to=None)
    stream = parse(data.to_bytes())
    waiting, found = list(stream.contents), {}
    seen: set[int] = set()
    while waiting:
        node = waiting.pop()
        if not isinstance(node, Obj) or id(node) in seen:
            continue
        seen.add(id(node))
        waiting += [value for part in node.parts for value in [*part.objects, *part.annotation]]
        if node.class_name.endswith("PathClass"):
            found[id(node)] = node
    assert len(found) == 1
    assert {item.class_name for item in data.objects()} == {"Tumor"}


def test_a_moved_tree_takes_everything_below_it_along(shared: Path) -> None:
    data = fixture(shared, "v0.5.1", 3)
    before = data.objects()
    top = next(n for n, item in enumerate(before) if item.parent is None and any(o.parent == n for o in before))
    other = next(n for n, item in enumerate(before) if item.parent is None and n != top)
    data.move([top], to=other)
    after = data.objects()
    assert sorted(str(comparable(item)) for item in after) == sorted(str(comparable(item)) for item in before)
    names = {item.id: None if item.parent is None else after[item.parent].id for item in after}
    for item in before:
        old = None if item.parent is None else before[item.parent].id
        assert names[item.id] == (before[other].id if item.id == before[top].id else old)


def test_a_parent_that_does_not_come_before_its_child_counts_as_none() -> None:
    data = new_qpdata(image_type="UNSET")
    box = shapely.box(0, 0, 5, 5)
    data.add([Annotation(geometry=box, parent=parent) for parent in (1, None, 9)], nested=True)
    assert [item.parent for item in data.objects()] == [None, None, None]
    assert write(parse(data.to_bytes(), until="EOF")) == data.to_bytes()


@pytest.mark.parametrize("key", ["nothing", -1, 10_000])
def test_an_object_that_is_not_there_is_named(shared: Path, key: str | int) -> None:
    data = fixture(shared, "v0.5.1", 3)
    content = data.to_bytes()
    with pytest.raises(FormatError, match="there is no object"):
        data.update({key: data.objects()[0]})
    with pytest.raises(FormatError, match="there is no object"):
        data.move([key], to=None)
    with pytest.raises(FormatError, match="there is no object"):
        data.add([Annotation(geometry=data.objects()[0].geometry)], parent=key)
    assert data.to_bytes() == content


def test_an_object_keeps_its_kind_and_its_id_is_its_own(shared: Path) -> None:
    data = fixture(shared, "v0.5.1", 3)
    first, second = data.objects()[:2]
    with pytest.raises(FormatError, match="cannot become"):
        data.update({0: dataclasses.replace(first, kind="tile" if first.kind != "tile" else "cell")})
    with pytest.raises(FormatError, match="there already"):
        data.update({0: dataclasses.replace(first, id=second.id)})


def test_tma_cores_stay_in_their_grid(shared: Path) -> None:
    data = fixture(shared, "v0.5.1", 4)
    with pytest.raises(FormatError, match="TMA core"):
        data.move([0], to=None)
    core = data.objects()[0]
    data.update({0: dataclasses.replace(core, is_missing=not core.is_missing, name="renamed")})
    assert (data.objects()[0].name, data.objects()[0].is_missing) == ("renamed", not core.is_missing)
    assert data.tma_grid == fixture(shared, "v0.5.1", 4).tma_grid


@settings(max_examples=30, deadline=None)
@given(st.lists(path_classes, min_size=1, max_size=4), lists())
def test_a_property_is_set_over_and_over(classes: list[PathClass], objects: list[Annotation]) -> None:
    data = new_qpdata(image_type="OTHER", objects=objects, properties={"a": "b"})
    for number, path_class in enumerate(classes):
        data.set_property("key", str(path_class))
        data.set_property(f"key {number}", "v")
        assert data.properties == {"a": "b", "key": str(path_class), **{f"key {k}": "v" for k in range(number + 1)}}
    check(data, tree(objects))


def test_another_nucleus_is_a_change(shared: Path) -> None:
    """Far behind the 80 characters after which shapely cuts a repr."""
    data = fixture(shared, "v0.5.1", 3)
    number, cell = next((n, item) for n, item in enumerate(data.objects()) if item.nucleus is not None)
    points = shapely.get_coordinates(cell.nucleus)
    points[len(points) // 2] += 0.5
    assert data.update({number: dataclasses.replace(cell, nucleus=shapely.Polygon(points))}) == 1


def test_a_new_file_that_reads_back_otherwise_is_refused() -> None:
    box = Annotation(geometry=shapely.box(0, 0, 9, 9))
    kept, added = with_ids([box, box], "a"), with_ids([box, box], "b")
    require_kept(read([*kept, *added]), iter(kept), {"b0", "b1"})
    changed = dataclasses.replace(kept[1], name="another")
    wrong = (
        [*kept, *added, added[0]],  # one twice
        [*kept, added[0]],
        [kept[0], *added],
        [kept[1], kept[0], *added],
        [kept[0], changed, *added],
    )
    for found in wrong:
        with pytest.raises(FormatError, match="would not read back as it should"):
            require_kept(read(found), iter(kept), {"b0", "b1"})


def read(objects: list[Annotation]) -> list[ObjectColumns]:
    """The objects as they are read, in two parts."""
    parts = objects[:2], objects[2:]
    return [
        cast(
            ObjectColumns,
            SimpleNamespace(
                ids=[item.id for item in part], annotations=lambda places, part=part: [part[n] for n in places]
            ),
        )
        for part in parts
    ]


def with_ids(objects: list[Annotation], letter: str) -> list[Annotation]:
    return [dataclasses.replace(item, id=f"{letter}{number}") for number, item in enumerate(objects)]


@given(lists(), lists())
@settings(max_examples=20)
def test_after_an_edit_the_objects_are_read_when_they_are_asked_for(
    objects: list[Annotation], more: list[Annotation]
) -> None:
    data = new_qpdata(image_type="OTHER", objects=with_ids(objects, "a"))
    data.add(with_ids(more, "b"))
    expected = Counter((item.kind, item.path_class) for item in data.objects())
    assert [*data.counts().items()] == [*expected.items()]
    again = QpData.parse(data.to_bytes(), source="again")
    assert [comparable(item) for item in data.objects()] == [comparable(item) for item in again.objects()]


@pytest.mark.parametrize("after", [("B", "A"), ("C", "A"), ("B", "C")])
def test_classes_of_a_file_may_change_places(after: tuple[str, str]) -> None:
    """The file describes a class where it is first used, so that place may get another class before it is written."""
    renamed = dict(zip("AB", after, strict=True))
    boxes = [shapely.box(x, 0, x + 1, 1) for x in range(4)]
    classes = [PathClass((name,)) for name in "AABB"]
    objects = [Annotation(geometry=box, path_class=kind) for box, kind in zip(boxes, classes, strict=True)]
    data = new_qpdata(image_type="BRIGHTFIELD_H_E", objects=objects)
    data.update(
        {
            number: dataclasses.replace(item, path_class=PathClass((renamed[item.class_name or ""],)))
            for number, item in enumerate(data.objects())
        }
    )
    again = QpData.parse(data.to_bytes(), source="written")
    assert [item.class_name for item in again.objects()] == [renamed[name] for name in "AABB"]
