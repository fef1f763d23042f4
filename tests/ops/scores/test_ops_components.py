"""Areas of strips are those of the whole raster; rankings are scikit-learn's."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.metrics import average_precision_score, roc_auc_score

from qpkit.ops.scores.components import StripComponents
from qpkit.ops.scores.ranking import ranking_of

rasters = hnp.arrays(
    np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.sampled_from([0, 1, 3, 255])
)


@given(rasters, st.lists(st.integers(1, 11), max_size=4))
def test_strips_of_any_height_have_the_areas_of_the_raster(raster: NDArray[np.uint8], cuts: list[int]) -> None:
    parts = StripComponents(skip={0, 255})
    strips = np.split(raster, sorted({cut for cut in cuts if cut < len(raster)}))
    numbers = np.concatenate([parts.add(strip) for strip in strips])
    found = parts.merged()
    owner = found.owner[numbers]
    for value in (1, 3):
        expected, count = ndimage.label(raster == value)
        areas = np.flatnonzero((found.values == value) & (found.px > 0))
        assert len(areas) == count
        assert sorted(found.px[areas]) == sorted(np.bincount(expected.ravel())[1:])
        for number in range(1, count + 1):
            assert len(np.unique(owner[expected == number])) == 1
    assert ((numbers == 0) == np.isin(raster, (0, 255))).all()


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 255)), min_size=2, max_size=40))
def test_a_ranking_is_that_of_scikit_learn(pixels: list[tuple[bool, int]]) -> None:
    truth, level = (np.array(column) for column in zip(*pixels, strict=True))
    levels = np.stack([np.bincount(level[truth == kind], minlength=256) for kind in (False, True)])
    found = ranking_of(levels)
    if truth.any() and not truth.all():
        assert found.auc is not None and abs(found.auc - roc_auc_score(truth, level)) < 1e-9
        assert found.average_precision is not None
        assert abs(found.average_precision - average_precision_score(truth, level)) < 1e-9
    else:
        assert found.auc is None
    if truth.any():
        dice = [2 * (truth & (level >= t)).sum() / (truth.sum() + (level >= t).sum()) for t in range(256)]
        assert found.best_dice is not None and abs(found.best_dice - max(dice)) < 1e-9
