"""Groups, comments, attributes and properties of other programs: read to what they mean, and written back as theirs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import shapely
from fields_samples import HALO, IMAGESCOPE
from hypothesis import given
from hypothesis import strategies as st

from qpkit.core.annotation import Annotation, PathClass, argb
from qpkit.core.pixel_size import PixelSize
from qpkit.errors import FormatError
from qpkit.formats.plugins import asap, coco, darwin, halo, imagescope, ndpa
from qpkit.formats.shared.comments import comment_metadata, read_comments, write_comments
from qpkit.formats.shared.drawing import Choices, Drawing, ImageFacts
from qpkit.formats.shared.item_fields import other_values, written_values
from qpkit.formats.shared.other_values import as_metadata
from qpkit.formats.shared.xml_files import read_xml

ANYWHERE = ImageFacts()
BOX = shapely.box(10, 10, 60, 50)
RED, GREEN = argb(255, 0, 0), argb(0, 255, 0)
TEXTS = st.text(st.sampled_from("ab \n,:0\x01"), max_size=6)
COMMENT_KEYS = st.sampled_from(
    ["ANNOTATION_DESCRIPTION", *(f"comment{n}: {k}" for n in ("", " 1", " 3", " 0") for k in ("Author", "CreatedTime"))]
)
FIELD_KEYS = TEXTS | st.sampled_from(
    [
        *("Grade", "Grade: frame_index", "Grade: frame_index: frame_index", ": frame_index", "instance_id"),
        *("instance_id: frame_index", "attributes", "attributes: frame_index", "name", "properties", "polygon"),
    ]
)


def put(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def asap_file(groups: str, *parts_of: str) -> str:
    dots = "".join(
        f'<Annotation Name="" Type="Dot" PartOfGroup="{group}" Color="#0000ff"><Coordinates>'
        '<Coordinate Order="0" X="1" Y="2"/></Coordinates></Annotation>'
        for group in parts_of
    )
    annotations = f"<Annotations>{dots}</Annotations>"
    return f"<ASAP_Annotations>{annotations}<AnnotationGroups>{groups}</AnnotationGroups></ASAP_Annotations>"


NESTED = (
    '<Group Name="Nest" PartOfGroup="Tumor" Color="#00ff00"/><Group Name="Tumor" PartOfGroup="None" Color="#ff0000"/>'
    '<Group Name="Cell" PartOfGroup="Nest" Color="#ff0000"/><Group Name="Duct" PartOfGroup="Gland" Color="#ff0000"/>'
)


def test_groups_in_groups_are_classes_below_them_and_go_back_into_them(tmp_path: Path) -> None:
    path = put(tmp_path, "a.xml", asap_file(NESTED, "Nest", "Tumor", "Cell", "Duct", "None"))
    (found,) = asap.read(path, ANYWHERE, Choices())
    classes = [o.path_class for o in found.objects]
    assert classes == [
        PathClass(("Tumor", "Nest"), GREEN),
        PathClass(("Tumor",), RED),
        PathClass(("Tumor", "Nest", "Cell"), RED),
        PathClass(("Gland", "Duct"), RED),
        None,
    ]
    assert not found.notes
    assert not asap.write(path, [found], Choices())
    written = {group.get("Name"): group.get("PartOfGroup") for group in read_xml(path).iter("Group")}
    inside = {"Tumor: Nest": "Tumor", "Tumor": "None", "Tumor: Nest: Cell": "Tumor: Nest", "Gland: Duct": "None"}
    assert written == inside
    (again,) = asap.read(path, ANYWHERE, Choices())
    assert [o.comparable() for o in again.objects] == [o.comparable() for o in found.objects]


def test_groups_that_lie_in_each_other_are_one_clear_line(tmp_path: Path) -> None:
    groups = '<Group Name="A" PartOfGroup="B"/><Group Name="B" PartOfGroup="A"/>'
    with pytest.raises(FormatError, match="the group 'A' lies in itself; change its PartOfGroup"):
        asap.read(put(tmp_path, "a.xml", asap_file(groups, "A")), ANYWHERE, Choices())


def test_groups_of_one_name_are_counted(tmp_path: Path) -> None:
    groups = '<Group Name="A" PartOfGroup="None" Color="#00ff00"/><Group Name="A" PartOfGroup="None" Color="#ff0000"/>'
    (found,) = asap.read(put(tmp_path, "a.xml", asap_file(groups, "A")), ANYWHERE, Choices())
    assert (found.objects[0].path_class, found.notes) == (PathClass(("A",), RED), {asap.SAME_GROUPS: 1})


@given(st.dictionaries(COMMENT_KEYS | TEXTS, TEXTS, max_size=6))
def test_comments_say_again_what_can_be_said_in_comments(metadata: dict[str, str]) -> None:
    kept = comment_metadata(metadata)
    assert kept.items() <= metadata.items()
    assert read_comments(write_comments(metadata)) == kept


def test_comments_of_halo_are_written_as_they_were(tmp_path: Path) -> None:
    source = put(tmp_path, "a.annotations", HALO)
    (found,) = halo.read(source, ANYWHERE, Choices())
    assert halo.write(tmp_path / "b.annotations", [found], Choices()) == {}
    before, after = (
        [comment.attrib for region in read_xml(path).iter("Region") for comment in region.iter("Comment")]
        for path in (source, tmp_path / "b.annotations")
    )
    assert len(before) == 3
    assert after == before[:2]  # that of the hole was left out, and counted, when it was read


def test_attributes_of_imagescope_go_back_to_their_regions_and_layers(tmp_path: Path) -> None:
    (found,) = imagescope.read(put(tmp_path, "a.xml", IMAGESCOPE), ANYWHERE, Choices())
    assert imagescope.write(tmp_path / "b.xml", [found], Choices()) == {}
    root = read_xml(tmp_path / "b.xml")
    gland, cap, _ = root.findall("Annotation")
    assert [e.attrib for e in gland.iterfind("Attributes/Attribute")] == [
        {"Name": "Description", "Id": "0", "Value": "of the left lobe"}
    ]
    region = [(e.get("Name"), e.get("Value"), e.get("Id")) for e in gland.iterfind(".//Region/Attributes/Attribute")]
    assert region == [("Grade", "3", "1"), ("Seen by", "A", "2")]
    headers = {e.get("Id"): e.get("Name") for e in gland.iterfind("Regions/RegionAttributeHeaders/AttributeHeader")}
    assert headers == {"1": "Grade", "2": "Seen by"}
    assert cap.find("Attributes/Attribute") is None
    (again,) = imagescope.read(tmp_path / "b.xml", ANYWHERE, Choices())
    assert [o.metadata for o in again.objects] == [o.metadata for o in found.objects]


def test_layers_of_one_class_stay_apart_where_their_attributes_differ(tmp_path: Path) -> None:
    objects = tuple(
        Annotation(geometry=BOX, shape="rectangle", path_class=PathClass(("Gland",), RED), metadata=metadata)
        for metadata in ({"layer: Side": "left"}, {"layer: Side": "right"}, {"layer: Side": "left"}, {"Side": "left"})
    )
    imagescope.write(tmp_path / "a.xml", [Drawing(objects=objects)], Choices())
    layers = read_xml(tmp_path / "a.xml").findall("Annotation")
    assert [len(layer.findall("Regions/Region")) for layer in layers] == [2, 1, 1]


def test_an_attribute_that_a_region_has_twice_is_kept_twice(tmp_path: Path) -> None:
    text = IMAGESCOPE.replace('<Attribute Name="" Id="1" Value="3"/>', '<Attribute Name="Seen by" Id="1" Value="3"/>')
    (found,) = imagescope.read(put(tmp_path, "a.xml", text), ANYWHERE, Choices())
    assert found.objects[0].metadata.items() >= {"Seen by": "3", "Seen by 2": "A"}.items()


@given(st.dictionaries(FIELD_KEYS, TEXTS | st.sampled_from(["7", "007", "global", "a, b"]), max_size=6))
def test_fields_of_darwin_say_again_what_was_written(metadata: dict[str, str]) -> None:
    written = json.loads(json.dumps(written_values(metadata)))
    assert as_metadata(other_values(written)) == {key: text for key, text in metadata.items() if text}


def test_properties_and_instance_ids_are_written_where_v7_has_them() -> None:
    metadata = {"Grade": "3", "Grade: frame_index": "0", "instance_id": "7", "attributes": "left, old", "by": "A"}
    assert written_values(metadata) == {
        "properties": [
            {"frame_index": 0, "name": "Grade", "value": "3"},
            {"frame_index": None, "name": "by", "value": "A"},
        ],
        "instance_id": {"value": 7},
        "attributes": ["left", "old"],
    }


def images(*names: str | None) -> list[Drawing]:
    return [
        Drawing(
            objects=(Annotation(geometry=BOX, shape="rectangle", metadata={"number": str(number)}),),
            image=ImageFacts(name=name, width=100 + number, height=90),
        )
        for number, name in enumerate(names)
    ]


def test_images_of_one_item_are_its_slots(tmp_path: Path) -> None:
    path = tmp_path / "case.json"
    drawings = images("a.tif", "b.tif", "c.tif")
    assert darwin.write(path, drawings, Choices()) == {}
    found = darwin.read(path, ANYWHERE, Choices())
    assert [d.image for d in found] == [d.image for d in drawings]
    assert [[o.comparable() for o in d.objects] for d in found] == [
        [o.comparable() for o in d.objects] for d in drawings
    ]


def test_images_of_one_name_are_called_by_their_slots_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "case.json"
    assert darwin.write(path, images("a.tif", "a.tif", None), Choices()) == {darwin.SAME_NAMES: 2}
    assert [d.image.name for d in darwin.read(path, ANYWHERE, Choices())] == ["case 0", "case 1", "case 2"]


def test_classes_without_a_name_are_counted_and_categories_stay_apart(tmp_path: Path) -> None:
    box = {"bounding_box": {"x": 1, "y": 2, "w": 3, "h": 4}}
    record = {"item": {"name": "a"}, "annotations": [{"name": "", **box}, {"name": "A", **box}]}
    (found,) = darwin.read(put(tmp_path, "d.json", json.dumps(record)), ANYWHERE, Choices())
    assert ([o.class_name for o in found.objects], found.notes) == ([None, "A"], {darwin.NO_CLASS: 1})
    categories = [{"id": 1, "name": ""}, {"id": 2, "color": [255, 0, 0]}, {"id": 3, "name": "A"}]
    items = [{"image_id": 1, "category_id": n, "bbox": [1, 2, 3, 4]} for n in (1, 2, 3)]
    table = {"images": [{"id": 1}], "categories": categories, "annotations": items}
    (found,) = coco.read(put(tmp_path, "c.json", json.dumps(table)), ANYWHERE, Choices())
    assert [o.class_name for o in found.objects] == ["Category 1", "Category 2", "A"]
    assert found.notes == {coco.NAMELESS_CATEGORIES: 2}


def test_each_axis_of_an_ndpa_has_its_own_um_per_px(shared: Path, tmp_path: Path) -> None:
    facts = ImageFacts(
        width=3968, height=4864, pixel_size=PixelSize(0.228175, 0.227493), centre_nm=(12538720.0, -96063.0)
    )
    (found,) = ndpa.read(shared / "cases/ndpa-anisotropic-mpp/a.ndpi.ndpa", facts, Choices())
    bounds = [o.geometry.bounds[:2] for o in found.objects]
    assert bounds == [pytest.approx(xy, abs=0.01) for xy in ((10, 10), (3900, 4800), (1984, 2432), (100, 100))]
    assert found.objects[3].geometry.bounds == pytest.approx((100, 100, 1100, 1100), abs=0.01)
    ndpa.write(tmp_path / "a.ndpa", [found], Choices())
    (again,) = ndpa.read(tmp_path / "a.ndpa", facts, Choices())
    assert [o.comparable() for o in again.objects] == [o.comparable() for o in found.objects]
