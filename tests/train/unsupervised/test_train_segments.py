"""Felzenszwalb's segments, trees of them, and templates: against the library, against all ways, across borders."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.segmentation import felzenszwalb

from qpkit.errors import ConfigError
from qpkit_train.unsupervised.canvas import Canvas
from qpkit_train.unsupervised.felzenszwalb import divide as dividing
from qpkit_train.unsupervised.felzenszwalb.belief import Level, priors
from qpkit_train.unsupervised.felzenszwalb.divide import CELL, divide_segments
from qpkit_train.unsupervised.felzenszwalb.hierarchy import hierarchy_of, piece_of, same_segments
from qpkit_train.unsupervised.felzenszwalb.scales import segments_of
from qpkit_train.unsupervised.felzenszwalb.templates import (
    Templates,
    hamming,
    soft_mask,
    templates_by_look,
    templates_of,
)  # fmt: skip
from qpkit_train.unsupervised.propose import raster_of


def _smooth(seed: int, rows: int = 90, columns: int = 70) -> NDArray[np.uint8]:
    field = gaussian_filter(np.random.default_rng(seed).random((rows, columns)), 2)
    return ((field - field.min()) / np.ptp(field) * 255).astype(np.uint8)


@pytest.mark.parametrize(("scale", "least"), [(10, 1), (100, 20), (800, 64)])
@pytest.mark.parametrize("seed", [0, 1])
def test_segments_are_those_of_skimage(scale: float, least: int, seed: int) -> None:
    grey = _smooth(seed)
    mine = segments_of(grey, (scale,), min_px=least)[0]
    theirs = felzenszwalb(grey, scale=scale, sigma=0.8, min_size=least)
    pairs = {*zip(mine.ravel().tolist(), theirs.ravel().tolist(), strict=True)}
    assert len(pairs) == mine.max() + 1 == theirs.max() + 1
    assert np.array_equal(np.unique(mine), np.arange(mine.max() + 1))


def _root() -> Level:
    return Level(np.zeros(1, np.int64), np.zeros(1), np.ones(1))


def _by_hand(levels: list[Level], evidence: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum over all ways to class all segments; the evidence of the asked-for one left out."""
    kinds = evidence.shape[1]
    nodes = [(scale, n) for scale, level in enumerate(levels) for n in range(len(level.parents))]
    found = np.zeros_like(evidence)
    for way in product(range(kinds), repeat=len(nodes)):
        of = dict(zip(nodes, way, strict=True))
        weight = 1.0
        for (scale, n), kind in of.items():
            if scale + 1 < len(levels):
                same = kind == of[scale + 1, levels[scale].parents[n]]
                saliency = levels[scale].saliency[n]
                weight *= 1 - saliency if same else saliency / (kinds - 1)
        for n in range(len(evidence)):
            others = [evidence[m, of[0, m]] for m in range(len(evidence)) if m != n]
            found[n, of[0, n]] += weight * np.exp(sum(others))
    return found / found.sum(axis=1, keepdims=True)


