"""No reader drops a field of a file in silence: every field of every sample is changed, and something has to show it.

A field may be changed and nothing comes of it only where the format lists it as idle, where it belongs to something
that was left out whole and counted, or where it stands in `UNSEEN` with its reason.
"""

from __future__ import annotations

import copy
import csv
import json
import math
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import geopandas
import pandas
import pytest
import shapely
from fields_samples import LABEL_TABLES, SAMPLES
from format_strategies import IMAGE

from qpkit.core.annotation import Annotation, PathClass, argb
from qpkit.core.labels import LabelMap
from qpkit.errors import QpkitError
from qpkit.formats.format import Format
from qpkit.formats.registry import format_of, named
from qpkit.formats.shared.drawing import Choices, Drawing, ImageFacts
from qpkit.formats.shared.fields import ANY, LISTED, NOT_READ, Fields, UnreadJson, unread_json, unread_xml
from qpkit.formats.shared.label_table import read_label_table
from qpkit.formats.shared.table_rows import columns_of
from qpkit.formats.shared.vector_files import save_layer
from qpkit.workflows.convert.formats import ALL_FORMATS

WITH_FIELDS = [item for item in ALL_FORMATS if item.recognises_xml or item.recognises_json]

UNSEEN = {
    "asap: Annotations/Annotation/Coordinates/Coordinate/@Order": "a single point has no order",
    "halo: Annotation/Regions/Region/@HasEndcaps": "only of outlines",
    "imagescope: Annotation/Regions/RegionAttributeHeaders/AttributeHeader/@Id": "names attributes without a name",
    "imagescope: Annotation/Regions/RegionAttributeHeaders/AttributeHeader/@Name": "names attributes without a name",
    "imagescope: Annotation/Regions/Region/Attributes/Attribute/@Id": "finds the header, where there is one",
    "imagescope: Annotation/Regions/Region/@InputRegionId": "only of negative regions",
    "imagescope: Annotation/Regions/Region/@Id": "only where a negative region names it",
    "darwin: item/slots/slot_name": "only where there are several",
    "darwin: item/slots/source_files/file_name": "only where there are several",
    "darwin: annotations/slot_names": "only where there are several",
    "darwin: annotations/name = __raster_layer__": "holds the pixels of the masks, is no object",
    "darwin: annotations/id = 33333333-3333-4333-8333-333333333333": "of the raster layer, too",
    "geojson: features/properties/object_type = annotation": "beside objectType, for QuPath 0.3",
    **{f"geojson: features/properties/classification/color = {n}": "beside colorRGB" for n in (0, 9, 200)},
    **{f"geojson: features/properties/{below}/type": "idle in all features" for below in ("childObjects", "children")},
}
"""Fields that are read where they mean something, and mean nothing elsewhere."""


@dataclass(frozen=True)
class Field:
    """A field of a file: its path, ways to change it, and the records around it, innermost first."""

    path: str
    value: object
    changed: Callable[[], Iterator[bytes]]
    without: Callable[[], Iterator[bytes]]


