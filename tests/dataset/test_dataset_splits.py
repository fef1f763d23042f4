from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpkit.dataset import read_tile_set
from qpkit.dataset.counts import count_tiles
from qpkit.dataset.leakage import find_leakage, parse_leakage_kinds
from qpkit.dataset.resplit import NewSplit, resplit_beside, resplit_in_place
from qpkit.dataset.splits import SplitRule, draw_splits
from qpkit.dataset.stratify import Amounts, plain_folds, stratified, unevenness
from qpkit.errors import ConfigError, OutputError
from table_of_tiles import LABELS, eight_slides, tile, write_table

sizes = st.integers(0, 10_000)
tables = st.integers(2, 12).flatmap(lambda g: st.lists(st.tuples(sizes, sizes, sizes), min_size=g, max_size=g))


def amounts(rows: list[tuple[int, int, int]]) -> Amounts:
    return Amounts(np.array(rows, dtype=np.float64), np.array([1.0, 1.0, 0.25]))


@given(tables, st.integers(2, 5), st.integers(0, 50), st.booleans())
def test_stratified_folds_are_a_partition_and_never_less_even_than_a_draw_that_ignores_classes(
    rows: list[tuple[int, int, int]], folds: int, seed: int, equal: bool
) -> None:
    folds = min(folds, len(rows))
    wished = np.full(folds, 1 / folds) if equal else np.array([0.9] + [0.1 / (folds - 1)] * (folds - 1))
    start = plain_folds(len(rows), folds, seed=seed)
    parts = stratified(amounts(rows), start, wished, seed=seed)
    assert np.array_equal(start, plain_folds(len(rows), folds, seed=seed))
    assert set(parts.tolist()) == set(range(folds))
    assert unevenness(amounts(rows), parts, wished) <= unevenness(amounts(rows), start, wished) + 1e-9
    assert np.array_equal(parts, stratified(amounts(rows), start, wished, seed=seed))


def test_stratified_folds_are_within_a_twentieth_of_the_best_there_are() -> None:
    rng = np.random.default_rng(0)
    for trial in range(20):
        groups, folds = int(rng.integers(4, 8)), int(rng.integers(2, 4))
        table = Amounts(rng.lognormal(0, 1.5, (groups, 3)), np.array([1.0, 1.0, 0.25]))
        wished = np.full(folds, 1 / folds)
        every = (
            np.array(parts) for parts in itertools.product(range(folds), repeat=groups) if len(set(parts)) == folds
        )
        best = min(unevenness(table, parts, wished) for parts in every)
        found = stratified(table, plain_folds(groups, folds, seed=trial), wished, seed=trial)
        assert unevenness(table, found, wished) <= 1.05 * best


def test_unevenness_is_the_relative_deviation() -> None:
    table = Amounts(np.array([[60.0], [40.0]]), np.ones(1))
    assert unevenness(table, np.array([0, 1]), np.array([0.5, 0.5])) == pytest.approx(0.2)
    assert unevenness(table, np.array([0, 1]), np.array([0.6, 0.4])) == 0
    nothing = Amounts(np.zeros((2, 1)), np.ones(1))
    assert unevenness(nothing, np.array([0, 1]), np.array([0.5, 0.5])) == 0


@given(st.integers(1, 60), st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)), st.integers(0, 9))
def test_three_groups_are_enough_for_three_splits_whatever_the_fractions(
    count: int, fractions: tuple[int, int, int], seed: int
) -> None:
    found = set(draw_splits([f"g{i}" for i in range(count)], seed=seed, fractions=fractions).values())
    assert found == {1: {"train"}, 2: {"train", "val"}}.get(count, {"train", "val", "test"})


def test_a_rule_names_the_option_it_came_from() -> None:
    rule = SplitRule.parse("patient:Case", option="--by")
    assert rule == SplitRule.parse("patient:Case")
    with pytest.raises(ConfigError, match="for --by patient:Case"):
        rule.group_of("s", {})


def test_touching_tiles_in_different_splits_are_counted() -> None:
    row = [tile("a", number, {0: 1}) for number in range(4)]
    far = replace(row[3], x=1000.0)
    half = replace(row[1], x=50.0)
    nothing: dict[str, str] = {}

    def leak(tiles: list, parts: str) -> tuple[int, int]:  # type: ignore[type-arg]
        found = find_leakage(tiles, list(parts), groups=[t.image for t in tiles], images=nothing, patients=nothing)
        return found.touching, found.overlapping

    assert leak(row, "xxxx") == (0, 0)
    assert leak(row, "xyyx") == (2, 0)
    assert leak([*row[:3], far], "xxxy") == (0, 0)
    assert leak([row[0], half], "xy") == (1, 1)
    assert leak([replace(row[0], y=100.0), row[1]], "xy") == (1, 0)


