from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpkit.core.labels import LabelClass, LabelMap, label_map_to_builtins
from qpkit.dataset import TileRecord, read_tile_set, write_tile_set
from qpkit.dataset.splits import SplitRule, draw_splits, parse_fractions
from qpkit.dataset.stores.files import FilesWriter, paths_by_slide
from qpkit.dataset.stores.layers import ImageFormat
from qpkit.errors import ConfigError, FormatError

LABELS = LabelMap(classes=(LabelClass("Tumor", 1, ("Tumor",)),))


def write(root: Path, size: int = 8) -> tuple[list[TileRecord], list[np.ndarray]]:
    rng = np.random.default_rng(1)
    records, pixels = [], []
    with FilesWriter(root, paths_by_slide("a_slide_1"), ImageFormat()) as writer:
        for col in range(3):
            image = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
            mask = rng.choice([0, 1, 255], (size, size)).astype(np.uint8)
            writer.add(f"a_slide_1_x{col * size}_y0", {"image": image, "mask": mask})
            counts = {int(v): int((mask == v).sum()) for v in np.unique(mask)}
            records.append(
                TileRecord(
                    slide="a slide [1]", entry="3", group="P1", split="val", col=col, row=0, x=col * 8.5, y=0.0,
                    width=8.5, height=8.5, downsample=1.0625, mpp=0.53, tissue=0.5, std=20.0, pixels=counts,
                    image=f"images/a_slide_1/a_slide_1_x{col * size}_y0.png",
                    mask=f"masks/a_slide_1/a_slide_1_x{col * size}_y0.png",
                )
            )  # fmt: skip
            pixels += [image, mask]
    write_tile_set(root, records, {"labels": label_map_to_builtins(LABELS), "mpp": 0.53, "tile_size_px": size})
    return records, pixels


def test_a_tile_set_is_read_as_it_was_written(tmp_path: Path) -> None:
    records, pixels = write(tmp_path)
    tiles = read_tile_set(tmp_path)
    assert tiles.tiles == tuple(records)
    assert tiles.labels == LABELS
    assert tiles.of_split("train") == ()
    for record, image, mask in zip(records, pixels[::2], pixels[1::2], strict=True):
        assert np.array_equal(tiles.read_image(record), image)
        assert np.array_equal(tiles.read_mask(record), mask)


def test_after_a_failed_write_nothing_is_written_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a pair lands in the folder while it is being removed."""

    def slow(path: Path, content: bytes) -> None:
        if path.name == "x0.png":
            raise OSError(28, "No space left on device", str(path))
        time.sleep(0.2)
        path.touch()

    monkeypatch.setattr("qpkit.dataset.stores.files._save", slow)
    empty = np.zeros((2, 2), dtype=np.uint8)
    with (
        pytest.raises(OSError, match="No space"),
        FilesWriter(tmp_path, lambda layer, name, suffix: f"{layer[0]}{name}{suffix}", ImageFormat()) as writer,
    ):
        for number in range(4):
            writer.add(str(number), {"x": empty, "y": empty})
    left = sorted(tmp_path.iterdir())
    time.sleep(0.5)
    assert sorted(tmp_path.iterdir()) == left


def test_a_set_without_a_common_resolution_has_nan(tmp_path: Path) -> None:
    write(tmp_path)
    info = (tmp_path / "export.json").read_text().replace('"mpp": 0.53', '"mpp": null')
    (tmp_path / "export.json").write_text(info)
    assert math.isnan(read_tile_set(tmp_path).mpp)


def test_missing_and_damaged_files_are_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="qpkit export"):
        read_tile_set(tmp_path)
    records, _ = write(tmp_path)
    tiles = read_tile_set(tmp_path)
    (tmp_path / records[0].image).unlink()
    with pytest.raises(FormatError, match="cannot be read"):
        tiles.read_image(records[0])
    (tmp_path / "tiles.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(FormatError, match="damaged"):
        read_tile_set(tmp_path)


def test_a_tile_of_another_size_is_refused(tmp_path: Path) -> None:
    records, _ = write(tmp_path)
    info = (tmp_path / "export.json").read_text().replace('"tile_size_px": 8', '"tile_size_px": 16')
    (tmp_path / "export.json").write_text(info)
    with pytest.raises(FormatError, match="8 x 8 px where"):
        read_tile_set(tmp_path).read_mask(records[0])


@given(st.lists(st.text("abcdefgh", min_size=1), max_size=30), st.integers(0, 99))
def test_every_group_gets_one_split_whatever_the_order(groups: Sequence[str], seed: int) -> None:
    splits = draw_splits(groups, seed=seed)
    assert splits.keys() == set(groups)
    assert splits == draw_splits(sorted(groups, reverse=True) * 2, seed=seed)


@given(st.integers(1, 300), st.integers(0, 99))
def test_fractions_are_kept_as_far_as_groups_allow(count: int, seed: int) -> None:
    values = list(draw_splits([f"g{i}" for i in range(count)], seed=seed).values())
    assert values.count("train") >= 1
    if count >= 3:
        assert abs(values.count("val") - count / 10) <= max(1, 0.5)
        assert values.count("val") >= 1
        assert values.count("test") >= 1
    if count == 2:
        assert sorted(values) == ["train", "val"]


@pytest.mark.parametrize("text", ["0:1:1", "8:-1:1", "8:2", "a:b:c", "nan:1:1"])
def test_impossible_fractions_are_refused(text: str) -> None:
    assert parse_fractions("7:2:1") == (7, 2, 1)
    with pytest.raises(ConfigError, match="--fractions"):
        parse_fractions(text)


def test_a_split_that_nobody_wants_stays_empty() -> None:
    assert "test" not in draw_splits([f"g{i}" for i in range(9)], seed=0, fractions=(8, 2, 0)).values()


@pytest.mark.parametrize("text", ["slide", "tile", "patient:Case ID", "metadata:Split"])
def test_split_rules_read_back(text: str) -> None:
    assert str(SplitRule.parse(text)) == text


@pytest.mark.parametrize("text", ["", "patient", "metadata:", "tile:x", "random"])
def test_other_split_rules_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--split"):
        SplitRule.parse(text)


def test_metadata_name_groups_and_splits() -> None:
    meta = {"Patient": "P7", "Split": "Validation"}
    assert SplitRule.parse("patient:Patient").group_of("s", meta) == "P7"
    assert SplitRule.parse("metadata:Split").named_split("s", meta) == "val"
    with pytest.raises(ConfigError, match="no metadata 'Case'"):
        SplitRule.parse("patient:Case").group_of("s", meta)
    with pytest.raises(ConfigError, match="--split patient:Patient"):
        SplitRule.parse("metadata:Patient").named_split("s", meta)