def other_values(value: Any) -> Iterator[Any]:
    """Values that are none of the reader's usual ones, of the same kind and of others."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield from (value + 1, value + 1.5, -1)
    elif isinstance(value, str):
        yield from ("2", "#123456", f"{value}x", "5", "a", "1", "0", "99", "")
    else:
        yield from ("a", 5)


def around(root: ET.Element, element: ET.Element) -> list[ET.Element]:
    """An element and those around it but for the root, innermost first."""
    parents = {child: parent for parent in root.iter() for child in parent}
    found = [element]
    while found[-1] in parents:
        found.append(parents[found[-1]])
    return found[:-1]


def path_of(root: ET.Element, element: ET.Element) -> str:
    return "/".join(part.tag for part in reversed(around(root, element)))


def without_element(root: ET.Element, element: ET.Element) -> Iterator[bytes]:
    """The file without an element, without the one around it ..."""
    records = around(root, element)
    for record, parent in zip(records, [*records[1:], root], strict=False):
        at = list(parent).index(record)
        parent.remove(record)
        yield ET.tostring(root)
        parent.insert(at, record)


Trail = list[tuple[Any, Any]]
"""The way to a value of a JSON document: each holder with the key or number of what comes next."""


def without_value(document: Any, trail: Trail) -> Iterator[bytes]:
    """The file without a value, without the record around it ..."""
    for holder, key in reversed(trail):
        before = copy.copy(holder)
        del holder[key]
        yield json.dumps(document).encode()
        holder.clear()
        holder.update(before) if isinstance(holder, dict) else holder.extend(before)


def xml_fields(content: bytes) -> Iterator[Field]:
    root = ET.fromstring(content)

    def attribute(element: ET.Element, name: str) -> Iterator[bytes]:
        before = element.attrib[name]
        for value in other_values(before):
            element.set(name, value)
            yield ET.tostring(root)
        element.set(name, before)

    def text(element: ET.Element) -> Iterator[bytes]:
        before = element.text
        for value in other_values(before or ""):
            element.text = value
            yield ET.tostring(root)
        element.text = before

    for element in root.iter():
        path = path_of(root, element)
        for name in element.attrib:
            yield Field(
                f"{path}/@{name}".removeprefix("/"),
                element.get(name),
                lambda e=element, n=name: attribute(e, n),  # type: ignore[misc]
                lambda e=element: without_element(root, e),  # type: ignore[misc]
            )
        if not len(element) and element.text and element.text.strip():
            yield Field(path, element.text, lambda e=element: text(e), lambda e=element: without_element(root, e))  # type: ignore[misc]


def json_fields(content: bytes) -> Iterator[Field]:
    document = json.loads(content)

    def dump() -> bytes:
        return json.dumps(document).encode()

    def changed(holder: Any, key: Any) -> Iterator[bytes]:
        before = holder[key]
        for value in other_values(before):
            holder[key] = value
            yield dump()
        holder[key] = before

    def walk(value: Any, path: str, trail: Trail) -> Iterator[Field]:
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in list(pairs):
            where = f"{path}/{key}".removeprefix("/") if isinstance(value, dict) else path
            here = [*trail, (value, key)]
            if isinstance(item, dict | list) and item:
                yield from walk(item, where, here)
            elif item not in (None, "", [], {}):
                yield Field(
                    where, item, lambda h=value, k=key: changed(h, k), lambda t=here: without_value(document, t)
                )  # type: ignore[misc]

    yield from walk(document, "", [])


def facts(format_: Format) -> ImageFacts:
    """What is known of the image from elsewhere: nothing if that is enough, so that what the file says of it counts."""
    return IMAGE if format_.needs_centre else ImageFacts()


def seen(format_: Format, path: Path, content: bytes) -> tuple[list[Any], dict[str, int]] | str:
    """All that a reader makes of a file but the notes, and the notes; or the error."""
    path.write_bytes(content)
    try:
        drawings = format_.read(path, facts(format_), Choices())
    except QpkitError as err:
        return str(err)
    notes = sum((Counter(drawing.notes) for drawing in drawings), Counter[str]())
    return [(drawing.image, [o.comparable() for o in drawing.objects]) for drawing in drawings], dict(notes)


def fields_of(content: bytes) -> Iterator[Field]:
    return xml_fields(content) if content.lstrip()[:1] == b"<" else json_fields(content)


def silent_fields(format_: Format, path: Path, content: bytes) -> list[str]:
    """Fields of a file whose change nothing shows."""
    assert format_.fields is not None
    before = seen(format_, path, content)
    assert not isinstance(before, str), before
    silent = []
    for field in fields_of(content):
        known = f"{format_.name}: {field.path}"
        allowed = field.path in format_.fields.idle_paths() or {known, f"{known} = {field.value}"} & UNSEEN.keys()
        if allowed or any(seen(format_, path, changed) != before for changed in list(field.changed())):
            continue
        if not is_left_out_and_counted(format_, path, before, list(field.without())):
            silent.append(field.path)
    return silent


def is_left_out_and_counted(format_: Format, path: Path, before: Any, without: list[bytes]) -> bool:
    """Whether the file has the same objects and other notes without one of the records around a field."""
    rest = [seen(format_, path, less) for less in without]
    return any(found[0] == before[0] and found[1] != before[1] for found in rest if not isinstance(found, str))


def json_values(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every value of a document: its holder and its key there."""
    for key, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(item, dict | list):
            yield from json_values(item)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of GEOS, about outlines of no sense
@pytest.mark.parametrize("sample", [s for s in SAMPLES if s[0] in ("coco", "darwin")], ids=lambda s: " ".join(s[:2]))
def test_a_value_of_another_type_is_read_as_something_or_one_clear_line(
    sample: tuple[str, str, str], tmp_path: Path
) -> None:
    format_ = named(sample[0], ALL_FORMATS)
    document = json.loads(sample[2])
    for holder, key in json_values(document):
        before = holder[key]
        for value in (None, "x", -1, [], [1], {"a": 1}):
            holder[key] = value
            found = seen(format_, tmp_path / "a.json", json.dumps(document).encode())
            if isinstance(found, str):
                assert "\n" not in found
                assert len(found.replace(str(tmp_path), "")) < 200
        holder[key] = before


