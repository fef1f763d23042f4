"""Which QuPath versions refuse a GeoJSON file: against the versions' own answers to some 150 files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from shared_data import SHARED

from qpkit.qupath.geojson_diagnosis import diagnose_geojson
from qpkit.qupath.geojson_rules import VERSIONS

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
