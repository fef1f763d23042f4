"""Resampling is the mean over the covered area: whole factors, any edges, and nothing is lost."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from qpkit.slides.resample import area_resample


@given(st.integers(1, 5), st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_whole_factors_are_the_mean_of_blocks(factor: int, rows: int, columns: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (rows * factor, columns * factor, 3), dtype=np.uint8)
    edges = np.arange(columns + 1) * float(factor), np.arange(rows + 1) * float(factor)
    found = area_resample(pixels, x_edges=edges[0], y_edges=edges[1])
    blocks = pixels.reshape(rows, factor, columns, factor, 3).astype(np.int64).sum(axis=(1, 3))
    assert np.array_equal(found, (2 * blocks + factor**2) // (2 * factor**2))


@given(st.floats(0.3, 7), st.integers(0, 255))
@settings(max_examples=40)
def test_a_flat_picture_stays_flat_at_any_edges(step: float, level: int) -> None:
    pixels = np.full((20, 20, 3), level, np.uint8)
    edges = np.arange(0, 20 / step) * step
    assert (area_resample(pixels, x_edges=edges, y_edges=edges) == level).all() or len(edges) < 2


def test_a_pixel_on_an_edge_counts_by_the_part_that_is_covered() -> None:
    pixels = np.zeros((1, 2, 3), np.uint8)
    pixels[0, 1] = 100
    found = area_resample(pixels, x_edges=np.array([0.5, 1.75]), y_edges=np.array([0.0, 1.0]))
    assert found.tolist() == [[[60, 60, 60]]]