def sample_name(sample: tuple[str, str, str]) -> str:
    return f"{sample[0]} {sample[1]}"


@pytest.mark.parametrize("sample", SAMPLES, ids=sample_name)
def test_no_field_of_a_sample_is_dropped_in_silence(sample: tuple[str, str, str], tmp_path: Path) -> None:
    name, _, text = sample
    format_ = named(name, ALL_FORMATS)
    assert silent_fields(format_, tmp_path / f"a{format_.suffixes[0]}", text.encode()) == []


@pytest.mark.parametrize(
    "name",
    [
        *("nameless-layers/layers.xml", "nameless-layers/nameless.annotations", "nameless-layers/untitled.ndpa"),
        *("halo-comments/comments.annotations", "brush-masks/a.json"),
    ],
)
def test_no_field_of_the_shared_cases_is_dropped_in_silence(shared: Path, name: str, tmp_path: Path) -> None:
    source = shared / "cases" / name
    format_ = format_of(source, ALL_FORMATS, reading=True)
    assert silent_fields(format_, tmp_path / source.name, source.read_bytes()) == []


@pytest.mark.parametrize("version", ["v0.3.2", "v0.4.4", "v0.5.1", "v0.6.0", "v0.7.0"])
def test_quspath_exports_no_field_that_is_noted(shared: Path, version: str) -> None:
    paths = sorted((shared / "fixtures" / "qupath" / version / "expected").glob("*.export.geojson"))
    found = [drawing for path in paths for drawing in named("geojson", ALL_FORMATS).read(path, IMAGE, Choices())]
    assert sum(len(drawing.objects) for drawing in found) > 50
    assert not any(drawing.notes for drawing in found)


FULL = (
    Annotation(
        geometry=shapely.box(0, 0, 50, 40).difference(shapely.box(5, 5, 10, 10)),
        shape="geometry",
        path_class=PathClass(("Tumor",), argb(200, 0, 0)),
        id="7a0ad6fc-9a4a-4a55-a3a9-fc1a1f8b6a9a",
        name="first",
    ),
    Annotation(geometry=shapely.Point(7, 8), shape="points", color=argb(1, 2, 3)),
    Annotation(
        geometry=shapely.LineString([(0, 0), (5, 5)]),
        shape="line",
        path_class=PathClass(("Nerve",), argb(9, 9, 9)),
        metadata={"ANNOTATION_DESCRIPTION": "mine", "comment: Author": "A", "layer: Side": "left", "instance_id": "7"},
    ),
)

CELL = Annotation(
    geometry=shapely.box(20, 0, 29, 9),
    shape="rectangle",
    path_class=PathClass(("Cell",), argb(0, 5, 0)),
    kind="cell",
    color=argb(1, 2, 3),
    measurements={"Area": 81.5, "Odd": math.inf},
    metadata={"by": "A"},
    nucleus=shapely.box(22, 2, 24, 4),
)


@pytest.mark.parametrize("format_", WITH_FIELDS, ids=lambda item: item.name)
def test_no_field_of_our_own_files_is_dropped_and_none_is_noted(format_: Format, tmp_path: Path) -> None:
    path = tmp_path / f"a{format_.suffixes[0]}"
    format_.write(path, [Drawing(objects=FULL, image=IMAGE)], Choices(segmentation="polygon"))
    content = path.read_bytes()
    assert not any(note.startswith(NOT_READ) for d in format_.read(path, facts(format_), Choices()) for note in d.notes)
    assert silent_fields(format_, path, content) == []


@pytest.mark.parametrize("sample", SAMPLES, ids=sample_name)
def test_a_field_that_nobody_knows_is_kept_or_noted_wherever_it_stands(
    sample: tuple[str, str, str], tmp_path: Path
) -> None:
    name, _, text = sample
    format_ = named(name, ALL_FORMATS)
    path = tmp_path / f"a{format_.suffixes[0]}"
    before = seen(format_, path, text.encode())
    assert not isinstance(before, str)
    for where, new, without in with_novelties(text.encode()):
        if seen(format_, path, new) == before:
            assert is_left_out_and_counted(format_, path, before, without), where


