"""Pictures of a clustering: members are of their cluster, and every figure is a picture."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from qpkit.ops.projection import principal_plane
from qpkit.report.figures.clusters import draw_clusters, draw_losses, examples_of
from qpkit.report.figures.tile_map import draw_tile_map


def size_of(png: bytes) -> tuple[int, int]:
    return Image.open(io.BytesIO(png)).size


def test_examples_are_members_of_their_cluster_and_the_same_for_the_same_seed() -> None:
    labels = np.array([0, 2, 0, 0, 2, 0])
    found = examples_of(labels, 4, count=3, seed=1)
    assert [len(own) for own in found] == [3, 0, 2, 0]
    assert all((labels[own] == cluster).all() for cluster, own in enumerate(found))
    again = examples_of(labels, 4, count=3, seed=1)
    assert all(np.array_equal(one, other) for one, other in zip(found, again, strict=True))


def test_a_sheet_has_a_row_for_each_cluster_also_for_empty_ones() -> None:
    patch = np.full((8, 8, 3), 200, np.uint8)
    few = size_of(draw_clusters([[patch], []], ["1 (100 %)", "2 $empty"]))
    more = size_of(draw_clusters([[patch] * 4, [], [patch]], ["1", "2", "3"], means=[patch] * 3))
    assert more[0] > few[0] and more[1] > few[1]


def test_losses_and_places_are_drawn() -> None:
    assert size_of(draw_losses({"reconstruction": [9.0, 3.0], "divergence": [1.0, 2.0]}))[0] > 500
    z = np.random.default_rng(0).normal(size=(30, 4))
    groups = {"cluster": [f"{number % 3 + 1}" for number in range(30)]}
    assert size_of(draw_tile_map(principal_plane(z)[0], groups, axes=("PCA 1", "PCA 2")))[0] > 300
