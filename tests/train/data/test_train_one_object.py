"""Tiles of which one object is asked about."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_tiles import LABELS, MakeTiles, record, write_tiles

from qpkit.core.labels import label_map_to_builtins
from qpkit.dataset import read_tile_set, write_tile_set
from qpkit_train.data.batches import class_index_table
from qpkit_train.data.one_object import OneObjectReader


def two_squares() -> np.ndarray:
    """A Lesion of two squares, an Other, and a corner that nobody knows."""
    mask = np.zeros((64, 64), np.uint8)
    mask[4:16, 4:16] = mask[30:50, 4:16] = 1
    mask[10:30, 40:60] = 3
    mask[56:, 56:] = 255
    return mask


def reader_of(root: Path) -> OneObjectReader:
    tiles = read_tile_set(root)
    return OneObjectReader(tiles, table=class_index_table(tiles.labels))


def asked(reader: OneObjectReader, root: Path, wanted: tuple[int, ...], seed: int) -> np.ndarray:
    (tile,) = read_tile_set(root).tiles
    return reader.whole(tile, wanted, np.random.default_rng(seed))[1]


def test_what_is_asked_about_is_one_connected_area_of_a_wanted_class(tmp_path: Path) -> None:
    mask = two_squares()
    root = write_tiles(tmp_path / "tiles", [("train", mask)])
    reader = reader_of(root)
    seen = set()
    for seed in range(12):
        target = asked(reader, root, (1,), seed)
        np.testing.assert_array_equal(target == 255, mask == 255)
        seen.add(tuple(np.argwhere(target == 1)[0].tolist()))
        assert (mask[target == 1] == 1).all() and (target == 1).sum() in (144, 240)
    assert seen == {(4, 4), (30, 4)}
    assert {int((asked(reader, root, (), seed) == 1).sum()) for seed in range(20)} == {144, 240, 400}


def test_with_a_layer_of_instances_touching_objects_are_two(tmp_path: Path) -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[10:30, 10:50] = 1
    numbers = np.zeros((64, 64), np.uint16)
    numbers[10:30, 10:30], numbers[10:30, 30:50] = 7, 9
    root = write_tiles(tmp_path / "tiles", [("train", mask)])
    tile = record(0, "train", mask)
    tile.others["instances"] = "numbers.png"  # type: ignore[index]
    Image.fromarray(numbers).save(root / "numbers.png")
    info = {"labels": label_map_to_builtins(LABELS), "mpp": 0.5, "tile_size_px": 64}
    write_tile_set(root, [tile], {**info, "layers": ["image", "mask", "instances"]})
    found = {asked(reader_of(root), root, (1,), seed)[15].tobytes() for seed in range(12)}
    assert found == {(numbers[15] == number).astype(np.uint8).tobytes() for number in (7, 9)}


def test_a_crop_shows_the_object_that_is_asked_about(tmp_path: Path) -> None:
    root = write_tiles(tmp_path / "tiles", [("train", two_squares())])
    reader = reader_of(root)
    (tile,) = read_tile_set(root).tiles
    for seed in range(10):
        image, target = reader.crop(tile, (2,), side=32, rng=np.random.default_rng(seed))
        assert image.shape == (32, 32, 3) and (target == 1).any()


def test_a_tile_that_shows_nothing_is_unknown(make_tiles: MakeTiles) -> None:
    root = make_tiles(train={0: 1}, val={})
    assert (asked(reader_of(root), root, (), 0) == 255).all()


@pytest.mark.parametrize("seed", [0, 5])
def test_the_same_numbers_ask_about_the_same_object(tmp_path: Path, seed: int) -> None:
    root = write_tiles(tmp_path / "tiles", [("train", two_squares())])
    first, again = (asked(reader_of(root), root, (), seed) for _ in range(2))
    np.testing.assert_array_equal(first, again)
