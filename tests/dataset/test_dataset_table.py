"""The table of tiles: what is written is read, and a damaged or foreign one says so."""

from __future__ import annotations

import json
import math
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from qpkit.core.labels import LabelClass, LabelMap, label_map_to_builtins
from qpkit.dataset.manifest import FORMAT, INFO_NAME, TABLE_NAME, read_tile_set, write_tile_set
from qpkit.dataset.record import TileRecord
from qpkit.errors import FormatError
from table_of_tiles import LABELS, eight_slides, tile, write_table

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
number = st.floats(allow_infinity=False, allow_nan=False)
LAYERS = ("image", "mask", "image_x4", "instances")


@st.composite
def records(draw: st.DrawFn, *, in_shards: bool = False) -> TileRecord:
    places = st.tuples(st.integers(0, 1 << 40), st.integers(0, 1 << 40))
    counts = st.dictionaries(st.sampled_from(LABELS.values), st.integers(1, 1 << 40))
    return TileRecord(
        slide=draw(text), entry=draw(text), group=draw(text), split=draw(st.sampled_from(["train", "val", "test"])),
        col=draw(st.integers(0, 9999)), row=draw(st.integers(0, 9999)), x=draw(number), y=draw(number),
        width=draw(number), height=draw(number), downsample=draw(number), mpp=draw(number), tissue=draw(number),
        std=draw(number), pixels=draw(counts), image=draw(text), mask=draw(text),
        others={layer: draw(text) for layer in LAYERS[2:]},
        shard=draw(text.filter(bool)) if in_shards else "",
        places={layer: draw(places) for layer in LAYERS} if in_shards else {},
    )  # fmt: skip


@given(st.booleans().flatmap(lambda shards: st.tuples(st.just(shards), st.lists(records(in_shards=shards)))))
@settings(max_examples=25)
def test_a_table_is_read_as_it_was_written(drawn: tuple[bool, list[TileRecord]]) -> None:
    in_shards, tiles = drawn
    info = {"labels": label_map_to_builtins(LABELS), "mpp": 0.5, "tile_size_px": 64, "layers": list(LAYERS)}
    info |= {"store": "shards"} if in_shards else {}
    with tempfile.TemporaryDirectory() as folder:
        write_tile_set(Path(folder), tiles, info)
        found = read_tile_set(Path(folder))
        names = set(pq.read_table(Path(folder) / TABLE_NAME).column_names)
    assert list(found.tiles) == tiles
    assert (found.labels, found.mpp, found.tile_size, found.layers) == (LABELS, 0.5, 64, LAYERS)
    assert found.info == {"format": FORMAT, **info}
    assert {f"px_{value}" for value in LABELS.values} <= names
    splits = [found.of_split(split) for split in ("train", "val", "test")]  # type: ignore[arg-type]
    assert sum(map(len, splits)) == len(tiles) and {t.split for part in splits[:1] for t in part} <= {"train"}


def test_what_is_not_known_is_not_a_number(tmp_path: Path) -> None:
    unknown = replace(tile("s", 0, {0: 5}), mpp=math.nan, std=math.nan)
    found = read_tile_set(write_table(tmp_path / "t", [unknown], mpp=None))
    assert math.isnan(found.mpp) and math.isnan(found.tiles[0].mpp) and math.isnan(found.tiles[0].std)
    assert found.tiles[0].pixels == {0: 5}


@given(
    st.tuples(text | st.sampled_from(["a c1 r2", "a", "a c1"]), st.integers(0, 9), st.integers(0, 9)),
    st.tuples(text | st.sampled_from(["a c1 r2", "a", "a c1"]), st.integers(0, 9), st.integers(0, 9)),
)
def test_keys_are_equal_only_for_the_same_tile(one: tuple[str, int, int], other: tuple[str, int, int]) -> None:
    keys = [replace(tile(slide, 0, {}), col=col, row=row).key for slide, col, row in (one, other)]
    assert (keys[0] == keys[1]) == (one == other)


