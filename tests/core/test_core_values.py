from __future__ import annotations

import itertools
import math
import uuid
from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from qpkit.core.annotation import Annotation, PathClass, argb
from qpkit.core.geometry import ellipse, level_to_slide, mend, polygons_of, round_for_qupath, slide_to_level
from qpkit.core.labels import default_label_map, label_map_from_builtins, label_map_to_builtins, parse_label_map
from qpkit.core.provenance import (
    is_prediction,
    is_recognised_by_name,
    is_untouched,
    origin_of,
    prediction_id,
    prediction_ids,
    prediction_name,
    provenance,
    run_of,
)
from qpkit.core.shape_columns import ShapeColumns
from qpkit.core.tiles import SlideInfo, Tile, TileGrid, downsample_for
from qpkit.errors import ConfigError, LabelError, about
from strategies import shapes, stars


@given(st.integers(1, 500), st.integers(1, 500), st.integers(7, 700), st.floats(0.3, 9))
def test_tile_cores_cover_every_level_pixel_once(width: int, height: int, size: int, downsample: float) -> None:
    grid = TileGrid(slide_width=width, slide_height=height, tile_size=size, downsample=downsample)
    xs = [grid.tile(col, 0).x for col in range(grid.columns)]
    ys = [grid.tile(0, row).y for row in range(grid.rows)]
    assert xs == list(range(0, grid.columns * size, size))
    assert ys == list(range(0, grid.rows * size, size))
    assert xs[-1] < grid.level_width <= xs[-1] + size
    assert ys[-1] < grid.level_height <= ys[-1] + size
    assert len(list(grid)) == len(grid)


@given(st.integers(1, 2000), st.integers(2, 300), st.data())
def test_overlapping_tiles_leave_no_gap(width: int, size: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, size - 1))
    grid = TileGrid(slide_width=width, slide_height=10, tile_size=size, overlap=overlap)
    spans = [(tile.x, tile.x + tile.width) for tile in grid if tile.row == 0]
    assert all(b[0] == a[1] - overlap for a, b in itertools.pairwise(spans))
    assert spans[-1][1] >= width


@pytest.mark.parametrize("bad", [{"tile_size": 0}, {"overlap": 64}, {"overlap": -1}, {"downsample": 0.0}])
def test_a_grid_that_cannot_be_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        TileGrid(**({"slide_width": 100, "slide_height": 100, "tile_size": 64} | bad))  # type: ignore[arg-type]


def test_the_last_digits_of_a_calibration_are_not_a_resampling() -> None:
    assert downsample_for(0.5, 0.25) == 2.0
    assert downsample_for(0.5, 0.499999) == 1.0
    assert downsample_for(0.5, 0.4) == pytest.approx(1.25)
    assert SlideInfo(width=1, height=1).mpp is None


def test_a_tile_knows_its_place_in_the_slide_and_its_array() -> None:
    tile = Tile(col=1, row=2, x=100, y=200, width=50, height=60, halo=8, downsample=2.5)
    assert tile.array_shape == (76, 66)
    assert (tile.array_x, tile.array_y) == (92, 192)
    region = tile.slide_region
    assert (region.x, region.y, region.width, region.height) == (250, 500, 125, 150)


@given(shapes(), st.floats(0.4, 8))
def test_level_coordinates_are_multiples_of_a_256th(shape: shapely.Geometry, downsample: float) -> None:
    level = shapely.get_coordinates(slide_to_level(shape, downsample))
    assert np.array_equal(level * 256, np.round(level * 256))
    back = shapely.get_coordinates(level_to_slide(slide_to_level(shape, downsample), downsample))
    assert np.abs(back - shapely.get_coordinates(shape)).max() <= downsample / 512 + 1e-9


@given(shapes())
def test_rounding_for_qupath_is_idempotent_and_float32(shape: shapely.Geometry) -> None:
    once = round_for_qupath(shape)
    assert round_for_qupath(once).equals_exact(once)
    xy = shapely.get_coordinates(once)
    assert np.array_equal(xy.astype(np.float32), xy)


