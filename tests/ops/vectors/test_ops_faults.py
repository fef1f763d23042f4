from __future__ import annotations

import numpy as np
import shapely
from hypothesis import given
from hypothesis import strategies as st

from qpkit.core.annotation import Annotation, PathClass
from qpkit.core.geometry import mend, round_for_qupath
from qpkit.ops.vectors.overlaps import MIN_AREA_PX2, find_overlaps, is_ignored_class
from qpkit.ops.vectors.shape_faults import find_duplicates, find_outside, find_shape_faults, mended_shape
from strategies import CLASSES, coordinates, stars

rings = st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=14).map(shapely.Polygon)
far = st.sampled_from([0.0, 70_000.0, 200_000.0])


@given(rings, far)
def test_a_mended_shape_is_valid_for_qupath_and_stays_as_it_is(ring: shapely.Polygon, offset: float) -> None:
    drawn = shapely.transform(ring, lambda xy: xy + offset)
    made = mended_shape(drawn)
    assert made is not None
    assert made.is_valid and round_for_qupath(made).equals_exact(made, 0)
    assert abs(made.area - mend(drawn)[0].area) <= 0.02 * mend(drawn)[0].length + 0.01
    faults = find_shape_faults([Annotation(geometry=made), Annotation(geometry=drawn)])
    assert 0 not in faults.invalid and (1 in faults.invalid) == (not drawn.is_valid and not made.is_empty)


@given(st.lists(st.tuples(stars() | rings, st.sampled_from([*CLASSES, "Fat", None])), max_size=8))
def test_overlaps_are_those_of_comparing_all_with_all(drawn: list[tuple[shapely.Polygon, str | None]]) -> None:
    objects = [Annotation(geometry=s, path_class=None if c is None else PathClass((c,))) for s, c in drawn]
    expected = {}
    for i, one in enumerate(objects):
        for j, other in enumerate(objects[:i]):
            named = one.path_class and other.path_class and one.class_name != other.class_name
            if named and not is_ignored_class(one) and not is_ignored_class(other):
                area = mend(one.geometry)[0].intersection(mend(other.geometry)[0]).area
                if area >= MIN_AREA_PX2:
                    expected[j, i] = area
    found = {(min(o.inner, o.outer), max(o.inner, o.outer)): o.area for o in find_overlaps(objects)}
    assert found.keys() == expected.keys()
    assert np.allclose([found[key] for key in expected], [*expected.values()], rtol=1e-6)


@given(st.lists(stars(), min_size=1, max_size=6), st.data())
def test_a_copy_is_found_however_its_ring_is_turned(shapes: list[shapely.Polygon], data: st.DataObject) -> None:
    objects = [Annotation(geometry=shape) for shape in dict.fromkeys(shapes)]
    number = data.draw(st.integers(0, len(objects) - 1))
    turned = shapely.reverse(objects[number].geometry)
    assert find_duplicates([*objects, Annotation(geometry=turned)]) == [[number, len(objects)]]


@given(st.lists(stars(), max_size=6))
def test_outside_is_what_the_image_does_not_meet(shapes: list[shapely.Polygon]) -> None:
    wholly, partly, farthest = find_outside([Annotation(geometry=s) for s in shapes], width=100, height=80)
    image = shapely.box(0, 0, 100, 80)
    assert all(not shapes[n].intersects(image) for n in wholly)
    assert all(not shapely.box(*shapes[n].bounds).within(image.buffer(0.4)) for n in partly)
    assert (farthest > 0.5) == bool(partly)
