"""What the QuPath versions make of GeoJSON files that are wrong in small ways: verdicts, and what our reader gives."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import shapely

from qpkit.core.annotation import Annotation
from qpkit.errors import FormatError
from qpkit.qupath import new_qpdata, read_geojson, write_geojson
from qpkit.qupath.geojson.checks.diagnosis import diagnose_geojson
from qpkit.qupath.geojson.checks.rules import VERSIONS
from qpkit.qupath.geojson.features import CROSSING
from qpkit.qupath.geojson.reader import iter_geojson
from qpkit.workflows.doctor.geojson import fix_geojson
from shared_data import SHARED

CASES = SHARED / "cases/geojson-verdicts"
OLDER = SHARED / "fixtures/qupath/geojson"
NAMES = sorted(path.name for path in (CASES / "in").iterdir()) if CASES.is_dir() else []
OLDER_NAMES = sorted(path.name for path in (OLDER / "in").iterdir()) if OLDER.is_dir() else []
ANSWERS = json.loads((CASES / "qupath.json").read_text()) if NAMES else {}

DIFFERENT: dict[tuple[str, str], str] = {}
"""Where our verdict is another on purpose, (file, version) -> why. Nowhere."""

NOTHING_IN_IT = "QuPath imports nothing of it, without a word; we say so"
UNREAD = dict.fromkeys(["w-array-null.geojson", "w-number.geojson", "w-string.geojson"], NOTHING_IN_IT)
"""What all versions take and our reader refuses."""

RINGS_ADDED_UP = (
    "QuPath adds and subtracts whole rings, so that what two of them cover counts twice; no valid shape has that"
)
ANOTHER_AREA = {
    "g-1e300.geojson": "of a corner at 1e300 px; NaN in QuPath",
    **dict.fromkeys(
        [
            "g-hole-in-hole.geojson", "g-mp-dup.geojson", "g-mp-nested.geojson", "gd-holes-overlap.geojson",
            "geom-hole-crossing.geojson", "geom-hole-outside.geojson", "geom-multipolygon-overlapping.geojson",
        ],
        RINGS_ADDED_UP,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_the_verdict_is_that_of_every_qupath_version(name: str) -> None:
    diagnosis = diagnose_geojson(CASES / "in" / name)
    ours = {verdict.version: (verdict.accepted, verdict.objects) for verdict in diagnosis.verdicts}
    expected = {
        version: ("refused" not in answer, answer.get("objects", 0))
        for version, answer in ANSWERS[name].items()
        if (name, version) not in DIFFERENT
    }
    assert {version: ours[version] for version in expected} == expected, diagnosis


def test_all_cases_are_there(shared: Path) -> None:
    assert len(NAMES) == 81 and all(sorted(answers) == sorted(VERSIONS) for answers in ANSWERS.values())


def area_px2(objects: list[Annotation]) -> float:
    """Sum the areas as QuPath measures them: of an ellipse by its axes."""
    total = 0.0
    for item in objects:
        x, y, x2, y2 = item.geometry.bounds
        total += math.pi / 4 * (x2 - x) * (y2 - y) if item.shape == "ellipse" else item.geometry.area
    return total


@pytest.mark.parametrize("name", NAMES)
def test_what_all_versions_take_is_read_as_they_read_it(name: str) -> None:
    answers = list(ANSWERS[name].values())
    if any("refused" in answer for answer in answers):
        return
    path = CASES / "in" / name
    if name in UNREAD:
        with pytest.raises(FormatError, match="no FeatureCollection, Feature or geometry"):
            read_geojson(path)
        return
    objects = read_geojson(path)
    assert len(objects) == answers[-1]["objects"]
    expected = sorted(
        text.partition("#")[0] for text, count in answers[-1]["classes"].items() for _ in range(count)
    )  # fmt: skip
    assert sorted(item.class_name or "-" for item in objects) == expected
    if name not in ANOTHER_AREA:
        # The versions differ where 0.6 and later round to 0.01 px, and 0.3 knows no ellipse.
        assert any(abs(area_px2(objects) - answer["area_px2"]) <= 0.01 for answer in answers)


def area_in_05(name: str) -> float | None:
    """The area in QuPath 0.5; None if it refuses the file."""
    if name in ANSWERS:
        answer = ANSWERS[name]["0.5.1"]
        return None if "refused" in answer else float(answer["area_px2"])
    record = json.loads((OLDER / f"expected/v0.5.1/{name}.json").read_text())
    if "error" in record or name.startswith("big"):
        return None
    return sum(float(item["roi"]["area"]) for item in record["objects"] if item.get("roi"))


@pytest.mark.parametrize("name", [*NAMES, *OLDER_NAMES])
def test_a_mended_copy_has_the_area_that_qupath_05_reads(name: str, tmp_path: Path) -> None:
    expected = area_in_05(name)
    if expected is None:
        return
    path = (CASES if name in ANSWERS else OLDER) / "in" / name
    fixed = fix_geojson(path, tmp_path / "a.geojson")
    assert fixed.diagnosis.is_safe, fixed
    assert {verdict.objects for verdict in fixed.diagnosis.verdicts} == {fixed.written}
    if name not in ANOTHER_AREA:
        # Corners are written with two decimals.
        assert area_px2(read_geojson(fixed.path)) == pytest.approx(expected, abs=0.07)


def test_a_pentagram_keeps_its_empty_middle(shared: Path, tmp_path: Path) -> None:
    path = CASES / "in/g-star5.geojson"
    fixed = fix_geojson(path, tmp_path / "a.geojson")
    assert fixed.mended == 1
    for file in (path, fixed.path):
        objects = read_geojson(file)
        assert area_px2(objects) == pytest.approx(392.31, abs=0.07)
        assert all(item.geometry.is_valid for item in objects)
        assert sorted(round(item.geometry.area) for item in objects) == [25, 25, 342]


BOX = '{"type":"Polygon","coordinates":[[[10,10],[30,10],[30,30],[10,30],[10,10]]]%s}'
ALL, NONE, OLD, NEW = "34567", "", "3", "4567"
"""Which versions import a file: 3 for 0.3, ..."""


def feature(geometry: str = BOX % "", properties: str = "", extra: str = "") -> str:
    return f'{{"type":"Feature","geometry":{geometry},"properties":{{{properties}}}{extra}}}'


def a_class(record: str) -> str:
    return feature(properties=f'"classification":{record}')


# Text of a file -> which versions import it, asked of the five versions' own importers.
NEIGHBOURS = {
    **{
        feature(BOX % f',"plane":{{{plane}}}'): who
        for plane, who in {
            '"z":-1': NONE, '"t":-1': NONE, '"c":-2': NONE, '"c":-1,"z":0,"t":0': ALL, '"z":"-1"': NONE,
            '"z":"1"': ALL, '"z":" 1"': NONE, '"z":"1.0"': NONE, '"z":1.5': ALL, '"z":-0.5': ALL, '"c":-1.5': ALL,
            '"z":4294967295': NONE, '"z":4294967296': ALL, '"z":NaN': NONE, '"z":[1]': NONE, '"z":true': NONE,
            '"z":null': NONE, '"Z":1': NONE,
        }.items()
    },
    **{
        a_class(f'{{"name":{name},"color":[1,2,3]}}'): who
        for name, who in {
            '": A"': OLD, '"A:"': NEW, '"A: "': NONE, '"A::B"': OLD, '"A: :B"': OLD, '":"': NEW, '": :"': OLD,
            '""': OLD, '" "': OLD, '" A "': ALL, r'"A\nB"': NONE, r'"A\n"': ALL, r'"\u00a0"': ALL, "5": ALL,
            "true": ALL, "NaN": ALL, '["A"]': NONE, "{}": NONE, "null": ALL,
        }.items()
    },
    **{
        a_class(record): who
        for record, who in {
            '{"name":": A","colorRGB":1}': ALL, '{"name":"A:","colorRGB":1}': NEW, '{"name":"","colorRGB":1}': ALL,
            r'{"name":"A\nB","colorRGB":1}': NEW, '{"names":["A",""],"color":[]}': OLD,
            '{"names":["A:B"],"color":[]}': OLD, '{"names":[null],"color":[]}': ALL, '{"names":[],"color":[]}': ALL,
            '{"names":"A","color":[]}': OLD, '{"names":"A","colorRGB":1}': ALL, '{"color":[]}': OLD,
            '{"name":"B","parentClass":{"name":"A"}}': OLD, '{"name":"B","parentClass":{"name":"A","colorRGB":1}}': ALL,
            '{"name":"B:C","parentClass":{"name":"A"}}': NONE,
            '{"name":"","parentClass":{"name":"A"}}': NONE, '{"name":"A","parentClass":[]}': NONE,
            '{"name":"A","color":["1",2.5,-3]}': ALL, '{"name":"A","color":[1,2]}': OLD, '": A"': NONE, '"A:"': NEW,
        }.items()
    },
    **{
        feature(f'{{"type":"{kind}","coordinates":{coordinates}}}'): who
        for kind, coordinates, who in (
            ("Point", "[NaN,1]", ALL), ("Point", '["1e400","-Infinity"]', ALL), ("Point", '["nan",1]', NONE),
            ("MultiPoint", "[[1,2],[NaN,3]]", ALL), ("LineString", "[[NaN,1],[5,5]]", ALL),
            ("Polygon", "[[[NaN,1],[9,1],[9,9],[NaN,1]]]", NONE),
            ("Polygon", '[[["1f",1],[9,1],[9,[9]],[1,1]]]', ALL),
        )
    },
    feature(properties='"name":["x"]'): ALL,
    feature(properties='"name":["x","y"]'): NONE,
    feature(properties='"name":{}'): NONE,
    **dict.fromkeys(
        [
            f"{feature()} // end", f"/* {{ */{feature()}", f"# [\n{feature()}", f")]}}'\n{feature()}",
            f"[{feature()};{feature()}]", feature().replace('"type":', "type=>"), feature().replace('"', "'"),
            f"[{feature()},]", f"[,TRUE,nUll,{feature()}]", "\ufeff" + feature(),
            feature(properties='"name":"a\nb\t\x01"'), feature(properties=r'"name":"\ud800"'),
            f'{{"features":[{feature()}],type:FeatureCollection}}',
            f"{{'x':'\"features\":[{{',type:FeatureCollection,features:[{feature()}]}}",
        ],
        ALL,
    ),
    **dict.fromkeys(
        [
            f"{feature()},", f"{feature()}]", feature() * 2, f"[{feature()}", "{'a':1,}", "{a}", "[1 2]", r'["\x"]',
            "\ufeff\ufeff[]", f'{{"type":"FeatureCollection","features":[{feature()},]}}',
        ],
        NONE,
    ),
}  # fmt: skip


@pytest.mark.parametrize("text", NEIGHBOURS)
def test_neighbours_of_the_cases_get_the_right_verdict_and_are_mended(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    path.write_text(text, encoding="utf-8")
    diagnosis = diagnose_geojson(path)
    assert "".join(verdict.version[2] for verdict in diagnosis.verdicts if verdict.accepted) == NEIGHBOURS[text], (
        diagnosis
    )
    if diagnosis.is_safe:
        assert len(read_geojson(path)) == diagnosis.verdicts[0].objects
    try:
        fixed = fix_geojson(path, tmp_path / "b.geojson")
    except FormatError as err:
        assert "\n" not in str(err) and len(str(err)) < 200 + len(str(path))
    else:
        assert fixed.diagnosis.is_safe


def test_what_doctor_mends_beside_shapes_is_counted(tmp_path: Path) -> None:
    same = ',"id":"11111111-2222-3333-4444-555555555555"'
    features = [
        feature(BOX % ',"plane":{"c":-7,"z":-3,"t":2}', extra=same),
        feature(properties='"name":["a",1],"classification":{"name":": A: :B:","color":[1,2,3]}', extra=same),
        feature(properties='"name":{"a":1},"classification":{"name":["A","B"],"color":[1,2,3]}', extra=same.upper()),
        feature(properties=f'"childObjects":[{feature(extra=same)}],"classification":{{"name":{{}},"color":[]}}'),
        feature(properties='"classification":{"names":["A","B"],"colorRGB":-1}'),
    ]
    path = tmp_path / "a.geojson"
    path.write_text(f"[{','.join(features)}]".replace("ID", "id"))
    fixed = fix_geojson(path)
    assert fixed.diagnosis.is_safe and fixed.written == 6 and not fixed.left_out
    assert fixed.changed == {
        "negative plane made 0 (c: -1, all channels)": 1,
        "name that is a list made a text": 1,
        "name that is no text dropped": 1,
        "needless colon or blank part of a class name left out": 1,
        "class that is a number or a list made a class name": 1,
        "class whose name is no text dropped": 1,
        'class of "names" that not all versions read made a class name': 1,
        "childObjects written beside their parent": 1,
        "repeated id replaced by a new one": 3,
    }
    objects = read_geojson(fixed.path)
    assert [item.name for item in objects] == [None, "a, 1", None, None, None, None]
    assert [item.class_name for item in objects] == [None, "A: B", "A: B", None, None, "A: B"]
    assert (objects[0].plane.c, objects[0].plane.z, objects[0].plane.t) == (-1, 0, 2)
    ids = [item.id for item in objects if item.id is not None]
    assert ids[0] == "11111111-2222-3333-4444-555555555555" and len(ids) == len(set(ids)) == 4
    again = fix_geojson(path, tmp_path / "b.geojson")
    assert again.path.read_bytes() == fixed.path.read_bytes()


def test_an_area_of_a_data_file_keeps_its_middle(tmp_path: Path) -> None:
    """QuPath fills a self-crossing polygon of a .qpdata by the non-zero rule, one of GeoJSON by even-odd."""
    star = [[20, 0], [32, 38], [0, 14], [40, 14], [8, 38], [20, 0]]
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps({"type": "Polygon", "coordinates": [star]}))
    (even_odd,) = read_geojson(path)
    stored = new_qpdata(image_type="OTHER", objects=[Annotation(geometry=shapely.Polygon(star), shape="polygon")])
    assert write_geojson(path, stored.objects()).mended == 1
    (non_zero,) = read_geojson(path)
    middle = shapely.Point(20, 20)
    assert non_zero.geometry.contains(middle) and not even_odd.geometry.intersects(middle)
    assert (even_odd.shape, non_zero.shape) == ("geometry", "polygon")


@pytest.mark.parametrize(
    ("geometry", "area"),
    [
        ({"type": "Polygon", "coordinates": [[[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]]]}, 50),  # both lobes
        ({"type": "Polygon", "coordinates": [[[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]] * 2]}, 100),  # round twice
        ({"type": "Polygon", "coordinates": [[[0, 0], [10, 0], [10, 10], [20, 20], [10, 10], [0, 10], [0, 0]]]}, 100),
        ({"type": "MultiPolygon", "coordinates": [[[[0, 0], [9, 0], [9, 9], [0, 9], [0, 0]]]] * 2}, 81),  # joined
        (
            {
                "type": "Polygon",
                "coordinates": [
                    [[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]],
                    [[5, 5], [15, 5], [15, 6], [5, 6], [5, 5]],
                ],
            },
            95,  # a hole adds nothing
        ),
    ],
)
def test_an_invalid_area_is_read_as_a_valid_one_and_counted(geometry: Any, area: float, tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps(geometry))
    notes: Counter[str] = Counter()
    (found,) = iter_geojson(path, notes=notes)
    assert found.geometry.is_valid and found.geometry.area == pytest.approx(area)
    assert notes[CROSSING] == 1


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_what_is_no_utf8_is_read_as_old_programs_wrote_it(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    path.write_bytes(a_class('{"name":"Tumeur bénigne","color":[1,2,3]}').encode(encoding))
    diagnosis = diagnose_geojson(path)
    assert diagnosis.is_safe and any("is no UTF-8" in change.text for change in diagnosis.changes)
    assert read_geojson(path)[0].class_name == "Tumeur bénigne"
    assert read_geojson(fix_geojson(path).path)[0].class_name == "Tumeur bénigne"


def test_utf16_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    path.write_text(feature(), encoding="utf-16")
    assert not any(verdict.accepted for verdict in diagnose_geojson(path).verdicts)
    with pytest.raises(FormatError, match="save it as UTF-8"):
        read_geojson(path)


def test_lenient_features_behind_many_strict_ones_are_read_too(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    odd: list[Any] = [feature(properties="name:'n'"), feature() + "//}, {\n", feature()]
    path.write_text('{"type":"FeatureCollection","features":[' + ",".join([feature()] * 2000 + odd) + "]}")
    objects = read_geojson(path)
    assert len(objects) == 2003 and objects[2000].name == "n"
    assert {verdict.objects for verdict in diagnose_geojson(path).verdicts} == {2003}