@given(shapes())
def test_mending_gives_valid_polygons_and_leaves_valid_ones_alone(shape: shapely.Geometry) -> None:
    mended, changed = mend(shape)
    assert mended.is_valid
    assert changed != shape.is_valid
    if not changed:
        assert mended is shape


def test_a_bow_tie_keeps_both_lobes() -> None:
    bow = shapely.Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])
    mended, changed = mend(bow)
    assert changed
    assert mended.area == pytest.approx(50)
    assert len(polygons_of(mended)) == 2


def test_an_ellipse_fills_its_box() -> None:
    shape = ellipse(10, 20, 110, 80)
    assert shape.bounds == (10, 20, 110, 80)
    assert shape.area == pytest.approx(math.pi * 50 * 30, rel=1e-3)


def test_class_names_and_colours_are_quPaths() -> None:
    assert PathClass.parse("Tumor: Positive").names == ("Tumor", "Positive")
    assert str(PathClass(("Tumor", "Positive"))) == "Tumor: Positive"
    assert argb(200, 0, 0) == -3670016
    assert PathClass(("T",), -3670016).rgb == (200, 0, 0)
    with pytest.raises(ValueError, match="blank"):
        PathClass(("",))


LABELS = """
unannotated = "ignore"
regions = ["Region*"]
ignored = ["Ignore*"]
[[class]]
name = "Stroma"
value = 1
[[class]]
name = "Tumor"
value = 2
from = ["Tumor", "Tumor: Positive"]
color = [200, 0, 0]
"""


def test_a_label_map_survives_its_plain_form() -> None:
    labels = parse_label_map(LABELS, source="labels.toml")
    assert labels.values == (0, 1, 2, 255)
    assert labels.trained_values == (0, 1, 2)
    assert labels.classes[0].sources == ("Stroma",)
    assert labels.knows("Tumor: Positive")
    assert not labels.knows("Necrosis")
    assert label_map_from_builtins(label_map_to_builtins(labels)) == labels


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LABELS + "colour = 3", "colour"),
        (LABELS.replace('name = "Stroma"', 'name = "Tumor"'), "class 'Tumor' is there 2 times"),
        (LABELS.replace("value = 1", "value = 2"), "value 2 is used 2 times"),
        (LABELS.replace("value = 1", "value = 300"), "300"),
        (LABELS.replace('"Tumor: Positive"', '"Stroma"'), "'Stroma' is used 2 times"),
        (LABELS.replace('"ignore"', '"unknown"'), "unknown"),
        ("[[class", "TOML"),
        (LABELS.replace('name = "Stroma"', 'name = "background"'), "'background'"),
        (LABELS.replace('name = "Stroma"', 'name = " "'), "' '"),
        ("background = 0", "class"),
    ],
)
def test_a_wrong_label_map_is_one_message_that_names_file_and_fault(text: str, said: str) -> None:
    with pytest.raises(LabelError) as caught:
        parse_label_map(text, source="my/labels.toml")
    assert "my/labels.toml" in str(caught.value)
    assert said in str(caught.value)


def test_default_labels_follow_quPaths_star_classes() -> None:
    classes = [PathClass((n,)) for n in ("Tumor", "Stroma", "Region*", "Ignore*", "Artefact*")]
    labels = default_label_map(classes)
    assert [(c.name, c.value) for c in labels.classes] == [("Tumor", 1), ("Stroma", 2)]
    assert labels.regions == ("Region*",)
    assert labels.ignored == ("Ignore*", "Artefact*")
    assert labels.unannotated == "ignore"
    assert default_label_map(classes[:2]).unannotated == "background"


def _predicted(shape: shapely.Polygon, **changes: object) -> Annotation:
    values: dict[str, object] = {
        "geometry": shape,
        "path_class": PathClass(("Tumor",)),
        "metadata": provenance("run-1", "unet", "Tumor", shape),
    }
    return Annotation(**(values | changes))  # type: ignore[arg-type]


