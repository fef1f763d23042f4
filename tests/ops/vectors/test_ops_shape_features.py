from __future__ import annotations

import math

import numpy as np
import pytest
import shapely

from qpkit.ops.vectors.shape_features import shape_features


def features(*polygons: object, um: float | None = None) -> dict[str, list[float]]:
    return {name: column.tolist() for name, column in shape_features(np.array(polygons, object), um).items()}


def test_a_square_in_um() -> None:
    found = features(shapely.box(10, 20, 20, 30), um=0.5)
    assert found == {
        "Area µm^2": [25.0],
        "Length µm": [20.0],
        "Circularity": [pytest.approx(math.pi / 4)],
        "Solidity": [1.0],
        "Max diameter µm": [pytest.approx(math.sqrt(50))],
        "Min diameter µm": [pytest.approx(5)],
    }


def test_a_hole_counts_for_area_and_length_but_not_for_form() -> None:
    square = shapely.box(0, 0, 10, 10)
    found = features(square.difference(shapely.box(4, 4, 6, 6)), square)
    assert found["Area px^2"] == [96, 100]
    assert found["Length px"] == [48, 40]
    assert found["Circularity"][0] == found["Circularity"][1]
    assert found["Solidity"] == [1, 1]


def test_a_circle_is_round_and_turning_changes_nothing() -> None:
    circle = shapely.Point(50, 50).buffer(20, quad_segs=64)
    oblong = shapely.box(0, 0, 30, 10)
    found = features(circle, oblong, shapely.affinity.rotate(oblong, 33))
    assert found["Circularity"][0] == pytest.approx(1, abs=1e-3)
    assert found["Max diameter px"][0] == pytest.approx(40, rel=1e-3)
    for column in found.values():
        assert column[1] == pytest.approx(column[2])
    assert found["Min diameter px"][1] == pytest.approx(10)


def test_an_object_of_two_parts() -> None:
    parts = shapely.MultiPolygon([shapely.box(0, 0, 10, 10), shapely.box(20, 0, 30, 10)])
    found = features(parts)
    assert found["Area px^2"] == [200]
    assert found["Length px"] == [80]
    assert found["Solidity"] == [pytest.approx(200 / 300)]