def with_novelties(content: bytes) -> Iterator[tuple[str, bytes, list[bytes]]]:
    """The file with something new in each of its records in turn: the record's path, and the file without it."""
    if content.lstrip()[:1] == b"<":
        root = ET.fromstring(content)
        for element in list(root.iter()):
            without = list(without_element(root, element))
            element.set("novel", "1")
            yield path_of(root, element), ET.tostring(root), without
            del element.attrib["novel"]
            new = ET.SubElement(element, "novel")
            new.text = "1"
            yield path_of(root, element), ET.tostring(root), without
            element.remove(new)
        return
    document = json.loads(content)
    for record, trail in records_of(document, []):
        without = list(without_value(document, trail))
        record["novel"] = 1
        yield str([key for _, key in trail]), json.dumps(document).encode(), without
        del record["novel"]


def records_of(value: Any, trail: Trail) -> list[tuple[dict[str, Any], Trail]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    below = [found for key, item in pairs for found in records_of(item, [*trail, (value, key)])]
    return [(value, trail), *below] if isinstance(value, dict) else below


def table_seen(path: Path, rows: list[list[str]]) -> tuple[LabelMap, Counter[str]] | str:
    """The labels that are read of a table, and the notes; or the error."""
    path.write_text("\n".join("\t".join(row) for row in rows))
    notes: Counter[str] = Counter()
    try:
        return read_label_table(path, notes), notes
    except QpkitError as err:
        return str(err)


@pytest.mark.parametrize("name", LABEL_TABLES)
def test_no_cell_of_a_label_table_is_dropped_in_silence(name: str, tmp_path: Path) -> None:
    text = LABEL_TABLES[name]
    rows = list(csv.reader(text.splitlines(), delimiter=max("\t;,", key=text.count)))
    path = tmp_path / "codes.tsv"
    before = table_seen(path, rows)
    assert not isinstance(before, str)
    for row in rows[1:]:
        for column, cell in enumerate(row):
            found = []
            for value in other_values(cell):
                row[column] = value
                found.append(table_seen(path, rows))
            row[column] = cell
            # Value 0 is what lies outside, which is no class.
            assert any(item != before for item in found) or row[1] == "0", (rows[0][column], cell)


@pytest.mark.parametrize("name", LABEL_TABLES)
def test_columns_of_a_label_table_that_nobody_knows_are_counted(name: str, tmp_path: Path) -> None:
    path = tmp_path / "codes.csv"
    text = LABEL_TABLES[name].replace("\t", ";")
    path.write_text(text)
    before, after = Counter[str](), Counter[str]()
    labels = read_label_table(path, before)
    by = max("\t;,", key=text.count)
    path.write_text("".join(f"{line}{by}{'1' if n else 'novel'}\n" for n, line in enumerate(text.splitlines())))
    assert read_label_table(path, after) == labels
    assert after - before == {f"{NOT_READ} (labels/novel)": text.count("\n") - 1}
    expected = {
        "bcss": {},
        "histomicstk": {"is_roi": 3, "is_background_class": 3, "comments": 1},
        "odd": {"group": 1, "color": 1, "colour": 1, "column 6": 1, "column 7": 1},
    }
    assert before == {f"{NOT_READ} (labels/{column})": count for column, count in expected[name].items()}


def tables() -> dict[str, geopandas.GeoDataFrame]:
    """A table as another program has it, and one that we wrote."""
    shapes = [shapely.box(0, 0, 9, 9), shapely.box(20, 0, 29, 9)]
    foreign = {
        "label": ["Tumor", "Stroma"],
        "category": ["lesion", "tissue"],
        "name": ["first", "second"],
        "color": ["#ff0000", "red"],
        "area": [81.5, 2.5],
        "count": [3, 4],
        "checked": [True, False],
        "when": pandas.to_datetime(["2024-01-01", "2024-01-02"]),
        "layer": ["a", "b"],
    }
    own = columns_of([replace(item, parent=None if n else 1) for n, item in enumerate((FULL[0], CELL))])
    return {name: geopandas.GeoDataFrame(found, geometry=shapes) for name, found in (("own", own), ("other", foreign))}


def table_values(value: Any) -> Iterator[Any]:
    return iter([value + pandas.Timedelta(days=1)]) if isinstance(value, pandas.Timestamp) else other_values(value)


@pytest.mark.parametrize("kind", ["own", "other"])
def test_no_column_of_a_table_is_dropped_in_silence(kind: str, tmp_path: Path) -> None:
    table = tables()[kind]
    before = seen_table(tmp_path / "a.gpkg", table)
    silent = []
    for name in table.columns.drop("geometry"):
        for row in range(len(table)):
            changed = []
            for value in table_values(table[name][row]):
                other = table.astype({name: object})
                other.loc[row, name] = value
                changed.append(seen_table(tmp_path / "a.gpkg", other))
            if all(found == before for found in changed):
                silent.append((name, row))
    assert silent == []


def seen_table(path: Path, table: geopandas.GeoDataFrame, layer: str = "annotations") -> Any:
    path.unlink(missing_ok=True)
    save_layer(table, path, layer=layer, driver="GPKG")
    return seen(named("gpkg", ALL_FORMATS), path, path.read_bytes())


@pytest.mark.parametrize(
    ("kind", "layer", "kept"),
    [
        *(("own", "mine", "layer"), ("own", "annotations", None), ("own", "slide", None)),
        *(("other", "mine", "layer 2"), ("other", "annotations", "layer 2"), ("other", "slide", None)),
    ],
)
def test_the_name_of_a_layer_is_kept_where_it_says_something(
    kind: str, layer: str, kept: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "slide.gpkg"
    save_layer(tables()[kind], path, layer=layer, driver="GPKG")
    (found,) = named("gpkg", ALL_FORMATS).read(path, IMAGE, Choices())
    assert not any(NOT_READ in note for note in found.notes)
    for item in found.objects:
        assert [key for key, value in item.metadata.items() if value == layer] == ([kept] if kept else [])


def test_what_describes_a_layer_or_a_file_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    said = {"layer_metadata": {"DESCRIPTION": "mine"}, "dataset_metadata": {"by": "A"}}
    save_layer(tables()["other"], path, layer="a", driver="GPKG", **said)
    (found,) = named("gpkg", ALL_FORMATS).read(path, IMAGE, Choices())
    assert found.notes == {f"{NOT_READ} (layer/DESCRIPTION)": 1, f"{NOT_READ} (file/by)": 1}


def test_the_list_of_fields_that_mean_nothing_at_times_is_not_longer_than_it_has_to_be() -> None:
    for entry in UNSEEN:
        name, path = entry.split(" = ")[0].split(": ")
        fields = named(name, ALL_FORMATS).fields
        assert fields is not None
        assert path not in fields.idle_paths()


FIELDS = Fields(read={"": "@a b", "c": "@d"}, idle={"c": "@e"}, usual={"c/@f": ("0",)})


def test_strange_fields_are_counted_by_their_path() -> None:
    root = ET.fromstring('<r a="1" x="2"><b>t</b><b q="1">t</b><c d="1" e="2" f="0"/><c f="7">t<z/><z/></c>t</r>')
    assert unread_xml(root, FIELDS) == {
        f"{NOT_READ} ({path})": count
        for path, count in (("@x", 1), ("b/@q", 1), ("c/@f", 1), ("c/text", 1), ("c/z", 2), ("text", 1))
    }


def test_records_in_lists_and_in_records_of_their_kind_have_fields_of_their_own() -> None:
    fields = Fields(read={"": "", "a": ANY, f"a/{LISTED}": "b", "c": "d"}, nested=("c",))
    assert unread_json({"a": {"x": 1}, "c": {"d": 1, "c": {"c": {"d": 1}}}}, fields) == {}
    record = {"a": [{"b": 1, "x": 1}, [{"x": None}]], "c": {"c": {"d": 1, "x": 1}}}
    assert unread_json(record, fields) == {f"{NOT_READ} (a/x)": 1, f"{NOT_READ} (c/c/x)": 1}
    assert unread_json({"c": [5, "", {"c": "x"}]}, fields) == {f"{NOT_READ} (c)": 1, f"{NOT_READ} (c/c)": 1}


def test_pieces_of_a_file_are_counted_together() -> None:
    unread = UnreadJson(FIELDS)
    for record in ({"b": 1, "x": 1}, {"x": 2, "y": None}):
        unread.look("", [record])
    unread.look("c", [{"x": 1}])
    assert unread.notes() == {f"{NOT_READ} (x)": 2, f"{NOT_READ} (c/x)": 1}


def test_of_very_many_strange_fields_the_commonest_are_named() -> None:
    notes = unread_json({f"k{n}": n + 1 for n in range(1000)} | {"null": None, "empty": []}, FIELDS)
    assert len(notes) == 21
    assert notes.total() == 1000
    assert notes[f"{NOT_READ} (others)"] == 980
