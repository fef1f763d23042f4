"""Areas are what QuPath fills, and a class covers a place once."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from qpkit.core.annotation import Annotation, PathClass
from qpkit.core.labels import LabelClass, LabelMap
from qpkit.core.tiles import Tile
from qpkit.ops.masks.rasterize import Painting
from qpkit.ops.vectors.areas import NO_CLASS, class_areas, cover, filled_area
from strategies import shapes

WHOLE = Tile(col=0, row=0, x=-40, y=-40, width=200, height=200, downsample=1.0)


def drawn(geometry: shapely.Geometry, name: str | None = "Tumor") -> Annotation:
    return Annotation(geometry=geometry, path_class=None if name is None else PathClass((name,)))


def test_a_star_has_its_middle_once() -> None:
    """A pentagram of radius 100: what goes round twice is filled, and counted once."""
    angles = np.radians(90 + 144 * np.arange(5))
    star = shapely.Polygon(100 * np.stack([np.cos(angles), np.sin(angles)], axis=1))
    assert filled_area(star) == pytest.approx(1.12257 * 100**2, rel=1e-4)
    assert star.area == pytest.approx(filled_area(star) * 1.3090, rel=1e-4)


@given(st.lists(st.tuples(shapes(), st.sampled_from(["Tumor", None])), max_size=5))
def test_a_class_covers_what_its_mask_shows_and_each_object_is_counted(
    objects: list[tuple[shapely.Geometry, str | None]],
) -> None:
    items = [drawn(shape, name) for shape, name in objects]
    found = cover(items)
    areas = class_areas(items)
    assert {name: own.objects for name, own in found.items()} == {
        name: sum((item.class_name or NO_CLASS) == name for item in items) for name in found
    }
    for name, own in found.items():
        assert own.area <= own.total * (1 + 1e-9)
        labels = LabelMap(classes=(LabelClass("it", 1, ("it",)),))
        one = [drawn(areas[name], "it")]
        many = [drawn(item.geometry, "it") for item in items if (item.class_name or NO_CLASS) == name]
        masks = [Painting(part, labels, downsample=1.0).draw(WHOLE) for part in (one, many)]
        # A union makes new corners, which may move an edge over a pixel's centre.
        assert np.count_nonzero(masks[0] != masks[1]) <= 2
        assert own.overlaps == (own.total > own.area * (1 + 1e-9))


def test_lines_and_points_cover_nothing() -> None:
    found = cover([drawn(shapely.Point(1, 1)), drawn(shapely.LineString([(0, 0), (5, 5)]))])
    assert (found["Tumor"].objects, found["Tumor"].area, found["Tumor"].overlaps) == (2, 0.0, False)
    assert cover([]) == {}