@given(stars())
def test_a_prediction_is_untouched_until_a_person_changes_it(shape: shapely.Polygon) -> None:
    shape = round_for_qupath(shape)
    assert is_prediction(_predicted(shape))
    assert is_untouched(_predicted(shape))
    assert is_untouched(_predicted(round_for_qupath(shape.reverse())))
    assert not is_untouched(_predicted(shape, path_class=PathClass(("Stroma",))))
    assert not is_untouched(_predicted(shape, locked=True))
    moved = shapely.transform(shape, lambda xy: xy + 0.5)
    meta = provenance("run-1", "unet", "Tumor", shape)
    assert not is_untouched(_predicted(moved, metadata=meta))


@given(stars(), st.sampled_from(["Tumor", "Tumor: Positive", "Ki-67 (high) 3"]))
def test_a_prediction_that_lost_its_metadata_is_recognised_by_id_and_name(shape: shapely.Polygon, label: str) -> None:
    """As QuPath's own GeoJSON importer leaves it."""
    made = prediction_id("run-1", "slide", label, shape)
    path_class = PathClass.parse(label)
    lost = Annotation(geometry=shape, path_class=path_class, id=made, name=prediction_name(label, 12, "run-1"))
    former = replace(lost, name=f"{label} 12 (run-1)")
    for item in (lost, former):
        assert is_recognised_by_name(item) and run_of(item) == "run-1" and origin_of(item) == "untouched"
        assert origin_of(replace(item, locked=True)) == "accepted"
        assert origin_of(replace(item, path_class=PathClass(("Stroma",)))) == "edited"
        for drawn in (replace(item, id=str(uuid.uuid4())), replace(item, id=None), replace(item, name="Tumor 12")):
            assert not is_prediction(drawn) and origin_of(drawn) == "drawn"


@given(stars())
def test_where_an_object_comes_from(shape: shapely.Polygon) -> None:
    shape = round_for_qupath(shape)
    made = _predicted(shape)
    assert run_of(made) == "run-1" and not is_recognised_by_name(made)
    assert origin_of(made) == "untouched" and origin_of(replace(made, locked=True)) == "accepted"
    assert origin_of(replace(made, locked=True, path_class=None)) == "edited"
    assert origin_of(replace(made, metadata={})) == "drawn"


@given(stars())
def test_a_predictions_id_depends_on_run_slide_class_and_shape_only(shape: shapely.Polygon) -> None:
    first = prediction_id("run", "slide", "Tumor", shape)
    assert first == prediction_id("run", "slide", "Tumor", shape.reverse())
    others = [("run2", "slide", "Tumor"), ("run", "slide2", "Tumor"), ("run", "slide", "Stroma")]
    assert len({first, *(prediction_id(*o, shape) for o in others)}) == 4


@given(st.lists(shapes(), min_size=1, max_size=4))
def test_an_id_is_the_uuid_of_run_slide_class_and_shape(drawn: list[shapely.Geometry]) -> None:
    texts = [f"run/slide/Tumor/{shape.hex().upper()}" for shape in shapely.to_wkb(shapely.normalize(drawn))]
    namespace = uuid.UUID("7c1bd2f4-53a8-4d36-9f0e-2f8b6f1a90c5")
    expected = [str(uuid.uuid5(namespace, text)) for text in texts]
    columns = ShapeColumns.taken_from(np.array(drawn, object))
    assert prediction_ids("run", "slide", ["Tumor"] * len(drawn), columns) == expected


def test_a_name_is_said_once_before_what_is_said_of_it() -> None:
    assert about("a.tif", "a.tif: is damaged") == "a.tif: is damaged" == about("a.tif", "is damaged")
    assert about("a", "ab: is damaged") == "a: ab: is damaged"


def test_a_class_of_text_is_not_one_of_its_letters() -> None:
    assert PathClass("Tumor") == PathClass(("Tumor",))  # type: ignore[arg-type]
    assert PathClass("Tumor: Positive", 3) == PathClass.parse("Tumor: Positive", 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not blank"):
        PathClass(" : ")  # type: ignore[arg-type]