def test_every_layer_has_its_path_and_no_other() -> None:
    made = replace(tile("s", 3, {}), others={"instances": "i.tif"})
    paths = [made.path_of(layer) for layer in ("image", "mask", "instances")]
    assert paths == ["images/s-3.png", "masks/s-3.png", "i.tif"]
    with pytest.raises(KeyError):
        made.path_of("image_x4")


def test_pixels_are_read_from_where_the_table_says_and_have_the_size_it_says(tmp_path: Path) -> None:
    made = replace(tile("s", 0, {0: 100 * 100}), image="a.png", mask="b.png")
    root = write_table(tmp_path / "t", [made])
    pixels = np.random.default_rng(0).integers(0, 255, (100, 100, 3), np.uint8)
    Image.fromarray(pixels).save(root / "a.png")
    Image.fromarray(pixels[..., 0]).save(root / "b.png")
    found = read_tile_set(root)
    (read,) = found.tiles
    assert np.array_equal(found.read_image(read), pixels)
    assert np.array_equal(found.read_mask(read), pixels[..., 0])
    assert np.array_equal(found.read_values(read), pixels[..., 0])
    with pytest.raises(FormatError, match="no layer 'instances', only image, mask"):
        found.read(read, "instances")
    Image.fromarray(pixels[:60]).save(root / "a.png")
    with pytest.raises(FormatError, match=r"a\.png: image of tile s c0 r0 is 100 x 60 px where .* 100 x 100"):
        found.read_image(read)
    (root / "b.png").unlink()
    with pytest.raises(FormatError, match=r"b\.png: .*export the tiles again"):
        found.read_mask(read)


def test_several_channels_are_one_value_a_pixel_to_look_at(tmp_path: Path) -> None:
    labels = LabelMap(classes=(LabelClass("Tumor", 1, ("Tumor",)), LabelClass("Stroma", 2, ("Stroma",))),
                      masks="multi-label")  # fmt: skip
    made = replace(tile("s", 0, {}), mask="b.tif")
    root = write_table(tmp_path / "t", [made], labels=label_map_to_builtins(labels), tile_size_px=2)
    channels = np.array([[[1, 1], [0, 255]], [[0, 1], [0, 255]]], np.uint8)
    tifffile.imwrite(root / "b.tif", channels, photometric="minisblack")
    found = read_tile_set(root)
    assert np.array_equal(found.read_mask(found.tiles[0]), channels)
    assert found.read_values(found.tiles[0]).tolist() == [[1, 2], [0, 255]]


def test_a_folder_without_a_table_or_with_a_damaged_one_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="make them with: qpkit export"):
        read_tile_set(tmp_path)
    root = write_table(tmp_path / "t", eight_slides())
    info = json.loads((root / INFO_NAME).read_text())
    (root / INFO_NAME).write_text(json.dumps({**info, "format": "qpkit tiles 9"}))
    with pytest.raises(FormatError, match="format is 'qpkit tiles 9'"):
        read_tile_set(root)
    (root / INFO_NAME).write_text(json.dumps(info)[:-9])
    with pytest.raises(FormatError, match="is damaged"):
        read_tile_set(root)
    (root / INFO_NAME).write_text(json.dumps(info))
    table = pq.read_table(root / TABLE_NAME)
    pq.write_table(table.drop_columns(["split", "mpp"]), root / TABLE_NAME)
    with pytest.raises(FormatError, match="columns missing: mpp, split"):
        read_tile_set(root)
    pq.write_table(table.append_column("mine", pa.array([1] * len(table))), root / TABLE_NAME)
    assert len(read_tile_set(root).tiles) == len(eight_slides())
    (root / TABLE_NAME).write_bytes(b"no")
    with pytest.raises(FormatError, match="export the tiles again"):
        read_tile_set(root)
