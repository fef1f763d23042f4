"""Files as other programs write them, with all fields that they are known to have: (format, what it shows, content)."""

from __future__ import annotations

import json
from typing import Any

ASAP = """<ASAP_Annotations><Annotations>
  <Annotation Name="Annotation 0" Type="Polygon" PartOfGroup="Tumor" Color="#F4FA58"><Coordinates>
    <Coordinate Order="0" X="0" Y="0"/><Coordinate Order="1" X="9" Y="0"/><Coordinate Order="2" X="5" Y="7"/>
  </Coordinates></Annotation>
  <Annotation Name="" Type="Dot" PartOfGroup="" Color="#00ff00"><Coordinates><Coordinate Order="0" X="7" Y="8"/>
  </Coordinates></Annotation>
  <Annotation Name="s" Type="Spline" PartOfGroup="Nest" Color="#64FE2E"><Coordinates>
    <Coordinate Order="0" X="0" Y="0"/><Coordinate Order="1" X="9" Y="0"/><Coordinate Order="2" X="5" Y="7"/>
  </Coordinates></Annotation>
  <Annotation Name="?" Type="Cloud" PartOfGroup="Nest" Color="#64FE2E"><Coordinates/></Annotation>
</Annotations><AnnotationGroups>
  <Group Name="Tumor" PartOfGroup="None" Color="#64FE2E"><Attributes/></Group>
  <Group Name="Nest" PartOfGroup="Tumor" Color="#64FE2E"><Attributes><Attribute Name="a" Value="b"/></Attributes>
  </Group>
  <Group Name="Nest" PartOfGroup="Tumor" Color="#64FE2E"/>
  <Group Name="Unused" PartOfGroup="None" Color="#64FE2E"><Attributes/></Group>
</AnnotationGroups></ASAP_Annotations>"""

_RING = '<Vertices><Vertex X="0" Y="0" Z="0"/><Vertex X="90" Y="0" Z="0"/><Vertex X="90" Y="80" Z="0"/></Vertices>'
_HOLE = '<Vertices><Vertex X="60" Y="10" Z="0"/><Vertex X="70" Y="10" Z="0"/><Vertex X="70" Y="20" Z="0"/></Vertices>'
_SHOWN = (
    'Zoom="0.2" Selected="0" ImageLocation="" ImageFocus="-1" Length="4.0" Area="1.0" LengthMicrons="1.8" '
    'AreaMicrons="6.0" Analyze="1"'
)
_LAYER = 'ReadOnly="0" NameReadOnly="0" LineColorReadOnly="0" Incremental="0" Type="4" Visible="1" Selected="0"'
IMAGESCOPE = f"""<Annotations MicronsPerPixel="0.252000">
  <Annotation Id="1" Name="Gland" {_LAYER} LineColor="65280" MarkupImagePath="" MacroName="Macro 7">
    <Attributes><Attribute Name="Description" Id="0" Value="of the left lobe"/></Attributes>
    <Regions><RegionAttributeHeaders><AttributeHeader Id="9999" Name="Region" ColumnWidth="-1"/>
      <AttributeHeader Id="1" Name="Grade" ColumnWidth="-1"/></RegionAttributeHeaders>
      <Region Id="1" Type="0" {_SHOWN} Text="first" NegativeROA="0" InputRegionId="0" DisplayId="1">
        <Attributes><Attribute Name="" Id="1" Value="3"/><Attribute Name="Seen by" Id="2" Value="A"/></Attributes>
        {_RING}</Region>
      <Region Id="2" Type="0" {_SHOWN} Text="hole" NegativeROA="1" InputRegionId="1" DisplayId="2"><Attributes/>{_HOLE}
      </Region>
      <Region Id="3" Type="9" {_SHOWN} Text="?" NegativeROA="0" InputRegionId="0" DisplayId="3"><Attributes/>{_RING}
      </Region>
    </Regions><Plots/>
  </Annotation>
  <Annotation Id="2" Name="" {_LAYER} LineColor="255" MarkupImagePath="" MacroName="">
    <Attributes><Attribute Name="CaP" Id="0" Value=""/></Attributes>
    <Regions><Region Id="1" Type="1" Text="" NegativeROA="0" InputRegionId="0">{_RING}</Region></Regions><Plots/>
  </Annotation>
  <Annotation Id="3" Name="" LineColor="16711680"><Attributes/>
    <Regions><Region Id="1" Type="1" NegativeROA="0">{_RING}</Region></Regions></Annotation>
  <Annotation Id="4" Name="Empty" {_LAYER} LineColor="255"><Attributes/><Regions/><Plots/></Annotation>
</Annotations>"""

