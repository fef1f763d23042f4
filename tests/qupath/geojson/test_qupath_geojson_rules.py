"""Which QuPath versions refuse a GeoJSON file: against the versions' own answers to some 150 files."""

from __future__ import annotations

import gzip
import json
import random
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from qupath_strategies import lists

from qpkit.core.annotation import Annotation
from qpkit.qupath import read_geojson, write_geojson
from qpkit.qupath.geojson.checks import rules as rules
from qpkit.qupath.geojson.checks.diagnosis import diagnose_geojson
from qpkit.qupath.geojson.checks.rules import VERSIONS, Rule
from shared_data import SHARED

CASES = SHARED / "fixtures/qupath/geojson/in"
NAMES = sorted(path.name for path in CASES.iterdir()) if CASES.is_dir() else []
DIFFERENT: dict[tuple[str, str], str] = {}
"""Where our verdict is another on purpose, (file, version) -> why. Nowhere."""


def answer(name: str, version: str) -> tuple[bool, int]:
    record = json.loads((SHARED / f"fixtures/qupath/geojson/expected/v{version}/{name}.json").read_text())
    return "error" not in record, 0 if "error" in record else record["nAll"]


@pytest.mark.parametrize("name", NAMES)
def test_the_verdict_is_that_of_every_qupath_version(name: str) -> None:
    diagnosis = diagnose_geojson(CASES / name)
    ours = {verdict.version: (verdict.accepted, verdict.objects) for verdict in diagnosis.verdicts}
    expected = {version: answer(name, version) for version in VERSIONS if (name, version) not in DIFFERENT}
    assert {version: ours[version] for version in expected} == expected, diagnosis


def test_all_cases_are_there(shared: Path) -> None:
    assert len(NAMES) == 151


ALL = [rule for rule in vars(rules).values() if isinstance(rule, Rule)]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_said_to_change_does_change_and_nothing_else(name: str) -> None:
    """Against the objects that each version made: its type, class, measurements, metadata and extent."""
    diagnosis = diagnose_geojson(CASES / name)
    for version in VERSIONS:
        record = json.loads((SHARED / f"fixtures/qupath/geojson/expected/v{version}/{name}.json").read_text())
        newest = json.loads((SHARED / f"fixtures/qupath/geojson/expected/v0.7.0/{name}.json").read_text())
        if "error" in record or "error" in newest or record["nAll"] != newest["nAll"]:
            continue
        texts = {change.text for change in diagnosis.changes if version in change.versions}
        lost = Counter(rule.text for rule in ALL if rule.text in texts)
        pairs = list(zip(record["objects"], newest["objects"], strict=True))
        assert any(a["kind"] != b["kind"] for a, b in pairs) == bool(lost[rules.TYPE_LOST.text]), name
        assert any(a.get("class") != b.get("class") for a, b in pairs if b["kind"] != "root") == bool(
            lost[rules.CLASS_NAMES_LOST.text]
        ), name
        dropped = any(len(a.get("measurements", {})) < len(b.get("measurements", {})) for a, b in pairs)
        assert not dropped or lost[rules.MAP_LOST.text], name
        dropped = any(not a.get("metadata") and b.get("metadata") for a, b in pairs)
        assert not dropped or lost[rules.METADATA_LOST.text], name
        empty = any(a.get("roi") and not any(a["roi"]["bounds"][2:]) and a["roi"]["type"] == "AREA" for a, _ in pairs)
        assert empty == bool(lost[rules.SHAPE_EMPTY.text]), name
        ellipse = any((a.get("roi") or {}).get("class") != (b.get("roi") or {}).get("class") for a, b in pairs)
        assert not lost[rules.ELLIPSE_LOST.text] or ellipse, name


