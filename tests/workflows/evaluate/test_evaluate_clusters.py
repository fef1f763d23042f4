"""Clusters against annotations: who has chosen the class of a cluster makes all the difference."""

from __future__ import annotations

import numpy as np
import pytest

from qpkit.core.labels import LabelClass, LabelMap
from qpkit.workflows.evaluate.clusters import ClusterCounts, score_clusters, score_rows

RULES = LabelMap(classes=(LabelClass("Tumor", 1, ("Tumor",)), LabelClass("Stroma", 2, ("Stroma",))))
ALIKE = np.array([[0, 0, 0], [0, 90, 10], [0, 10, 90]])
"""Rows: in no cluster, cluster 1, cluster 2; columns: background, Tumor, Stroma."""

TURNED = ALIKE[[0, 2, 1]]


def test_a_slide_on_which_numbers_mean_something_else_is_wrong_elsewhere_and_right_here() -> None:
    result = score_clusters([ClusterCounts("a", ALIKE), ClusterCounts("b", ALIKE), ClusterCounts("c", TURNED)], RULES)
    assert result.assignment == ("Tumor", "Stroma")
    for slide, expected in zip(result.slides, (0.9, 0.9, 0.1), strict=True):
        assert [round(float(slide.elsewhere[n].dice or 0), 3) for n in (1, 2)] == [expected] * 2
        assert [round(float(slide.here[n].dice or 0), 3) for n in (1, 2)] == [0.9, 0.9]
    assert result.mean_of("elsewhere", "dice") == pytest.approx((0.9 + 0.9 + 0.1) / 3)
    assert result.mean_of("here", "dice") == pytest.approx(0.9)
    assert result.mean_of("one_class", "dice") == pytest.approx(2 / 3 / 2)


def test_a_single_slide_has_nobody_else_to_ask() -> None:
    result = score_clusters([ClusterCounts("a", TURNED)], RULES)
    assert result.slides[0].elsewhere == () and result.mean_of("elsewhere", "dice") is None
    assert all(row["dice"] == "" and row["dice (chosen on this slide)"] == "0.900" for row in score_rows(result))


def test_what_is_in_no_cluster_is_background() -> None:
    px = np.array([[50, 5, 0], [0, 90, 10], [10, 5, 90]])
    background, tumor, _ = score_clusters([ClusterCounts("a", px)], RULES).slides[0].here
    assert (background.support, background.predicted) == (60, 55)
    assert background.dice == pytest.approx(2 * 50 / (60 + 55)) and tumor.recall == pytest.approx(0.9)