HALO = """<Annotations><Annotation Name="Layer 1" Visible="True" LineColor="5634047"><Regions>
  <Region Type="Polygon" HasEndcaps="0" NegativeROA="0"><Vertices>
    <V X="0" Y="0"/><V X="90" Y="0"/><V X="90" Y="90"/><V X="0" Y="90"/></Vertices><Comments>
    <Comment Author="A" Body="high grade" CreatedTime="2024-01-01T10:00:00Z" ModifiedTime="2024-01-02T10:00:00Z"/>
    <Comment Author="B" Body="no" CreatedTime="2024-01-03T10:00:00Z" ModifiedTime="2024-01-04T10:00:00Z"/>
  </Comments></Region>
  <Region Type="Polygon" HasEndcaps="0" NegativeROA="1"><Vertices>
    <V X="20" Y="20"/><V X="30" Y="20"/><V X="30" Y="30"/></Vertices><Comments>
    <Comment Author="A" Body="a hole" CreatedTime="2024-01-01T10:00:00Z" ModifiedTime="2024-01-02T10:00:00Z"/>
  </Comments></Region>
  <Region Type="Cloud" HasEndcaps="0" NegativeROA="0"><Vertices><V X="5" Y="6"/></Vertices></Region>
</Regions></Annotation>
<Annotation Name="" Visible="False" LineColor="255"><Regions>
  <Region Type="Pin" HasEndcaps="0" NegativeROA="0"><Vertices><V X="5" Y="6"/></Vertices></Region>
</Regions></Annotation>
<Annotation Name="Empty" Visible="True" LineColor="255"><Regions/></Annotation></Annotations>"""

NDPA = """<annotations>
  <ndpviewstate id="1"><title>Tumor</title><details>mine</details><coordformat>nanometers</coordformat><lens>1.25</lens>
    <x>12</x><y>34</y><z>0</z><showtitle>0</showtitle><showhistogram>0</showhistogram>
    <showlineprofile>0</showlineprofile>
    <annotation type="freehand" displayname="AnnotateFreehand" color="#ff0000"><measuretype>0</measuretype>
      <closed>1</closed><pointlist><point><x>1000</x><y>-2000</y></point><point><x>300000</x><y>-2000</y></point>
      <point><x>300000</x><y>200000</y></point></pointlist></annotation></ndpviewstate>
  <ndpviewstate id="2"><title>x</title><details/><coordformat>nanometers</coordformat>
    <annotation type="circle" displayname="AnnotateCircle" color="#000000"><x>1000</x><y>0</y><radius>50000</radius>
      <measuretype>0</measuretype></annotation></ndpviewstate>
  <ndpviewstate id="3"><title></title><details/><coordformat>nanometers</coordformat>
    <annotation type="pin" displayname="AnnotatePin" color="#00ff00"><x>0</x><y>0</y></annotation></ndpviewstate>
  <ndpviewstate id="4"><title>r</title><details/><coordformat>nanometers</coordformat><annotation type="linearmeasure"
    displayname="AnnotateRuler" color="#00ff00"><x1>0</x1><y1>0</y1><x2>90000</x2><y2>0</y2></annotation></ndpviewstate>
</annotations>"""

_COCO: dict[str, Any] = {
    "info": {"description": "mine", "year": 2024},
    "licenses": [{"id": 1, "name": "CC"}],
    "images": [
        {"id": 1, "file_name": "a.tif", "width": 50, "height": 40, "license": 1, "date_captured": "2024"},
        {"id": 2, "file_name": "b.tif", "width": 60, "height": 50},
    ],
    "categories": [
        {"id": 1, "name": "Tumor", "supercategory": "lesion", "color": [1, 2, 3]},
        {"id": 2, "name": "Unused", "supercategory": "none"},
    ],
    "annotations": [
        {
            "id": 7,
            "image_id": 1,
            "category_id": 1,
            "iscrowd": 1,
            "area": 81.0,
            "bbox": [1, 2, 9, 9],
            "score": 0.5,
            "segmentation": [[1, 2, 10, 2, 10, 11]],
            "track_id": 9,
            "attributes": {"occluded": True, "by": "A"},
        },
        {"id": 8, "image_id": 2, "category_id": 1, "bbox": [3, 4, 5, 6], "keypoints": [1, 2, 2], "caption": "round"},
        {"id": 9, "image_id": 2, "category_id": 1, "segmentation": {"size": [2, 2], "counts": [1, 2, 1]}, "iscrowd": 0},
        {"id": 10, "image_id": 2, "category_id": 1, "segmentation": [[1, 2, 1, 2, 1, 2]], "note": "nothing"},
    ],
}


