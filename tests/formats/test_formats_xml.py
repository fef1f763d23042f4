from __future__ import annotations

from pathlib import Path
from types import ModuleType

import fields_samples
import numpy as np
import pytest
import shapely

from qpkit.core.annotation import Annotation, PathClass, argb
from qpkit.errors import ConfigError, FormatError, ProjectError
from qpkit.formats.plugins import asap, halo, imagescope, ndpa
from qpkit.formats.registry import FORMATS, format_of
from qpkit.formats.shared.class_names import NAMELESS, RESERVED
from qpkit.formats.shared.drawing import Choices, Drawing, ImageFacts
from qpkit.formats.shared.outlines import TOO_FEW
from qpkit.formats.shared.splines import closed_spline
from qpkit.formats.shared.xml_files import read_xml

ASAP = """<?xml version="1.0"?>
<ASAP_Annotations>
  <Annotations>
    <Annotation Name="Annotation 0" Type="Polygon" PartOfGroup="Tumor" Color="#F4FA58"><Coordinates>
      <Coordinate Order="1" X="20,5" Y="0"/><Coordinate Order="0" X="0,25" Y="0"/>
      <Coordinate Order="2" X="10" Y="15,75"/>
    </Coordinates></Annotation>
    <Annotation Name="" Type="Dot" PartOfGroup="None" Color="#808080"><Coordinates>
      <Coordinate Order="0" X="7" Y="8"/></Coordinates></Annotation>
    <Annotation Name="two" Type="Polygon" PartOfGroup="Tumor" Color="#64FE2E"><Coordinates>
      <Coordinate Order="0" X="7" Y="8"/><Coordinate Order="1" X="9" Y="9"/></Coordinates></Annotation>
    <Annotation Name="s" Type="Spline" PartOfGroup="Nest" Color="#64FE2E"><Coordinates>
      <Coordinate Order="0" X="0" Y="0"/><Coordinate Order="1" X="9" Y="0"/><Coordinate Order="2" X="9" Y="9"/>
    </Coordinates></Annotation>
    <Annotation Name="?" Type="Cloud" PartOfGroup="Nest" Color="#64FE2E"><Coordinates/></Annotation>
  </Annotations>
  <AnnotationGroups><Group Name="Tumor" PartOfGroup="None" Color="#64FE2E"><Attributes/></Group></AnnotationGroups>
</ASAP_Annotations>
"""