def test_every_kind_of_leakage_is_found_and_named() -> None:
    tiles = [tile("a", 0, {0: 1}, group="g"), tile("b", 0, {0: 1}, group="g"), tile("c", 0, {0: 1})]
    groups = [t.group for t in tiles]
    images, patients = {"a": "1", "c": "1"}, {"a": "P", "b": "P", "c": "Q"}
    good = find_leakage(tiles, ["x", "x", "x"], groups=groups, images=images, patients=patients)
    assert (good.kinds, good.describe()) == ((), [])
    bad = find_leakage(tiles, ["x", "y", "y"], groups=groups, images=images, patients=patients)
    assert bad.kinds == ("group", "image", "patient")
    assert bad.images == (("a", "c"),)
    assert bad.describe()[2] == "patient: 1 patient (P) with slides in different splits"


def test_only_known_kinds_of_leakage_can_be_allowed() -> None:
    assert parse_leakage_kinds(["tile,group", "patient"]) == {"tile", "group", "patient"}
    with pytest.raises(ConfigError, match="'all': has to be one of tile, group, image, patient"):
        parse_leakage_kinds(["all"])


def test_tiles_are_positive_negative_or_unknown() -> None:
    tiles = [tile("a", 0, {0: 50, 1: 50}), tile("a", 1, {0: 100}), tile("a", 2, {255: 100}), tile("a", 3, {0: 100})]
    found = count_tiles(tiles, LABELS)
    assert (found.tiles, found.positive, found.negative, found.unknown) == (4, 1, 2, 1)
    assert found.negatives_per_positive == 2
    assert found.with_class == {1: 1, 2: 0}
    assert found.pixels == {0: 250, 1: 50, 2: 0, 255: 100}
    assert found.area_mm2 is not None
    assert found.area_mm2[1] == pytest.approx(50 * 0.25e-6)
    assert count_tiles([replace(tiles[0], mpp=float("nan"))], LABELS).area_mm2 is None
    assert count_tiles([], LABELS).negatives_per_positive is None


def new_split(root: Path) -> NewSplit:
    count = len(read_tile_set(root).tiles)
    return NewSplit(splits=["val"] * count, groups=["g"] * count, folds=[2] * count, record={"by": "group"})


def test_a_table_is_replaced_and_the_first_one_is_kept(tmp_path: Path) -> None:
    root = write_table(tmp_path / "t", eight_slides())
    own = pq.read_table(root / "tiles.parquet").append_column("mine", pa.array(range(24)))
    pq.write_table(own, root / "tiles.parquet")
    first = (root / "tiles.parquet").read_bytes()
    for _ in range(2):
        backup = resplit_in_place(read_tile_set(root), new_split(root))
    assert backup.read_bytes() == first
    table = pq.read_table(root / "tiles.parquet")
    assert table["mine"].to_pylist() == list(range(24))
    assert set(table["fold"].to_pylist()) == {2}
    again = read_tile_set(root)
    assert {(t.split, t.group) for t in again.tiles} == {("val", "g")}
    assert again.info["split"] == {"by": "group"}
    resplit_in_place(again, replace(new_split(root), folds=None))
    assert "fold" not in pq.read_table(root / "tiles.parquet").column_names


def test_a_write_that_fails_leaves_the_table_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from qpkit.dataset import resplit

    root = write_table(tmp_path / "t", eight_slides())
    before = {name: (root / name).read_bytes() for name in ("tiles.parquet", "export.json")}
    real = resplit.replace_file

    def full(path: Path, content: bytes) -> None:
        if path.name == "export.json":
            raise OutputError(f"{path}: cannot be written (No space left on device)")
        real(path, content)

    monkeypatch.setattr(resplit, "replace_file", full)
    with pytest.raises(OutputError, match="No space"):
        resplit_in_place(read_tile_set(root), new_split(root))
    assert before == {name: (root / name).read_bytes() for name in before}


def test_a_second_table_leads_to_the_same_files_and_replaces_tables_only(tmp_path: Path) -> None:
    root = write_table(tmp_path / "t", eight_slides())
    out = tmp_path / "deep" / "fold1"
    resplit_beside(read_tile_set(root), new_split(root), out)
    assert read_tile_set(out).tiles[0].image == "../../t/images/s0-0.png"
    with pytest.raises(OutputError, match="--overwrite"):
        resplit_beside(read_tile_set(root), new_split(root), out)
    resplit_beside(read_tile_set(out), new_split(out), tmp_path / "second")
    assert read_tile_set(tmp_path / "second").tiles[0].mask == "../t/masks/s0-0.png"
    resplit_beside(read_tile_set(root), new_split(root), out, overwrite=True)
    (out / "images").mkdir()
    with pytest.raises(OutputError, match="more than a table"):
        resplit_beside(read_tile_set(root), new_split(root), out, overwrite=True)