def _ring(*points: tuple[float, float]) -> list[dict[str, float]]:
    return [{"x": x, "y": y} for x, y in points]


_DARWIN: dict[str, Any] = {
    "version": "2.0",
    "schema_ref": "https://example.org/2.0",
    "item": {
        "name": "case 1",
        "path": "/folder",
        "source_info": {"dataset": {"name": "d", "slug": "d"}, "item_id": "i", "team": {"name": "t", "slug": "t"}},
        "slots": [
            {
                "type": "image",
                "slot_name": "0",
                "width": 50,
                "height": 40,
                "thumbnail_url": "https://x",
                "source_files": [{"file_name": "a.tif", "url": "https://x"}],
                "metadata": {"stain": "HE"},
            },
            {"type": "image", "slot_name": "1", "width": 60, "height": 50, "source_files": [{"file_name": "b.tif"}]},
        ],
    },
    "annotations": [
        {
            "id": "7a0ad6fc-9a4a-4a55-a3a9-fc1a1f8b6a9a",
            "name": "Tumor",
            "slot_names": ["0"],
            "polygon": {"paths": [_ring((0, 0), (9, 0), (9, 9), (0, 9)), _ring((2, 2), (4, 2), (4, 4))]},
            "bounding_box": {"x": 0, "y": 0, "w": 9, "h": 9},
            "text": {"text": "mine"},
            "instance_id": {"value": 3},
            "attributes": ["left", "old"],
            "properties": [{"frame_index": 0, "name": "Grade", "value": "3"}, {"name": "Grade", "value": "4"}],
            "annotators": [{"email": "a@example.org", "full_name": "A"}],
            "inference": {"confidence": 0.9, "model": {"id": "m", "name": "n"}},
            "directional_vector": {"angle": 1.0, "length": 2.0},
        },
        {
            "id": "not a UUID",
            "name": "Cell",
            "slot_names": ["1"],
            "ellipse": {"center": {"x": 50, "y": 60}, "radius": {"x": 20, "y": 10}, "angle": 0.5},
        },
        {"name": "Box", "slot_names": ["1"], "bounding_box": {"x": 1, "y": 2, "w": 3, "h": 4}},
        {"name": "Line", "slot_names": ["1"], "line": {"path": _ring((0, 0), (3, 4))}},
        {"name": "Point", "slot_names": ["1"], "keypoint": {"x": 5, "y": 6}, "tag": {"a": 1}},
        {"name": "Artefact", "slot_names": ["0"], "tag": {}},
        {"name": "Lost", "slot_names": ["7"], "keypoint": {"x": 5, "y": 6}},
        {"name": "Both", "slot_names": ["0"], "keypoint": {"x": 5, "y": 6}, "line": {"path": _ring((0, 0), (3, 4))}},
        {"id": "11111111-1111-4111-8111-111111111111", "name": "Brush", "mask": {}, "slot_names": ["1"]},
        {
            "id": "33333333-3333-4333-8333-333333333333",
            "name": "__raster_layer__",
            "slot_names": ["1"],
            "raster_layer": {
                "dense_rle": [0, 60, 1, 60, 0, 60, 2, 60, 0, 2760],
                "mask_annotation_ids_mapping": {"11111111-1111-4111-8111-111111111111": 1},
                "total_pixels": 3000,
            },
        },
    ],
}

_DARWIN_1: dict[str, Any] = {
    "dataset": "d",
    "image": {
        "filename": "b.svs",
        "original_filename": "c.svs",
        "width": 90,
        "height": 80,
        "path": "/folder",
        "seq": 3,
        "url": "https://x",
        "thumbnail_url": "https://x",
        "workview_url": "https://x",
    },
    "annotations": [
        {
            "name": "A",
            "polygon": {"path": _ring((0, 0), (9, 0), (9, 9)), "additional_paths": [_ring((20, 0), (29, 0), (29, 9))]},
        },
        {"name": "B", "complex_polygon": {"path": [_ring((0, 0), (9, 0), (9, 9)), _ring((7, 1), (8, 1), (8, 2))]}},
    ],
}

