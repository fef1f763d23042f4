"""Memberships of patches as a raster: what a loop over pixels gives, in strips, in any order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from qpkit_train.unsupervised import blend as blending
from qpkit_train.unsupervised.blend import blend, cell_px


@given(st.integers(0, 999), st.sampled_from([(96, 64), (64, 64), (32, 8), (48, 32)]), st.integers(1, 5))
@examples(max_examples=25)
def test_every_pixel_has_the_largest_mean_membership_of_the_patches_over_it(
    seed: int, sides: tuple[int, int], clusters: int
) -> None:
    rng = np.random.default_rng(seed)
    patch, stride = sides
    width, height = 5 * stride + 13, 4 * stride + 7
    corners = rng.permutation(np.stack(np.meshgrid(range(5), range(4)), axis=-1).reshape(-1, 2) * stride)[:13]
    memberships = rng.dirichlet(np.ones(clusters), 13).astype(np.float32)
    total = np.zeros((height, width, clusters))
    for (x, y), row in zip(corners, memberships, strict=True):
        total[y : y + patch, x : x + patch] += np.rint(row.astype(np.float64) * 65_535)
    wanted = np.where(total.sum(axis=-1) > 0, total.argmax(axis=-1) + 1, 0)
    found = blend(memberships, corners, patch_px=patch, stride_px=stride, width=width, height=height)
    cell = cell_px(patch, stride)
    drawn = found.repeat(cell, axis=0).repeat(cell, axis=1)[:height, :width]
    assert found.dtype == np.uint8 and np.array_equal(drawn, wanted)


def test_strips_and_the_order_of_patches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    corners = np.stack(np.meshgrid(range(30), range(40)), axis=-1).reshape(-1, 2) * 64
    memberships = rng.dirichlet(np.ones(4), len(corners)).astype(np.float32)
    asked = {"patch_px": 96, "stride_px": 64, "width": 30 * 64, "height": 40 * 64}
    whole = blend(memberships, corners, **asked)
    order = rng.permutation(len(corners))
    monkeypatch.setattr(blending, "_ROWS", 7)
    assert np.array_equal(blend(memberships[order], corners[order], **asked), whole)
    assert not blend(memberships[:0], corners[:0], **asked).any()
