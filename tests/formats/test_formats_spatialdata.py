"""A store of SpatialData as the library reads it. Not in the dev extra: it holds pandas and dask at older versions."""

from __future__ import annotations

import importlib
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from qpkit.core.annotation import Annotation, PathClass, argb
from qpkit.core.labels import LabelClass, LabelMap
from qpkit.errors import FormatError, MissingExtraError, ProjectError
from qpkit.formats.format import NothingHeldError
from qpkit.formats.plugins import spatialdata as plugin
from qpkit.formats.registry import FORMATS, format_of
from qpkit.formats.shared.drawing import Choices, Drawing, ImageFacts
from qpkit.formats.shared.drawn_labels import draw_labels

pytestmark = pytest.mark.filterwarnings("ignore")  # of the library's own

IMAGE = ImageFacts(name="slide.svs", width=3000, height=2500, mpp=0.25)
TUMOR = PathClass(("Tumor",), argb(200, 0, 0))
HOLED = shapely.Polygon(shapely.box(0, 0, 400, 400).exterior, [shapely.box(100, 100, 180, 220).exterior])
DRAWING = Drawing(
    objects=(
        Annotation(geometry=HOLED, shape="geometry", path_class=TUMOR, name="a", measurements={"Area": 3.5}),
        Annotation(geometry=shapely.MultiPolygon([HOLED, shapely.box(500, 500, 510.5, 520)]), shape="geometry"),
    ),
    image=IMAGE,
)
LABELS = LabelMap(classes=(LabelClass("Tumor", 3, ("Tumor",), argb(200, 0, 0)),))


def library() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("spatialdata", reason="pip install 'qpkit[spatialdata]' (not in dev)")


def test_the_library_reads_the_very_areas_in_px_and_um(tmp_path: Path) -> None:
    spatialdata = library()
    plugin.write(tmp_path / "a.zarr", [DRAWING], Choices())
    shapes = spatialdata.read_zarr(tmp_path / "a.zarr").shapes["annotations"]
    assert [g.wkb for g in shapes.geometry] == [o.geometry.wkb for o in DRAWING.objects]
    assert shapes["class"].to_list()[0] == "Tumor" and shapes["Area"].to_list()[0] == 3.5
    in_um = spatialdata.transform(shapes, to_coordinate_system="um")
    assert in_um.geometry.to_list()[0].bounds == (0, 0, 100, 100)
    assert format_of(tmp_path / "a.zarr", FORMATS, reading=True).name == "spatialdata"
    (found,) = plugin.read(tmp_path / "a.zarr", ImageFacts(), Choices())
    assert found.image.name == "slide.svs" and not found.notes
    assert [o.geometry.wkb for o in found.objects] == [o.geometry.wkb for o in DRAWING.objects]


@pytest.mark.parametrize(("downsample", "offset"), [(1.0, (0.0, 0.0)), (4.0, (100.0, 60.0))])
def test_labels_have_the_pixels_of_the_label_image(
    tmp_path: Path, downsample: float, offset: tuple[float, float]
) -> None:
    spatialdata = library()
    choices = Choices(labels=LABELS, downsample=downsample, offset=offset)
    drawing = replace(DRAWING, objects=DRAWING.objects[:1])
    plugin.write(tmp_path / "a.zarr", [drawing], choices)
    store = spatialdata.read_zarr(tmp_path / "a.zarr")
    mask = draw_labels(drawing, choices, what="").mask
    assert np.array_equal(store.labels["classes"].to_numpy(), mask)
    extent = spatialdata.get_extent(store.labels["classes"], coordinate_system="global")
    assert extent["x"] == (offset[0], offset[0] + mask.shape[1] * downsample)
    table = store.tables["classes_table"]
    assert dict(zip(table.obs["value"], table.obs["class"], strict=True)) == {3: "Tumor"}
    assert list(table.uns["class_colors"]) == ["#c80000"]


def test_what_another_program_put_there_is_read_or_counted(tmp_path: Path) -> None:
    spatialdata = library()
    geopandas = importlib.import_module("geopandas")
    models = importlib.import_module("spatialdata.models")
    scale = importlib.import_module("spatialdata.transformations").Scale([2.0, 2.0], axes=("x", "y"))
    table = geopandas.GeoDataFrame({"label": ["Stroma"], "score": [0.5]}, geometry=[shapely.box(1, 2, 3, 4)])
    shapes = models.ShapesModel.parse(table, transformations={"global": scale})
    image = models.Image2DModel.parse(np.zeros((3, 8, 8), np.uint8), dims=("c", "y", "x"))
    spatialdata.SpatialData(shapes={"cells": shapes}, images={"he": image}).write(tmp_path / "b.zarr")
    (found,) = plugin.read(tmp_path / "b.zarr", ImageFacts(), Choices())
    (item,) = found.objects
    assert (item.class_name, item.measurements, item.geometry.bounds) == ("Stroma", {"score": 0.5}, (2, 4, 6, 8))
    assert found.notes == {plugin.LEFT_OUT: 1}


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    library()
    with pytest.raises(ProjectError, match="no such"):
        plugin.read(tmp_path / "gone.zarr", IMAGE, Choices())
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(FormatError, match=r"empty\.zarr"):
        plugin.read(tmp_path / "empty.zarr", IMAGE, Choices())
    point = Annotation(geometry=shapely.Point(1, 1), shape="points")
    with pytest.raises(NothingHeldError) as caught:
        plugin.write(tmp_path / "p.zarr", [Drawing(objects=(point,), image=IMAGE)], Choices())
    assert caught.value.losses == {"points left out": 1}
    assert not (tmp_path / "p.zarr").exists()


def test_without_the_library_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "spatialdata", None)
    with pytest.raises(MissingExtraError, match=r"qpkit\[spatialdata\]"):
        plugin.write(tmp_path / "a.zarr", [DRAWING], Choices())
