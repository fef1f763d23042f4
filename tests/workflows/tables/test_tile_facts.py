"""What is known of a table's slides, from export.json, from a project and from a CSV."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_project import TUMOR, small_project

from qpkit.dataset import TileSet, read_tile_set
from qpkit.dataset.stores.files import FileStore
from qpkit.errors import ConfigError, FormatError
from qpkit.workflows.tables.tile_facts import (
    context_of,
    images_of,
    metadata_of,
    patient_key,
    patients_of,
    read_filled_table,
    record_of,
)
from table_of_tiles import LABELS, eight_slides, tile, write_table


def opened(tmp_path: Path, **info: Any) -> TileSet:
    return read_tile_set(write_table(tmp_path / "tiles", eight_slides(), **info))


def test_a_table_is_taken_only_with_tiles_that_can_be_told_apart(tmp_path: Path) -> None:
    root = write_table(tmp_path / "whole", eight_slides())
    assert len(read_filled_table(root).tiles) == 24
    with pytest.raises(FormatError, match="the table has no tiles"):
        read_filled_table(write_table(tmp_path / "empty", []))
    for name, said in (("split", "split 'holdout' in the table is none of"), ("slide", "a tile without slide")):
        bad = write_table(tmp_path / name, eight_slides())
        table = pq.read_table(bad / "tiles.parquet")
        values = ["holdout" if name == "split" else "", *table[name].to_pylist()[1:]]
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
        pq.write_table(table, bad / "tiles.parquet")
        with pytest.raises(FormatError, match=said):
            read_filled_table(bad)
    info = json.loads((root / "export.json").read_text())
    del info["labels"]
    (root / "export.json").write_text(json.dumps(info))
    with pytest.raises(FormatError, match=r"is damaged .*; export the tiles again"):
        read_filled_table(root)


odd = st.none() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)


rows = st.fixed_dictionaries({"name": st.sampled_from("ab"), "slide_quick_hash": st.text(max_size=3)})
patients = odd | st.dictionaries(st.sampled_from("ab"), st.text(max_size=3))
splits = st.fixed_dictionaries({}, optional={"patients": patients, "patient_key": st.just("P")})
asked_for = st.fixed_dictionaries({}, optional={"split": st.sampled_from(["slide", "patient:Who"])})


@given(odd | st.lists(odd | rows), odd | splits, odd | asked_for)
@settings(max_examples=50)
def test_whatever_export_json_holds_it_is_read_as_far_as_it_goes(inputs: Any, split: Any, asked: Any) -> None:
    info = {"inputs": inputs, "split": split, "settings": asked}
    tiles = TileSet(
        root=Path(), tiles=(tile("a", 0, {}, group="g"),), labels=LABELS, mpp=1.0, tile_size=1, info=info, layers=(),
        store=FileStore(Path()),
    )  # fmt: skip
    found = [row for row in inputs if isinstance(row, dict)] if isinstance(inputs, list) else []
    assert images_of(tiles) == {row["name"]: row["slide_quick_hash"] for row in found}
    record = split if isinstance(split, dict) else {}
    by_patient = isinstance(asked, dict) and asked.get("split") == "patient:Who"
    assert record_of(tiles) == record
    if isinstance(record.get("patients"), dict):
        assert patients_of(tiles) == record["patients"]
    else:
        assert patients_of(tiles) == ({"a": "g"} if by_patient else {})
    assert patient_key(tiles) == record.get("patient_key", "Who" if by_patient else "")


def test_the_context_is_in_the_names_of_the_layers(tmp_path: Path) -> None:
    tiles = opened(tmp_path)
    assert context_of(tiles) == (1,)
    wider = replace(tiles, layers=("image", "mask", "image_x4", "mask_x4", "image_x16", "mask_x16", "instances"))
    assert context_of(wider) == (1, 4, 16)


def test_metadata_come_from_a_project_or_a_csv_by_name_or_by_id(tmp_path: Path) -> None:
    project = small_project(tmp_path, [(TUMOR,)] * 2)
    table = tmp_path / "a.csv"
    table.write_text("slide,Patient,Age\na.tif,P1,\n2,P2,50\n")
    rows = [replace(tile("a.tif", 0, {}), entry="1"), replace(tile("renamed", 0, {}), entry="2")]
    tiles = read_tile_set(write_table(tmp_path / "tiles", rows))
    assert metadata_of(tiles, None) == {"a.tif": {}, "renamed": {}}
    found = metadata_of(tiles, project.path)
    assert found == {"a.tif": {"Split": "train", "Patient": "a.tif"}, "renamed": {"Split": "val", "Patient": "b.tif"}}
    assert metadata_of(tiles, table) == {"a.tif": {"Patient": "P1"}, "renamed": {"Patient": "P2", "Age": "50"}}
    table.write_text("slide,Patient\na.tif,P1\n")
    with pytest.raises(ConfigError, match=r"nothing about slide 'renamed' \(1 of 2 are missing\)"):
        metadata_of(tiles, table)