def put(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_asap_points_come_in_their_order_with_commas_read_and_what_is_left_out_counted(tmp_path: Path) -> None:
    (found,) = asap.read(put(tmp_path, "a.xml", ASAP), ImageFacts(), Choices())
    polygon, dot, spline = found.objects
    assert list(polygon.geometry.exterior.coords)[:3] == [(0.25, 0), (20.5, 0), (10, 15.75)]
    assert polygon.path_class == PathClass(("Tumor",), argb(0x64, 0xFE, 0x2E))
    assert (polygon.name, polygon.color) == ("Annotation 0", argb(0xF4, 0xFA, 0x58))
    assert (dot.geometry, dot.path_class, dot.color) == (shapely.Point(7, 8), None, None)
    assert str(spline.path_class) == "Nest"
    curve = closed_spline(np.array([(0.0, 0.0), (9.0, 0.0), (9.0, 9.0)]))
    assert np.array_equal(spline.geometry.exterior.coords[:-1], curve)
    assert found.notes == {TOO_FEW: 1, asap.SPLINE: 1, "annotations of type 'Cloud' left out": 1}


IMAGESCOPE = """<Annotations MicronsPerPixel="0.2520">
  <Annotation Id="1" Name="" ReadOnly="0" LineColor="65280" Visible="1"><Regions><RegionAttributeHeaders/>
    <Region Id="1" Type="0" Text="first" NegativeROA="0" InputRegionId="0"><Vertices>
      <Vertex X="0" Y="0" Z="0"/><Vertex X="100" Y="0"/><Vertex X="100" Y="100"/><Vertex X="0" Y="100"/>
    </Vertices></Region>
    <Region Id="2" Type="0" NegativeROA="0"><Vertices>
      <Vertex X="10" Y="10"/><Vertex X="50" Y="10"/><Vertex X="50" Y="50"/><Vertex X="10" Y="50"/></Vertices></Region>
    <Region Id="3" Type="0" NegativeROA="1" InputRegionId="1"><Vertices>
      <Vertex X="20" Y="20"/><Vertex X="30" Y="20"/><Vertex X="30" Y="30"/></Vertices></Region>
    <Region Id="4" Type="2" NegativeROA="0"><Vertices>
      <Vertex X="200" Y="10"/><Vertex X="240" Y="30"/></Vertices></Region>
    <Region Id="5" Type="4" NegativeROA="0"><Vertices><Vertex X="1" Y="2"/><Vertex X="3" Y="4"/></Vertices></Region>
  </Regions></Annotation>
  <Annotation Id="2" Name="Stroma" LineColor="16711680"><Regions>
    <Region Id="6" Type="9"><Vertices/></Region>
    <Region Id="7" Type="1"><Vertices>
      <Vertex X="1" Y="1"/><Vertex X="3" Y="1"/><Vertex X="3" Y="4"/><Vertex X="1" Y="4"/></Vertices></Region>
  </Regions></Annotation>
</Annotations>
"""


def test_imagescope_holes_go_to_the_region_that_they_name(tmp_path: Path) -> None:
    (found,) = imagescope.read(put(tmp_path, "a.xml", IMAGESCOPE), ImageFacts(), Choices())
    outer, inner, oval, ruler, box = found.objects
    assert outer.geometry.area == 100 * 100 - 50
    assert (outer.name, outer.path_class, outer.shape) == (
        "first",
        PathClass(("Layer 1",), argb(0, 255, 0)),
        "geometry",
    )
    assert (inner.geometry.area, inner.shape) == (1600, "polygon")
    assert (oval.shape, oval.geometry.bounds) == ("ellipse", (200, 10, 240, 30))
    assert (ruler.shape, ruler.geometry.length) == ("line", 8**0.5)
    assert (box.shape, box.path_class) == ("rectangle", PathClass(("Stroma",), argb(0, 0, 255)))
    assert found.image.mpp == 0.252
    assert found.notes == {"regions of type '9' left out": 1, NAMELESS: 1}


HALO = """<Annotations>
  <Annotation Name="Layer 1" Visible="True" LineColor="5634047"><Regions>
    <Region Type="Polygon" HasEndcaps="0" NegativeROA="1"><Vertices>
      <V X="20" Y="20"/><V X="30" Y="20"/><V X="30" Y="30"/><V X="20" Y="20"/></Vertices></Region>
    <Region Type="Polygon" HasEndcaps="0" NegativeROA="0"><Vertices>
      <V X="0" Y="0"/><V X="100" Y="0"/><V X="100" Y="100"/><V X="0" Y="100"/><V X="0" Y="0"/></Vertices></Region>
    <Region Type="Ellipse" HasEndcaps="0" NegativeROA="0"><Vertices>
      <V X="-40" Y="0"/><V X="-20" Y="40"/></Vertices></Region>
    <Region Type="Rectangle" HasEndcaps="0" NegativeROA="1"><Vertices>
      <V X="-35" Y="15"/><V X="-25" Y="25"/></Vertices></Region>
    <Region Type="Polygon" HasEndcaps="1" NegativeROA="0"><Vertices>
      <V X="0" Y="0"/><V X="1" Y="1"/><V X="2" Y="0"/></Vertices></Region>
    <Region Type="Pin" HasEndcaps="0" NegativeROA="0"><Vertices><V X="5" Y="6"/></Vertices></Region>
  </Regions></Annotation>
</Annotations>
"""


def test_halo_holes_may_stand_before_what_they_lie_in(tmp_path: Path) -> None:
    (found,) = halo.read(put(tmp_path, "a.annotations", HALO), ImageFacts(), Choices())
    polygon, oval, line, pin = found.objects
    assert polygon.geometry.area == 100 * 100 - 50
    assert polygon.path_class == PathClass(("Layer 1",), argb(255, 247, 85))
    assert len(oval.geometry.interiors) == 1
    assert (line.shape, pin.shape, pin.geometry) == ("polyline", "points", shapely.Point(5, 6))
    assert not found.notes


NDPA = """<?xml version="1.0" encoding="utf-8" standalone="yes"?>
<annotations>
  <ndpviewstate id="1"><title>Tumor</title><details>mine</details><coordformat>nanometers</coordformat>
    <annotation type="freehand" displayname="AnnotateRectangle" color="#ff0000"><measuretype>0</measuretype>
      <closed>1</closed><pointlist>
        <point><x>1000</x><y>-2000</y></point><point><x>3000</x><y>-2000</y></point>
        <point><x>3000</x><y>2000</y></point><point><x>1000</x><y>2000</y></point></pointlist>
      <specialtype>rectangle</specialtype></annotation></ndpviewstate>
  <ndpviewstate id="2"><title>x</title><coordformat>nanometers</coordformat>
    <annotation type="circle" color="#000000"><x>1000</x><y>0</y><radius>500</radius></annotation></ndpviewstate>
  <ndpviewstate id="3"><title>y</title><coordformat>nanometers</coordformat>
    <annotation type="pin" color="#000000"><x>0</x><y>0</y></annotation></ndpviewstate>
</annotations>
"""
FACTS = ImageFacts(width=200, height=100, mpp=0.5, centre_nm=(1000.0, 0.0))


def test_ndpa_nanometres_count_from_the_centre_of_the_glass(tmp_path: Path) -> None:
    (found,) = ndpa.read(put(tmp_path, "a.ndpa", NDPA), FACTS, Choices())
    box, circle, pin = found.objects
    assert (box.geometry.bounds, box.shape, box.name) == ((100, 46, 104, 54), "rectangle", "mine")
    assert box.path_class == PathClass(("Tumor",), argb(255, 0, 0))
    assert (circle.shape, circle.geometry.bounds) == ("ellipse", (99, 49, 101, 51))
    assert pin.geometry == shapely.Point(98, 50)


def test_ndpa_without_the_facts_of_the_slide_says_which_are_missing(tmp_path: Path) -> None:
    path = put(tmp_path, "a.ndpa", NDPA)
    for missing in ("width", "mpp", "centre_nm"):
        facts = ImageFacts(**{k: getattr(FACTS, k) for k in ("width", "height", "mpp", "centre_nm") if k != missing})
        with pytest.raises(ConfigError, match="--image"):
            ndpa.read(path, facts, Choices())
    with pytest.raises(FormatError, match="pixels"):
        ndpa.read(put(tmp_path, "b.ndpa", NDPA.replace("nanometers", "pixels", 1)), FACTS, Choices())


def test_halo_says_what_rounding_to_whole_px_does(tmp_path: Path) -> None:
    objects = (
        Annotation(geometry=shapely.box(0.1, 0.1, 0.3, 0.3), shape="polygon"),
        Annotation(geometry=shapely.box(0.4, 0, 9.6, 5), shape="rectangle"),
    )
    losses = halo.write(tmp_path / "a.annotations", [Drawing(objects=objects)], Choices())
    assert losses == {halo.ROUNDED: 2, halo.VANISHED: 1}
    (found,) = halo.read(tmp_path / "a.annotations", ImageFacts(), Choices())
    assert [o.geometry.bounds for o in found.objects] == [(0, 0, 10, 5)]


BOMB = """<?xml version="1.0"?>
<!DOCTYPE lolz [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<ASAP_Annotations>&b;</ASAP_Annotations>"""
OUTSIDE = """<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]><Annotations>&f;</Annotations>"""


@pytest.mark.parametrize("text", [BOMB, OUTSIDE])
def test_a_document_type_is_refused_before_any_entity_is_looked_at(tmp_path: Path, text: str) -> None:
    with pytest.raises(FormatError, match="DOCTYPE"):
        read_xml(put(tmp_path, "bomb.xml", text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ASAP[:300], "not well-formed XML"),
        ("", "not well-formed XML"),
        ("&nothing;", "not well-formed XML"),
        (ASAP.replace('X="7"', 'X="NaN"'), "annotation 1, point 0: X of Coordinate: 'NaN' is not a number"),
        (ASAP.replace('X="7"', 'X="1e999"'), "is not a number"),
        (ASAP.replace('X="7"', ""), "is not a number"),
        ("<svg/>", "the root is <svg>"),
    ],
)
def test_bad_xml_is_an_error_with_the_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        asap.read(put(tmp_path, "bad.xml", text), ImageFacts(), Choices())