_SQUARE = {"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [9, 9], [0, 9], [0, 0]]]}
_INSIDE = {"type": "Polygon", "coordinates": [[[2, 2], [4, 2], [3, 4], [2, 2]]], "bbox": [2, 2, 4, 4]}
_PLANE = {"c": 1, "z": 2, "t": 3}


def _feature(properties: dict[str, Any], geometry: dict[str, Any] = _SQUARE, **others: Any) -> dict[str, Any]:
    return {"type": "Feature", "geometry": geometry, "properties": properties, **others}


_GEOJSON: dict[str, Any] = {
    "type": "FeatureCollection",
    "name": "layer",
    "bbox": [0, 0, 9, 9],
    "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::3857"}},
    "features": [
        _feature(
            {
                "objectType": "annotation",
                "name": "first",
                "color": [1, 2, 3],
                "classification": {"names": ["Tumor", "Positive"], "color": [201, 7, 8], "scale": 2},
                "isLocked": True,
                "measurements": {"Area": 81.5, "Odd": True, "Same as": 1},
                "metadata": {"ANNOTATION_DESCRIPTION": "mine", "grade": 3, "Object ID": "x"},
                "grade": 3,
                "origin": {"by": "A"},
            },
            {"type": "Point", "coordinates": [5, 6], "plane": {**_PLANE, "note": "x"}, "radius": 5},
            id="7a0ad6fc-9a4a-4a55-a3a9-fc1a1f8b6a9a",
            bbox=[5, 6, 5, 6],
            title="first",
        ),
        _feature(
            {
                "objectType": "cell",
                "measurements": [{"name": "Area", "value": 1, "unit": "px"}, {"name": "Area", "value": 2}],
                "metadata": ["A"],
                "color": [1, 2],
            },
            nucleusGeometry={**_INSIDE, "plane": _PLANE, "isEllipse": True},
        ),
        _feature({"objectType": "tmaCore", "isMissing": True, "classification": {"name": None, "color": [1, 2, 3]}}),
        _feature({"objectType": "detection", "isMissing": True, "plane": _PLANE}, nucleusGeometry=_INSIDE, id=7),
        _feature(
            {
                "object_type": "detection",
                "colorRGB": -65536,
                "classification": {
                    "name": "Positive",
                    "colorRGB": -65536,
                    "parentClass": {"name": "Tumor", "colorRGB": -1, "parentClass": {"name": "A", "note": "x"}},
                },
                "measurements": 5,
            },
            {"type": "GeometryCollection", "geometries": [_SQUARE, {**_INSIDE, "note": "x"}]},
        ),
        _feature(
            {"objectType": "annotation", "childObjects": [_feature({"type": "tile", "grade": 3}, note="x")]},
            childObjects=[_feature({})],
        ),
        _feature(
            {"objectType": "root", "name": "image", "measurements": {"Area": 1}, "children": [_feature({"name": "a"})]},
            {},
            note="x",
        ),
    ],
}

LABEL_TABLES = {
    "bcss": "label\tGT_code\noutside_roi\t0\ntumor\t1\nstroma\t2\n",
    "histomicstk": "group,overlay_order,GT_code,is_roi,is_background_class,color,comments\n"
    'roi,0,254,1,0,"rgb(200,0,150)",\ntumor,1,1,0,0,"rgb(255,0,0)",mostly\nstroma,2,2,0,1,"rgb(0,255,0)",\n',
    "odd": "value;Label;group;color;Colour;;label\n1;tumor;lesion;red;#ff0000;x;y\n2;;stroma;#00ff00;#0000ff;;\n",
}

SAMPLES = [
    ("geojson", "all fields", json.dumps(_GEOJSON)),
    ("geojson", "a geometry alone", json.dumps({**_SQUARE, "plane": _PLANE, "note": "x"})),
    ("asap", "all fields", ASAP),
    ("imagescope", "all fields", IMAGESCOPE),
    ("halo", "all fields", HALO),
    ("ndpa", "all fields", NDPA),
    ("coco", "all fields", json.dumps(_COCO)),
    ("darwin", "all fields", json.dumps(_DARWIN)),
    ("darwin", "version 1.0", json.dumps(_DARWIN_1)),
]
