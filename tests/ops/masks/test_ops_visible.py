"""An object is drawn if and only if some pixel shows it; the others are counted with their size."""

from __future__ import annotations

import numpy as np
import shapely
from hypothesis import given
from hypothesis import strategies as st

from qpkit.core.annotation import Annotation, PathClass
from qpkit.core.labels import LabelClass, LabelMap
from qpkit.core.tiles import Tile
from qpkit.ops.masks.rasterize import Painting
from qpkit.ops.masks.visible import have_pixels
from strategies import shapes

LABELS = LabelMap(classes=(LabelClass("Tumor", 1, ("Tumor",)), LabelClass("Stroma", 2, ("Stroma",))))
SIDE = 48


@given(st.lists(shapes(), max_size=4), st.sampled_from([1.0, 1.7, 4.0, 16.0]), st.sampled_from(["centre", "qupath"]))
def test_what_is_drawn_has_pixels_and_what_is_too_small_has_none(
    drawn: list[shapely.Geometry], downsample: float, rule: str
) -> None:
    whole = Tile(col=0, row=0, x=0, y=0, width=SIDE, height=SIDE, downsample=downsample)
    edge = int(SIDE * downsample)
    for shape in drawn:
        item = Annotation(geometry=shape, shape="polygon", path_class=PathClass(("Tumor",)))
        painting = Painting([item], LABELS, downsample=downsample, slide_size=(edge, edge), pixel_rule=rule)  # type: ignore[arg-type]
        is_drawn = bool((painting.draw(whole) == 1).any())
        assert dict(painting.audit.drawn) == ({"Tumor": 1} if is_drawn else {})
        assert len(painting.instances) == is_drawn and (painting.draw_instances(whole)[0].max() == is_drawn)
        assert ("Tumor" in painting.audit.empty) != is_drawn


def test_small_objects_are_counted_by_class_and_size_though_others_of_their_class_are_drawn() -> None:
    boxes = [shapely.box(10, 10, 30, 30), shapely.box(40.1, 40.1, 41.1, 42.1), shapely.box(50, 50, 51, 51)]
    drawn = [Annotation(geometry=box, path_class=PathClass(("Tumor",))) for box in boxes]
    drawn.append(Annotation(geometry=shapely.box(60, 60, 61, 61), path_class=PathClass(("Stroma",))))
    audit = Painting(drawn, LABELS, downsample=8.0, slide_size=(200, 200)).audit
    assert dict(audit.drawn) == {"Tumor": 1} and audit.empty == ("Stroma",)
    assert {name: (s.objects, round(s.largest_px2, 6)) for name, s in audit.too_small.items()} == {
        "Tumor": (2, 2.0),
        "Stroma": (1, 1.0),
    }


def test_pixels_beside_the_slide_do_not_count_and_long_thin_shapes_are_searched_to_their_end() -> None:
    beyond = shapely.box(95.6, 10, 130, 40)
    assert have_pixels([beyond], [False], size=(96, 100), corner=False).tolist() == [False]
    assert have_pixels([beyond], [False], size=None, corner=False).tolist() == [True]
    sliver = shapely.Polygon([(0, -0.01), (30_000, 30_000.05), (30_000, 29_999.95)])
    assert have_pixels([sliver], [False], size=None, corner=False).tolist() == [True]
    assert have_pixels([], [], size=None, corner=False).shape == (0,)
    assert not np.any(have_pixels([shapely.Polygon()], [False], size=None, corner=False))
