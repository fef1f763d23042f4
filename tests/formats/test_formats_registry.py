"""A format is one file: what follows from that."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import shapely

from qpkit.core.annotation import Annotation
from qpkit.errors import ConfigError
from qpkit.formats.format import Format
from qpkit.formats.registry import FORMATS, format_of, formats_in, in_order, named
from qpkit.formats.shared.drawing import Choices, Drawing, ImageFacts
from qpkit.formats.tables import format_row, rules_table
from qpkit.workflows.convert.formats import ALL_FORMATS, format_rows

NEW = """
import json
from collections import Counter
from shapely import Point
from qpkit.core.annotation import Annotation
from qpkit.formats.format import Format
from qpkit.formats.shared.cannot_hold import cannot_hold, count_losses
from qpkit.formats.shared.drawing import Drawing

LOST = cannot_hold("name", "id")

def read(path, image, choices):
    return [Drawing(objects=tuple(Annotation(geometry=Point(p)) for p in json.loads(path.read_text())["dots"]))]

def write(path, drawings, choices):
    path.write_text(json.dumps({"dots": [[o.geometry.x, o.geometry.y] for o in drawings[0].objects]}))
    return count_losses(drawings[0].objects, LOST)

FORMAT = Format(
    name="dots", title="Dots", order=75, suffixes=(".json",), read=read, write=write, cannot_hold=LOST,
    recognises_json=lambda record, path: isinstance(record, dict) and "dots" in record,
    rule="points only.", source="this test",
)
"""


def test_a_new_format_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "formats_of_a_test"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "dots.py").write_text(NEW)
    monkeypatch.syspath_prepend(tmp_path)
    (dots,) = formats_in(importlib.import_module(folder.name))
    sys.modules.pop(f"{folder.name}.dots")
    formats = in_order(*ALL_FORMATS, dots)
    names = [item.name for item in formats]
    assert (names[names.index("dots") - 1], names[names.index("dots") + 1]) == ("coco", "darwin")
    assert format_row(named("dots", formats)) == ("dots", "Dots", ".json", "name, id")
    assert "| Dots | points only. | this test |" in rules_table(formats)
    path = tmp_path / "a.json"
    item = Annotation(geometry=shapely.Point(1, 2), name="x")
    assert dots.write(path, [Drawing(objects=(item,))], Choices()) == {"names left out": 1}
    assert format_of(path, formats, reading=True) is dots
    (found,) = dots.read(path, ImageFacts(), Choices())
    assert found.objects == (replace(item, name=None),)
    path.write_text(json.dumps({"lines": []}))
    with pytest.raises(ConfigError, match="--from geojson, coco, dots or darwin"):
        format_of(path, formats, reading=True)


def test_names_and_places_are_given_once() -> None:
    assert [item.name for item in ALL_FORMATS] == [
        *("qpdata", "geojson", "asap", "imagescope", "halo", "ndpa", "coco", "darwin"),
        *("gpkg", "parquet", "shapefile", "labels", "dicom-ann", "dicom-seg", "spatialdata", "ome-zarr"),
    ]
    assert [item for item in ALL_FORMATS if item in FORMATS] == list(FORMATS)
    for changed in ({"name": "new"}, {"order": 1}):
        with pytest.raises(AssertionError, match="the same"):
            in_order(*FORMATS, replace(FORMATS[0], **changed))  # type: ignore[arg-type]  # one value each
    assert [row[0] for row in format_rows()] == ["project", *(item.name for item in ALL_FORMATS)]


@pytest.mark.parametrize("item", ALL_FORMATS, ids=lambda item: item.name)
def test_a_format_that_shares_an_ending_knows_its_content(item: Format) -> None:
    others = {suffix for other in ALL_FORMATS if other is not item for suffix in other.suffixes}
    if others & set(item.suffixes) or not item.ending_is_enough:
        assert any((item.recognises_xml, item.recognises_json, item.recognises_file))