@given(st.integers(0, 999), st.integers(2, 3))
@examples(max_examples=25, deadline=None)
def test_priors_are_the_sums_over_all_ways_to_class_the_tree(seed: int, kinds: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = (3, 2, 1)
    levels = [
        Level(rng.integers(0, above, size), rng.uniform(0.02, 0.95, size), np.ones(size))
        for size, above in zip(sizes, (*sizes[1:], 1), strict=True)
    ]
    evidence = rng.normal(size=(sizes[0], kinds))
    assert np.allclose(priors(levels, evidence), _by_hand(levels, evidence), atol=1e-9)


def test_priors_that_only_flow_down_stay_even_as_published() -> None:
    rng = np.random.default_rng(0)
    levels = [
        Level(rng.integers(0, 3, 8), rng.random(8), rng.random(8)),
        Level(np.zeros(3, np.int64), rng.random(3), rng.random(3)),
    ]
    assert np.allclose(priors(levels, np.zeros((8, 2))), 0.5)


def test_little_saliency_makes_segments_agree_and_much_makes_them_differ() -> None:
    evidence = np.log(np.array([[0.9, 0.1], [0.5, 0.5]]))
    parents = np.zeros(2, np.int64)
    alike, unlike = (
        priors([Level(parents, np.array([0.05, saliency]), np.ones(2)), _root()], evidence)[1]
        for saliency in (0.05, 0.95)
    )
    assert alike[0] > 0.8 and unlike[0] < 0.2


def test_a_segment_in_pieces_says_no_more_than_as_a_whole() -> None:
    evidence = np.array([[0.0, -2.0], [-1.0, 0.0]])
    whole = priors([Level(np.zeros(2, np.int64), np.array([0.1, 0.2]), np.array([0.6, 0.4])), _root()], evidence)
    pieces = Level(np.zeros(4, np.int64), np.array([0.1, 0.1, 0.1, 0.2]), np.array([0.3, 0.2, 0.1, 0.4]))
    parts = priors([pieces, _root()], evidence[[0, 0, 0, 1]])
    assert np.allclose(parts[3], whole[1])


def test_segments_do_not_end_where_windows_do() -> None:
    """A disc over the border of two windows is one segment; what only one sees stays its own."""
    rows, columns = np.mgrid[:64, :128]
    picture = np.where((rows - 32) ** 2 + (columns - 64) ** 2 < 400, 40, 200).astype(np.uint8)
    picture[5:15, 5:15] = 120
    halves = [picture[:, :80], picture[:, 48:]]
    scales = [segments_of(half, (300,)) for half in halves]
    cores = [scales[0][0][:, :64], scales[1][0][:, 16:]]
    greys = [picture[:, :64], picture[:, 64:]]
    pieces = [
        [piece_of(core, None, grey, int(whole[0].max()) + 1)]
        for core, grey, whole in zip(cores, greys, scales, strict=True)
    ]
    seam = (0, 1, [same_segments(scales[0][0][:, 48:80], scales[1][0][:, :32])])
    tree = hierarchy_of(pieces, [seam])
    drawn = np.concatenate([tree.numbers[n][core] for n, core in enumerate(cores)], axis=1)
    assert len(np.unique(drawn[(rows - 32) ** 2 + (columns - 64) ** 2 < 300])) == 1
    assert len(np.unique(drawn[7:13, 7:13])) == 1 and drawn[9, 9] not in drawn[:, 64:]
    assert drawn[63, 0] == drawn[0, 127] and len(np.unique(drawn)) == len(tree.areas)
    assert sorted(tree.areas.tolist()) == sorted(np.bincount(drawn.ravel()).tolist())


def test_hamming_counts_bits() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.random((5, 192)) > 0.5, rng.random((7, 192)) > 0.3
    assert np.array_equal(hamming(one, other), (one[:, None] != other[None]).sum(axis=2))


def _striped(period: int, size: int, dark: int) -> NDArray[np.uint8]:
    grey = np.where(np.arange(size) % period < period // 2, dark, 220).astype(np.uint8)
    return np.repeat(np.tile(grey, (size, 1))[..., None], 3, axis=2)


def _stripes() -> Templates:
    """Narrow and wide stripes, at all places that are tried."""
    phases = [
        (kind, _striped(period, 128, 60)[:64, phase : phase + 64])
        for kind, period in ((0, 16), (1, 64))
        for phase in range(0, period, 16)
    ]
    return templates_of(np.stack([piece for _, piece in phases]), [kind for kind, _ in phases])


def test_a_soft_mask_finds_the_kind_whose_templates_are_there() -> None:
    templates = _stripes()
    picture = np.concatenate([_striped(16, 256, 60), _striped(64, 256, 60)], axis=1)[..., 0]
    found = soft_mask(picture, templates)
    assert found.shape == (16, 32, 2) and np.allclose(found.sum(axis=-1), 1, atol=1e-5)
    assert (found[:, :14, 0] > 0.55).all() and (found[:, 18:, 1] > 0.55).all()


def _canvas(pixels: NDArray[np.uint8]) -> Canvas:
    rows, columns = pixels.shape[:2]

    def read(x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        return pixels[y : y + height, x : x + width]

    return Canvas(
        name="made up", width=columns, height=rows, mpp=0.5, downsample=1, slide_size=(columns, rows), reads=read,
        tissue=np.ones((1, 1), np.bool_),
    )  # fmt: skip


def test_windows_of_any_size_give_nearly_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    picture = np.concatenate([_striped(16, 384, 60), _striped(64, 384, 60)], axis=1)[:320]
    picture = (picture + rng.normal(0, 6, picture.shape)).clip(0, 255).astype(np.uint8)
    division = divide_segments(_stripes(), strength=3)
    whole = raster_of(_canvas(picture), division)
    monkeypatch.setattr(dividing, "_WINDOW", 128)
    parts = raster_of(_canvas(picture), division)
    assert whole.shape == picture.shape[:2]
    assert (whole[:, :350] == 1).mean() > 0.95 and (whole[:, 420:] == 2).mean() > 0.95
    assert (whole == parts).mean() > 0.95 and CELL == 4


@pytest.mark.parametrize("pieces", [np.zeros((1, 64, 64, 3), np.uint8), np.full((9, 64, 64, 3), 128, np.uint8)])
def test_what_cannot_be_divided_is_said(pieces: NDArray[np.uint8]) -> None:
    with pytest.raises(ConfigError, match=r"less than|looks the same"):
        templates_by_look(pieces, 2, seed=0)
