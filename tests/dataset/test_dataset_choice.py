"""Whatever store is chosen, the tiles that go in come out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qpkit.core.labels import label_map_to_builtins
from qpkit.dataset.stores.choice import open_store, open_writer
from qpkit.dataset.stores.files import FileStore
from qpkit.dataset.stores.layers import ImageFormat
from qpkit.dataset.stores.shards import ShardStore
from qpkit.dataset.stores.slides import SlideStore
from qpkit.dataset.stores.store import STORES, StoreKind
from qpkit.errors import FormatError
from table_of_tiles import LABELS, tile

KINDS = [kind for kind in STORES if kind != "none"]
RNG = np.random.default_rng(3)
TILES = [
    {
        "image": RNG.integers(0, 255, (8, 8, 3), np.uint8),
        "mask": RNG.integers(0, 3, (8, 8), np.uint8),
        "image_x4": RNG.integers(0, 255, (8, 8, 3), np.uint8),
        "instances": RNG.integers(0, 1 << 30, (8, 8)).astype(np.uint32),
    }
    for _ in range(5)
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_store_gives_back_what_was_put_in(kind: StoreKind, tmp_path: Path) -> None:
    with open_writer(kind, tmp_path, "slide", ImageFormat()) as writer:
        for number, layers in enumerate(TILES):
            writer.add(f"slide_{number}", layers)
    assert len(writer.stored) == len(TILES)
    store = open_store(tmp_path, {"store": kind}, LABELS)
    for stored, layers in zip(writer.stored, TILES, strict=True):
        paths = dict(stored.paths)
        made = replace(
            tile("slide", 0, {}), image=paths.pop("image"), mask=paths.pop("mask"), others=paths, shard=stored.shard,
            places=stored.places,
        )  # fmt: skip
        for layer, pixels in layers.items():
            found = store.read(made, layer)
            assert found.dtype == pixels.dtype and np.array_equal(found, pixels)
        with pytest.raises(KeyError):
            store.read(made, "mask_x4")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == (1 if kind == "shards" else len(TILES) * 4)
    for path in files:
        path.unlink()
    fresh = open_store(tmp_path, {"store": kind}, LABELS)
    with pytest.raises(FormatError, match=r"export the tiles again"):
        fresh.read(made, "image")


def test_nothing_is_written_for_tiles_that_stay_in_the_slides(tmp_path: Path) -> None:
    with open_writer("none", tmp_path, "slide", ImageFormat()) as writer:
        writer.add("slide_0", TILES[0])
    assert [stored.paths for stored in writer.stored] == [{}]
    assert not list(tmp_path.iterdir())


def test_an_export_that_names_no_store_has_files(tmp_path: Path) -> None:
    labels = {"labels": label_map_to_builtins(LABELS), "tile_size_px": 8, "settings": {"pixel_rule": "centre"}}
    kinds = {"shards": ShardStore, "none": SlideStore, "files": FileStore, "nnunet": FileStore}
    for kind, expected in kinds.items():
        assert type(open_store(tmp_path, {**labels, "slides": [], "store": kind}, LABELS)) is expected
    assert type(open_store(tmp_path, labels, LABELS)) is FileStore
