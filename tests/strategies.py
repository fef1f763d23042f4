"""Hypothesis strategies: shapes and masks as they come out of real work, odd ones included."""

from __future__ import annotations

import numpy as np
import shapely
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from qpkit.core.annotation import Annotation, PathClass

CLASSES = ("Tumor", "Stroma", "Region*", "Ignore*")

coordinates = st.floats(-40, 160, allow_nan=False, width=32)


@st.composite
def stars(draw: st.DrawFn) -> shapely.Polygon:
    """A simple polygon round a centre, often with a hole."""
    x, y = draw(coordinates), draw(coordinates)
    count = draw(st.integers(3, 12))
    radii = draw(st.lists(st.floats(1.5, 60), min_size=count, max_size=count))
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False) + draw(st.floats(0, 1))
    ring = [(x + r * np.cos(a), y + r * np.sin(a)) for r, a in zip(radii, angles, strict=True)]
    hole = [(x + 0.4 * (px - x), y + 0.4 * (py - y)) for px, py in ring]
    return shapely.Polygon(ring, [hole] if draw(st.booleans()) else [])


@st.composite
def bow_ties(draw: st.DrawFn) -> shapely.Polygon:
    """A ring that crosses itself, as hands draw it."""
    x, y, w, h = draw(coordinates), draw(coordinates), draw(st.floats(2, 50)), draw(st.floats(2, 50))
    return shapely.Polygon([(x, y), (x + w, y + h), (x + w, y), (x, y + h)])


@st.composite
def boxes(draw: st.DrawFn) -> shapely.Polygon:
    """A rectangle with corners on whole or half pixels: ties of the pixel-centre rule."""
    x, y = draw(st.integers(-40, 200)) / 2, draw(st.integers(-40, 200)) / 2
    return shapely.box(x, y, x + draw(st.integers(1, 100)) / 2, y + draw(st.integers(1, 100)) / 2)


def shapes() -> st.SearchStrategy[BaseGeometry]:
    """Any of these, or two at once."""
    single = stars() | bow_ties() | boxes()
    return single | st.lists(boxes(), min_size=2, max_size=2).map(lambda p: shapely.MultiPolygon(p))


def annotations() -> st.SearchStrategy[Annotation]:
    """Annotations of the classes above."""
    return st.builds(
        lambda geometry, name: Annotation(geometry=geometry, path_class=PathClass((name,))),
        shapes(),
        st.sampled_from(CLASSES),
    )


def label_rasters(values: int = 3, largest: int = 24) -> st.SearchStrategy[NDArray[np.uint8]]:
    """Small rasters of labels 0..values-1, checkerboards and single pixels included."""
    sizes = st.tuples(st.integers(1, largest), st.integers(1, largest))
    return sizes.flatmap(lambda s: arrays(np.uint8, s, elements=st.integers(0, values - 1)))
