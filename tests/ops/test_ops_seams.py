"""Objects that tile borders have cut are one again; others are not."""

from __future__ import annotations

import csv
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from qpkit.ops.seams import JoinedNumbers, TileEdges, join_seams


def cut(field: NDArray[Any], rows: list[int], columns: list[int]) -> list[tuple[int, int, NDArray[Any]]]:
    """(x, y, tile) of a field cut at some rows and columns."""
    ys, xs = [0, *rows, len(field)], [0, *columns, field.shape[1]]
    return [(x, y, field[y:below, x:right]) for y, below in pairwise(ys) for x, right in pairwise(xs)]


def joined(tiles: list[tuple[int, int, NDArray[Any]]]) -> tuple[JoinedNumbers, NDArray[np.int64]]:
    """Join tiles, and put their new numbers together."""
    found = join_seams([TileEdges.of(tile, x=x, y=y) for x, y, tile in tiles])
    height, width = (max(y + t.shape[0] for _, y, t in tiles), max(x + t.shape[1] for x, _, t in tiles))
    field = np.zeros((height, width), np.int64)
    for index, (x, y, tile) in enumerate(tiles):
        field[y : y + tile.shape[0], x : x + tile.shape[1]] = found.renumbered(tile, index)
    return found, field


def rectangles() -> NDArray[np.int64]:
    """A field of rectangles that do not touch, 3 px apart, numbered by row."""
    field = np.zeros((40, 60), np.int64)
    number = 0
    for y in range(0, 36, 10):
        for x in range(0, 56, 12):
            number += 1
            field[y : y + 7, x : x + 9] = number
    return field


@given(st.lists(st.integers(1, 39), max_size=2, unique=True), st.lists(st.integers(1, 59), max_size=3, unique=True))
def test_a_field_cut_anywhere_is_the_field_again(rows: list[int], columns: list[int]) -> None:
    field = rectangles()
    tiles = cut(field, sorted(rows), sorted(columns))
    # every tile numbers its objects from 1 on
    renumbered = [
        (x, y, np.unique(np.append(tile, 0), return_inverse=True)[1][:-1].reshape(tile.shape)) for x, y, tile in tiles
    ]
    found, field_again = joined(renumbered)
    assert found.count == field.max()
    pairs = np.unique(np.stack([field.ravel(), field_again.ravel()]), axis=1)
    assert pairs.shape[1] == field.max() + 1  # each old number is one new number


def test_numbers_follow_the_order_of_tiles_and_of_numbers() -> None:
    left, right = np.array([[7, 0], [0, 9], [0, 9]]), np.array([[3, 3], [8, 0], [8, 0]])
    found, field = joined([(0, 0, left), (2, 0, right)])
    assert [numbers.tolist() for numbers in found.joined] == [[1, 2], [3, 2]]
    assert field.tolist() == [[1, 0, 3, 3], [0, 2, 2, 0], [0, 2, 2, 0]]


@pytest.mark.parametrize(
    ("left", "right", "together"),
    [
        ("aaaa....", "bbbb....", {"ab"}),
        ("aaaa....", "....bbbb", set()),  # they only touch at a corner
        ("aaaa....", "...bbbbb", set()),  # 1 px of 4 and 5: neighbours that the border happens to part
        ("aaaaaa..", "..bb....", {"ab"}),  # all of b faces a
        ("..aacc..", ".bbbbbb.", {"ab"}),  # b faces a and c as much: the first
        ("aaaacc..", "..bbbb..", set()),  # as much again, but half of a and b is not more than half
        ("aaaacccc", "bbbbbddd", {"ab", "cd"}),  # aslant
        ("aa.aa...", "bbbbb...", {"ab"}),  # two runs of one object
        ("........", "bbbb....", set()),
    ],
)
def test_runs_that_mostly_face_each_other_are_one_object(left: str, right: str, together: set[str]) -> None:
    lines = [np.array([0 if c == "." else ord(c) for c in side])[:, None] for side in (left, right)]
    for tiles in ([(0, 0, lines[0]), (1, 0, lines[1])], [(0, 0, lines[0].T), (0, 1, lines[1].T)]):
        found, _ = joined(tiles)
        new = {
            chr(n): k
            for tile, js in zip(found.tiles, found.joined, strict=True)
            for n, k in zip(tile.numbers, js, strict=True)
        }
        pairs = {a + b for a in new for b in new if a < b and new[a] == new[b]}
        assert pairs == together


def test_what_lies_apart_or_has_no_objects_is_left_alone() -> None:
    one = np.ones((2, 2), np.uint16)
    found, _ = joined([(0, 0, one), (5, 0, one), (0, 2, np.zeros((2, 2), np.uint16)), (2, 9, one)])
    assert found.count == 3 and found.joined[2].size == 0
    assert join_seams([]).count == 0


def test_tiles_need_not_lie_on_a_grid() -> None:
    """Below a wide tile two narrow ones, shifted."""
    field = rectangles()
    tiles = [(0, 0, field[:23]), (0, 23, field[23:, :17]), (17, 23, field[23:, 17:])]
    assert joined(tiles)[0].count == field.max()


def test_nuclei_cut_for_the_purpose_are_joined_and_fields_have_fewer(shared: Path) -> None:
    """Every label image is cut in four, so the truth is known; then the real fields, of which none is."""
    folder = shared / "data/pairs/dsb2018-he"
    with (folder / "mosaics.csv").open() as file:
        rows = list(csv.DictReader(file))
    mosaics = defaultdict(list)
    cut_objects = missed = wrong = 0
    for row in rows:
        with Image.open(folder / "labels" / f"{row['image_id']}.png") as image:
            numbers = np.asarray(image).astype(np.int64)
        mosaics[row["mosaic"]].append((int(row["col"]) * 320, int(row["row"]) * 256, numbers))
        tiles = cut(numbers, [128], [160])
        _, again = joined(tiles)
        pairs = np.unique(np.stack([numbers.ravel(), again.ravel()]), axis=1)[:, 1:]
        parts = sum(len(np.unique(tile[tile > 0])) for _, _, tile in tiles)
        cut_objects += parts - len(np.unique(numbers[numbers > 0]))
        missed += len(pairs[0]) - len(np.unique(pairs[0]))
        wrong += len(pairs[1]) - len(np.unique(pairs[1]))
    assert cut_objects > 400 and missed <= 0.01 * cut_objects and wrong <= 0.01 * cut_objects
    before = sum(len(np.unique(numbers)) - 1 for tiles in mosaics.values() for _, _, numbers in tiles)
    after = sum(joined(tiles)[0].count for tiles in mosaics.values())
    assert (before, after) == (3293, 3093)