@given(lists())
def test_what_is_written_no_version_refuses_or_changes(
    tmp_path_factory: pytest.TempPathFactory, objects: list[Annotation]
) -> None:
    path = tmp_path_factory.mktemp("rules") / "a.geojson"
    write_geojson(path, objects)
    diagnosis = diagnose_geojson(path)
    assert diagnosis.is_safe, diagnosis
    assert {verdict.objects for verdict in diagnosis.verdicts} == {len(objects)}
    allowed = {rules.METADATA_LOST.text, rules.CORE_SKIPPED.text, rules.ID_TWICE.text, rules.VALUE_INFINITE.text}
    allowed |= {rules.ELLIPSE_LOST.text, rules.LINES_STUCK.text, rules.TEXT_ENCODING.text}
    assert {change.text for change in diagnosis.changes} <= allowed


@pytest.mark.parametrize("name", ["a.geojson", "a.geojson.gz", "a.json", "a.zip", "a.txt"])
@pytest.mark.parametrize("container", ["plain", "gzip", "zip"])
def test_a_name_that_does_not_fit_the_content_is_told(tmp_path: Path, name: str, container: str) -> None:
    content = b'{"type":"Point","coordinates":[1,2]}'
    path = tmp_path / name
    if container == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.geojson", content)
    else:
        path.write_bytes(gzip.compress(content) if container == "gzip" else content)
    verdicts = {verdict.version: (verdict.accepted, verdict.objects) for verdict in diagnose_geojson(path).verdicts}
    fits = container == {"a.geojson.gz": "gzip", "a.zip": "zip"}.get(name, "plain")
    if name == "a.txt":
        assert set(verdicts.values()) == {(True, 0)}
    else:
        assert verdicts["0.7.0"] == (fits, int(fits))
        assert verdicts["0.3.2"] == ((True, 0) if name.endswith(".gz") else verdicts["0.7.0"])


def test_a_refused_file_in_a_zip_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("good.geojson", '{"type":"Point","coordinates":[1,2]}')
        archive.writestr("bad.geojson", '{"type":"MultiPolygon","coordinates":[[[[0,0],[4,0],[4,4],[0,0]]]]}')
    diagnosis = diagnose_geojson(path)
    assert [verdict.objects for verdict in diagnosis.verdicts] == [1, 1, 1, 2, 2] and diagnosis.is_safe
    (change,) = diagnosis.changes
    assert "exactly one polygon" in change.text and change.document.endswith("bad.geojson")


def test_thousands_of_features_are_counted_and_the_first_named(tmp_path: Path) -> None:
    good = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [4, 0], [4, 4], [0, 0]]]}}
    bow = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [4, 4], [4, 0], [0, 4], [0, 0]]]},
    }
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [good, good, bow] * 5000}))
    diagnosis = diagnose_geojson(path)
    assert diagnosis.features == 15_000
    assert [verdict.accepted for verdict in diagnosis.verdicts] == [True, True, True, False, False]
    (reason,) = diagnosis.verdicts[-1].reasons
    assert (reason.features, reason.examples) == (5000, (2, 5, 8, 11, 14))


def test_the_reader_takes_what_the_rules_take(shared: Path, tmp_path: Path) -> None:
    """Values of any type in any place: what all versions import, qpkit reads; and no value stops the rules."""
    document = json.loads((shared / "fixtures/qupath/v0.5.1/expected/entry-3.export.geojson").read_text())
    rng = random.Random(7)
    odd: list[Any] = [None, True, -1, 1.5, 1e300, 10**400, "x", "1", "", [], {}, [[]], [None], [1], {"a": 1}, "#00ff00"]
    path = tmp_path / "a.json"
    for _ in range(1500):
        damaged = json.loads(json.dumps(document["features"][:4]))
        place: Any = damaged
        while isinstance(place, dict | list) and place:
            key = rng.choice(list(place)) if isinstance(place, dict) else rng.randrange(len(place))
            if not isinstance(place[key], dict | list) or not place[key] or rng.random() < 0.3:
                place[key] = rng.choice(odd)
                break
            place = place[key]
        path.write_text(json.dumps({"type": "FeatureCollection", "features": damaged}))
        diagnosis = diagnose_geojson(path)
        if diagnosis.is_safe:
            read_geojson(path)
