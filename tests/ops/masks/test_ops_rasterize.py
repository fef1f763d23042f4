from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from qpkit.core.annotation import Annotation, PathClass, Plane
from qpkit.core.geometry import slide_to_level
from qpkit.core.labels import LabelClass, LabelMap
from qpkit.core.tiles import Tile, TileGrid
from qpkit.errors import GeometryError, LabelError
from qpkit.ops.masks.rasterize import Painting, count_values, rasterize
from strategies import annotations, stars

LABELS = LabelMap(
    classes=(LabelClass("Stroma", 1, ("Stroma",)), LabelClass("Tumor", 2, ("Tumor",))),
    unannotated="ignore",
    regions=("Region*",),
    ignored=("Ignore*",),
)
WHOLE = Tile(col=0, row=0, x=-20, y=-20, width=160, height=160)


def annotation(geometry: shapely.Geometry, name: str | None = "Tumor", **more: object) -> Annotation:
    path_class = None if name is None else PathClass((name,))
    return Annotation(geometry=geometry, path_class=path_class, **more)  # type: ignore[arg-type]


@given(st.lists(annotations(), max_size=5), st.sampled_from([1.0, 2.0, 1.37, 0.7]), st.sampled_from([7, 16, 33]))
def test_tiling_does_not_change_the_mask(drawn: list[Annotation], downsample: float, size: int) -> None:
    grid = TileGrid(slide_width=120, slide_height=100, tile_size=size, downsample=downsample)
    painting = Painting(drawn, LABELS, downsample=downsample)
    width, height = grid.columns * size, grid.rows * size
    whole = painting.draw(Tile(col=0, row=0, x=0, y=0, width=width, height=height, downsample=downsample))
    for tile in grid:
        part = whole[tile.y : tile.y + size, tile.x : tile.x + size]
        assert np.array_equal(painting.draw(tile), part)


@given(st.lists(annotations(), max_size=4), st.integers(0, 9))
def test_the_halo_shows_what_the_neighbours_show(drawn: list[Annotation], halo: int) -> None:
    tile = Tile(col=0, row=0, x=20, y=30, width=32, height=24, halo=halo)
    inner = rasterize(
        drawn, Tile(col=0, row=0, x=20 - halo, y=30 - halo, width=32 + 2 * halo, height=24 + 2 * halo), LABELS
    )
    assert np.array_equal(rasterize(drawn, tile, LABELS), inner)


@given(st.lists(annotations(), max_size=5), st.randoms())
def test_the_order_of_objects_within_classes_does_not_matter(drawn: list[Annotation], random: object) -> None:
    shuffled = list(drawn)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert np.array_equal(rasterize(drawn, WHOLE, LABELS), rasterize(shuffled, WHOLE, LABELS))


@given(stars())
def test_a_pixel_belongs_to_a_shape_if_its_centre_lies_inside(shape: shapely.Polygon) -> None:
    mask = rasterize([annotation(shape)], WHOLE, LABELS)
    rows, columns = np.mgrid[0:160, 0:160]
    centres = np.stack([columns.ravel() - 20 + 0.5, rows.ravel() - 20 + 0.5], axis=1)
    snapped = slide_to_level(shape, 1.0)
    if not snapped.is_valid:
        return
    inside = shapely.contains_xy(snapped, centres)
    near = shapely.distance(shapely.points(centres), snapped.boundary) < 1e-9
    wrong = ((mask.ravel() == 2) != inside) & ~near
    assert not wrong.any()


def test_later_classes_cover_earlier_ones_and_ignored_covers_all() -> None:
    drawn = [
        annotation(shapely.box(40, 0, 50, 10), "Ignore*"),
        annotation(shapely.box(10, 0, 60, 10), "Tumor"),
        annotation(shapely.box(0, 0, 100, 10), "Stroma"),
        annotation(shapely.box(0, 0, 110, 20), "Region*"),
    ]
    mask = rasterize(drawn, Tile(col=0, row=0, x=0, y=0, width=120, height=30), LABELS)
    assert mask[5, 5] == 1
    assert mask[5, 20] == 2
    assert mask[5, 45] == 255
    assert mask[15, 45] == 0
    assert mask[25, 45] == 255
    assert mask[5, 115] == 255


def test_holes_stay_open() -> None:
    ring = shapely.box(0, 0, 30, 30).difference(shapely.box(10, 10, 20, 20))
    mask = rasterize([annotation(ring)], Tile(col=0, row=0, x=0, y=0, width=30, height=30), LABELS)
    assert (mask == 2).sum() == 900 - 100
    assert mask[15, 15] == 255


def test_pixels_outside_the_slide_are_unknown() -> None:
    painting = Painting([annotation(shapely.box(-50, -50, 500, 500))], LABELS, downsample=2.0, slide_size=(101, 60))
    mask = painting.draw(Tile(col=0, row=0, x=0, y=0, width=64, height=40, downsample=2.0, halo=3))
    inside = mask[3 : 3 + 30, 3 : 3 + 51]
    assert (inside == 2).all()
    assert (mask == 255).sum() == mask.size - inside.size


def test_everything_that_is_not_drawn_is_counted() -> None:
    drawn = [
        annotation(shapely.box(0, 0, 9, 9)),
        annotation(shapely.Polygon([(0, 0), (9, 9), (9, 0), (0, 9)])),
        annotation(shapely.Point(3, 3)),
        annotation(shapely.LineString([(0, 0), (5, 5)])),
        annotation(shapely.box(0, 0, 9, 9), "Necrosis"),
        annotation(shapely.box(0, 0, 9, 9), None),
        annotation(shapely.box(0, 0, 9, 9), plane=Plane(z=3)),
    ]
    audit = Painting(drawn, LABELS, downsample=1.0).audit
    assert audit.drawn == {"Tumor": 2}
    assert audit.mended == 1
    assert audit.without_area == 2
    assert audit.unlisted == {"Necrosis": 1, "(none)": 1}
    assert audit.other_plane == 1


@pytest.mark.parametrize(("rule", "value"), [("skip", 2), ("ignore", 255)])
def test_unlisted_classes_follow_the_declared_rule(rule: str, value: int) -> None:
    labels = LabelMap(classes=LABELS.classes, unlisted=rule)  # type: ignore[arg-type]
    drawn = [annotation(shapely.box(0, 0, 9, 9)), annotation(shapely.box(0, 0, 9, 9), "Necrosis")]
    assert rasterize(drawn, Tile(col=0, row=0, x=0, y=0, width=4, height=4), labels)[1, 1] == value


def test_an_unlisted_class_raises_when_the_label_map_says_so() -> None:
    labels = LabelMap(classes=LABELS.classes, unlisted="error")
    with pytest.raises(LabelError, match="Necrosis"):
        rasterize([annotation(shapely.box(0, 0, 9, 9), "Necrosis")], WHOLE, labels)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_coordinates_that_are_not_finite_are_refused(bad: float) -> None:
    with np.errstate(invalid="ignore"):
        broken = shapely.Polygon([(0, 0), (bad, 5), (5, 5)])
    with pytest.raises(GeometryError, match="not finite"):
        rasterize([annotation(broken)], WHOLE, LABELS)


def test_counting_refuses_values_the_label_map_does_not_have() -> None:
    assert count_values(np.array([[0, 2], [2, 255]], dtype=np.uint8), LABELS.values) == {0: 1, 2: 2, 255: 1}
    with pytest.raises(LabelError, match="7"):
        count_values(np.array([[7]], dtype=np.uint8), LABELS.values)