def test_a_missing_file_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"gone\.xml"):
        read_xml(tmp_path / "gone.xml")


def test_the_content_says_the_format_and_where_it_does_not_there_is_help(tmp_path: Path) -> None:
    for name, text, expected in (
        ("a.xml", ASAP, "asap"),
        ("b.xml", IMAGESCOPE, "imagescope"),
        ("c.xml", HALO, "halo"),
        ("d.annotations", IMAGESCOPE, "imagescope"),
        ("e.annotations", HALO, "halo"),
        ("f.xml", NDPA, "ndpa"),
    ):
        assert format_of(put(tmp_path, name, text), FORMATS, reading=True).name == expected
    with pytest.raises(ConfigError, match="--from asap"):
        format_of(put(tmp_path, "g.xml", "<Annotations/>"), FORMATS, reading=True)
    with pytest.raises(ConfigError, match="--to NAME"):
        format_of(tmp_path / "new.xml", FORMATS, reading=False)
    with pytest.raises(ConfigError, match=r"\.ndpa"):
        format_of(tmp_path / "new.doc", FORMATS, reading=False)


def test_utf_16_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_bytes(IMAGESCOPE.encode("utf-16"))
    assert len(imagescope.read(path, ImageFacts(), Choices())[0].objects) == 5


def test_layers_without_a_name_stay_apart_by_their_attribute_or_their_number(shared: Path) -> None:
    green, red = argb(0, 255, 0), argb(255, 0, 0)
    (found,) = imagescope.read(shared / "cases/nameless-layers/layers.xml", ImageFacts(), Choices())
    assert [o.path_class for o in found.objects] == [PathClass(("Gland",), green), PathClass(("Layer 2",), red)]
    assert found.notes == {NAMELESS: 2}
    (found,) = halo.read(shared / "cases/nameless-layers/nameless.annotations", ImageFacts(), Choices())
    assert [o.path_class for o in found.objects] == [PathClass(("Layer 1",), green), PathClass(("Layer 2",), red)]
    assert found.notes == {NAMELESS: 2}
    facts = ImageFacts(width=1000, height=1000, mpp=0.25, centre_nm=(0.0, 0.0))
    (found,) = ndpa.read(shared / "cases/nameless-layers/untitled.ndpa", facts, Choices())
    assert [(o.path_class, o.color) for o in found.objects] == [(None, green), (None, red)]
    assert found.notes == {ndpa.UNTITLED: 2}


