from __future__ import annotations

import json
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest
import shapely

from qpkit import cli
from qpkit.errors import FormatError, OutputError, ProjectError
from qpkit.qupath import read_geojson
from qpkit.workflows.doctor.geojson import NO_SHAPE, default_output, diagnose_geojson, fix_geojson
from shared_data import SHARED

CASES = SHARED / "fixtures/qupath/geojson/in"
NAMES = sorted(path.name for path in CASES.iterdir()) if CASES.is_dir() else []
REAL = [
    path
    for root in ("data", "fixtures/qupath")
    for path in sorted((SHARED / root).rglob("*.geojson*"))
    if path.suffix != ".gz" and CASES.parent not in path.parents and not path.name.endswith(".oracle.geojson")
]
TRUNCATED = {"wrap-truncated.geojson"}
BOX = {"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [9, 9], [0, 9], [0, 0]]]}
BOW = {"type": "Polygon", "coordinates": [[[0, 0], [9, 9], [9, 0], [0, 9], [0, 0]]]}


def feature(geometry: Any, **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def collection(path: Path, *features: Any) -> Path:
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


@pytest.mark.parametrize("name", NAMES)
def test_the_mended_copy_of_every_case_is_taken_by_all_versions(name: str, tmp_path: Path) -> None:
    path = CASES / name
    before = path.read_bytes()
    fixed = fix_geojson(path, tmp_path / "a.geojson")
    assert fixed.diagnosis.is_safe, fixed
    assert bool(fixed.unread) == (name in TRUNCATED)
    assert {verdict.objects for verdict in fixed.diagnosis.verdicts} == {fixed.written}
    best = max(verdict.objects for verdict in diagnose_geojson(path).verdicts)
    lost = sum(item.features for item in fixed.left_out)
    assert fixed.written + lost >= best - (name == "type-root.geojson")
    assert path.read_bytes() == before


@pytest.mark.parametrize("path", REAL, ids=lambda path: str(path.relative_to(SHARED)))
def test_real_files_are_judged_read_and_mended(path: Path, tmp_path: Path) -> None:
    diagnosis = diagnose_geojson(path)
    fixed = fix_geojson(path, tmp_path / "a.geojson")
    assert fixed.diagnosis.is_safe and not fixed.unread
    lost = sum(item.features for item in fixed.left_out)
    assert fixed.written + lost >= diagnosis.features
    if all(verdict.accepted for verdict in diagnosis.verdicts):
        assert len(read_geojson(path)) == max(verdict.objects for verdict in diagnosis.verdicts)


def test_what_is_mended_changed_and_left_out_is_told(tmp_path: Path) -> None:
    path = collection(
        tmp_path / "a.geojson",
        feature(BOX, color="#00ff00", classification={"name": "a\nb"}, measurements={"x": "1.5", "y": "text"}),
        feature(BOW, classification=["Tumor", "Positive"], childObjects=[feature(BOX), feature(None)]),
        feature({"type": "Polygon", "coordinates": [BOX["coordinates"][0][:4]]}, classification=3),
        feature({"type": "LineString", "coordinates": [[1, 2]]}),
        feature({"type": "Polygon", "coordinates": [[[0, 0], [5, 5], [0, 0]]]}),
        {**feature(BOX, objectType="cell"), "nucleusGeometry": {"type": "Circle"}},
        None,
    )
    fixed = fix_geojson(path)
    assert fixed.path == tmp_path / "a.fixed.geojson" and fixed.diagnosis.is_safe
    assert (fixed.written, fixed.mended) == (5, 1)
    assert fixed.changed == {
        'colour "#rrggbb" made [red, green, blue]': 1,
        "line break in a class name made a blank": 1,
        "measurement that is no finite number dropped": 1,
        "class that is a number or a list made a class name": 2,
        "childObjects written beside their parent": 2,
        "open ring closed": 1,
        "nucleus that cannot be read dropped": 1,
    }
    assert {item.reason.split(" (")[0]: item.examples for item in fixed.left_out} == {
        "it has no geometry": (1,),
        "its LineString has coordinates that cannot be read": (3,),
        NO_SHAPE: (4,),
        "it is not a Feature object": (6,),
    }
    first, bow, child, closed, cell = read_geojson(fixed.path)
    assert (first.class_name, first.color, first.measurements) == ("a b", -16711936, {"x": 1.5})
    assert (bow.class_name, bow.geometry.geom_type, child.parent) == ("Tumor: Positive", "MultiPolygon", None)
    assert closed.geometry.equals(shapely.box(0, 0, 9, 9)) and closed.class_name == "3"
    assert (cell.kind, cell.nucleus) == ("cell", None)


def test_lines_of_json_are_put_into_one_collection(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("".join(json.dumps(feature(BOX, name=str(n))) + "\n" for n in range(3)))
    assert not diagnose_geojson(path).is_safe
    assert [item.name for item in read_geojson(fix_geojson(path).path)] == ["0", "1", "2"]


def test_the_files_of_a_zip_become_one(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.geojson", json.dumps(feature(BOW)))
        archive.writestr("b.geojson", "{")
    fixed = fix_geojson(tmp_path / "a.zip")
    assert fixed.path == tmp_path / "a.fixed.geojson" and (fixed.written, fixed.mended) == (1, 1)
    assert len(fixed.unread) == 1 and "a.zip/b.geojson" in fixed.unread[0]


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    path = collection(tmp_path / "a.geojson", feature(BOX))
    fix_geojson(path)
    with pytest.raises(OutputError, match="something already"):
        fix_geojson(path)
    with pytest.raises(OutputError, match="the file to be mended"):
        fix_geojson(path, path, overwrite=True)
    assert fix_geojson(path, overwrite=True).written == 1
    with pytest.raises(ProjectError):
        fix_geojson(tmp_path / "no.geojson")
    (tmp_path / "b.geojson").write_text("no JSON")
    with pytest.raises(FormatError, match="not JSON"):
        fix_geojson(tmp_path / "b.geojson")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.fixed.geojson", "a.geojson", "b.geojson"]


@pytest.mark.parametrize(
    ("name", "copy"),
    [
        ("a.geojson", "a.fixed.geojson"),
        ("a.b.JSON", "a.b.fixed.JSON"),
        ("a.geojson.gz", "a.fixed.geojson.gz"),
        ("a.zip", "a.fixed.geojson"),
        ("a", "a.fixed.geojson"),
    ],
)
def test_the_copy_has_a_name_that_qupath_reads(name: str, copy: str) -> None:
    assert default_output(Path("x") / name) == Path("x") / copy


def test_what_is_mended_is_never_refused(shared: Path, tmp_path: Path) -> None:
    """Values of any type in any place."""
    document = json.loads((shared / "fixtures/qupath/v0.5.1/expected/entry-3.export.geojson").read_text())
    rng = random.Random(11)
    odd: list[Any] = [None, True, -1, 1.5, 1e300, 10**400, "x", "1", "", "a\nb", [], {}, [[]], [None], [1], {"a": 1}]
    path = tmp_path / "a.json"
    for _ in range(800):
        damaged = json.loads(json.dumps(document["features"][:5]))
        for _ in range(rng.randint(1, 3)):
            place: Any = damaged
            while isinstance(place, dict | list) and place:
                key = rng.choice(list(place)) if isinstance(place, dict) else rng.randrange(len(place))
                if not isinstance(place[key], dict | list) or not place[key] or rng.random() < 0.2:
                    place[key] = rng.choice(odd)
                    break
                place = place[key]
        path.write_text(json.dumps({"type": "FeatureCollection", "features": damaged}))
        fixed = fix_geojson(path, tmp_path / "b.geojson", overwrite=True)
        assert fixed.diagnosis.is_safe and not fixed.unread, (damaged, fixed)
        assert fixed.written + sum(item.features for item in fixed.left_out) >= 4


def run(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    code = 0
    try:
        cli.main([str(arg) for arg in args])
    except SystemExit as end:
        code = int(end.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_command_tells_verdicts_and_mends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = collection(tmp_path / "a.geojson", feature(BOX), feature(BOW, metadata={"a": "b"}))
    code, text, said = run(capsys, "doctor", path)
    assert code == 1 and "refuses" in text and "imports 2" in text and "metadata are dropped" in text
    assert "--fix" in said
    code, text, _ = run(capsys, "doctor", path, "--json")
    record = json.loads(text)
    assert code == 1 and record["features"] == 2 and not record["is_safe"]
    assert [verdict["accepted"] for verdict in record["verdicts"]] == [True, True, True, False, False]
    code, text, _ = run(capsys, "doctor", path, "--fix", "-o", tmp_path / "b.geojson")
    assert code == 0 and "all versions take it" in text
    assert run(capsys, "doctor", tmp_path / "b.geojson")[0] == 0
    code, text, _ = run(capsys, "doctor", path, "--fix", "--json")
    assert code == 0 and json.loads(text)["fix"]["written"] == 2


def test_the_command_refuses_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = collection(tmp_path / "a.geojson", feature(BOX))
    code, text, said = run(capsys, "doctor", tmp_path)
    assert (code, text) == (1, "") and "exactly one .qpproj" in said
    assert run(capsys, "doctor", path, "-o", tmp_path / "b.geojson")[0] == 2
    assert run(capsys, "doctor", tmp_path / "no.geojson")[0] == 1
    (tmp_path / "data.qpdata").write_bytes(b"")
    code, text, said = run(capsys, "doctor", tmp_path / "data.qpdata")
    assert (code, text) == (1, "") and "give its project" in said
    path.write_text('{"type":"FeatureCollection","features":[{')
    code, text, _ = run(capsys, "doctor", path)
    assert code == 1 and "not JSON" in text
    code, _, said = run(capsys, "doctor", path, "--fix")
    assert code == 1 and said.count("\n") <= 2