def test_comments_are_the_description_that_qupath_shows(shared: Path) -> None:
    (found,) = halo.read(shared / "cases/halo-comments/comments.annotations", ImageFacts(), Choices())
    said = found.objects[0].metadata
    assert (said["ANNOTATION_DESCRIPTION"], said["comment: Author"]) == ("high grade", "reader")
    assert not found.notes


def test_texts_of_layers_and_regions_of_imagescope_are_name_and_metadata(tmp_path: Path) -> None:
    (found,) = imagescope.read(put(tmp_path, "a.xml", fields_samples.IMAGESCOPE), ImageFacts(), Choices())
    gland, cap, third = found.objects
    assert (gland.class_name, gland.name) == ("Gland", "first")
    assert gland.metadata == {"Grade": "3", "Seen by": "A", "layer: Description": "of the left lobe"}
    assert (cap.class_name, cap.metadata, third.class_name) == ("CaP", {}, "Layer 3")
    assert found.notes == {
        "layers without a name": 2,
        "layers without regions left out": 1,
        "regions of type '9' left out": 1,
        "texts, attributes and comments of negative regions left out": 1,
        "fields not read (Annotation/@MacroName)": 1,
    }


@pytest.mark.parametrize("format_", [imagescope, halo, ndpa])
def test_objects_without_a_class_come_back_without_one_and_the_name_for_that_is_declared(
    format_: ModuleType, tmp_path: Path
) -> None:
    classes = (None, PathClass(("Unclassified",), argb(1, 2, 3)))
    objects = tuple(Annotation(geometry=shapely.box(9, 9, 50, 50), shape="rectangle", path_class=c) for c in classes)
    losses = format_.write(tmp_path / "a", [Drawing(objects=objects, image=FACTS)], Choices())
    (found,) = format_.read(tmp_path / "a", FACTS, Choices())
    assert [o.path_class for o in found.objects] == [None, None]
    assert losses[RESERVED] == 1
    assert not found.notes


def test_groups_of_asap_without_a_name_keep_the_colours_of_their_annotations(tmp_path: Path) -> None:
    groups = '<Group Name="" PartOfGroup="None" Color="#0000ff"/>'
    dots = "".join(
        f'<Annotation Name="" Type="Dot" PartOfGroup=""{color}><Coordinates><Coordinate X="1" Y="2"/></Coordinates>'
        "</Annotation>"
        for color in (' Color="#00ff00"', "")
    )
    body = f"<Annotations>{dots}</Annotations><AnnotationGroups>{groups}</AnnotationGroups>"
    text = f"<ASAP_Annotations>{body}</ASAP_Annotations>"
    (found,) = asap.read(put(tmp_path, "a.xml", text), ImageFacts(), Choices())
    assert [(o.path_class, o.color) for o in found.objects] == [(None, argb(0, 255, 0)), (None, argb(0, 0, 255))]
    assert found.notes == {asap.NAMELESS_GROUPS: 1}
