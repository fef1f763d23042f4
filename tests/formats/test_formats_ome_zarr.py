"""OME-Zarr labels: the pixels of the label image, for zarr, for ome-zarr-py and for qpkit."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from qpkit.core.annotation import Annotation, PathClass, argb
from qpkit.core.labels import LabelClass, LabelMap
from qpkit.errors import ConfigError, FormatError, OutputError, ProjectError
from qpkit.formats.plugins import ome_zarr
from qpkit.formats.registry import FORMATS, format_of
from qpkit.formats.shared.drawing import Choices, Drawing, ImageFacts
from qpkit.formats.shared.drawn_labels import draw_labels

zarr = pytest.importorskip("zarr", reason="pip install 'qpkit[zarr]'")

IMAGE = ImageFacts(name="slide.svs", width=3000, height=2500, mpp=0.25)
LABELS = LabelMap(
    classes=(
        LabelClass("Tumor", 3, ("Tumor",), argb(200, 0, 0)),
        LabelClass("Tumor: Nest", 7, ("Tumor: Nest",), argb(0, 120, 7)),
    )
)
DRAWING = Drawing(
    objects=(
        Annotation(
            geometry=shapely.Polygon(shapely.box(0, 0, 400, 400).exterior, [shapely.box(100, 100, 180, 220).exterior]),
            path_class=PathClass(("Tumor",), argb(200, 0, 0)),
        ),
        Annotation(
            geometry=shapely.Polygon([(500, 500), (2900, 700), (1200, 2400)]),
            path_class=PathClass(("Tumor", "Nest"), argb(0, 120, 7)),
        ),
    ),
    image=IMAGE,
)


@pytest.mark.parametrize(("downsample", "offset"), [(1.0, (0.0, 0.0)), (2.5, (100.0, 50.0)), (4.0, (0.0, 0.0))])
def test_what_is_read_draws_the_same_pixels(tmp_path: Path, downsample: float, offset: tuple[float, float]) -> None:
    choices = Choices(labels=LABELS, downsample=downsample, offset=offset)
    ome_zarr.write(tmp_path / "a.zarr", [DRAWING], choices)
    mask = draw_labels(DRAWING, choices, what="").mask
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    assert group["labels"].attrs["ome"] == {"version": "0.5", "labels": ["classes"]}
    assert np.array_equal(group["labels/classes/0"][:], mask)
    (found,) = ome_zarr.read(tmp_path / "a.zarr", ImageFacts(mpp=0.25), Choices())
    assert found.image.name == "slide.svs"
    assert {o.path_class for o in found.objects} == {o.path_class for o in DRAWING.objects}
    again = draw_labels(replace(DRAWING, objects=found.objects), choices, what="").mask
    assert np.array_equal(again, mask)
    assert format_of(tmp_path / "a.zarr", FORMATS, reading=True).name == "ome-zarr"


def test_ome_zarr_py_finds_labels_colours_and_classes(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("ome_zarr", reason="pip install ome-zarr")
        from ome_zarr.io import parse_url
        from ome_zarr.reader import Reader

        choices = Choices(labels=LABELS, downsample=1.0)
        ome_zarr.write(tmp_path / "a.zarr", [DRAWING], choices)
        (node, *_) = list(Reader(parse_url(tmp_path / "a.zarr" / "labels" / "classes"))())
        group = list(Reader(parse_url(tmp_path / "a.zarr" / "labels"))())
        first = np.asarray(node.data[0])
    assert np.array_equal(first, draw_labels(DRAWING, choices, what="").mask)
    assert len(node.data) == 3
    assert node.metadata["color"][3] == [200 / 255, 0, 0, 1.0]
    assert node.metadata["properties"][7]["class"] == "Tumor: Nest"
    assert group


def test_the_group_joins_an_image_that_is_there(tmp_path: Path) -> None:
    """As docs/formats.md says: copied into the slide's own OME-Zarr, ome-zarr-py shows it with the image."""
    import shutil

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("ome_zarr", reason="pip install ome-zarr")
        from ome_zarr.io import parse_url
        from ome_zarr.reader import Reader

        image = tmp_path / "image.zarr"
        make_image(image, np.zeros((3, 2500, 3000), np.uint8))
        ome_zarr.write(tmp_path / "a.zarr", [DRAWING], Choices(labels=LABELS))
        shutil.copytree(tmp_path / "a.zarr" / "labels", image / "labels")
        nodes = list(Reader(parse_url(image))())
    assert [node.zarr.basename() for node in nodes][-1] == "classes"
    assert len(nodes) == 3  # image, labels, classes


def make_image(path: Path, pixels: np.ndarray) -> None:
    root = zarr.create_group(path, zarr_format=3)
    root.create_array("0", data=pixels, dimension_names=("c", "y", "x"))
    scale: list[Any] = [{"type": "scale", "scale": [1.0, 0.25, 0.25]}]
    axes = [{"name": "c", "type": "channel"}, *({"name": a, "type": "space", "unit": "micrometer"} for a in "yx")]
    datasets = [{"path": "0", "coordinateTransformations": scale}]
    root.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}


def test_labels_of_qpkit_predict_are_read_too(tmp_path: Path) -> None:
    from qpkit.formats.shared.ome_labels import write_label_image

    mask = draw_labels(DRAWING, Choices(labels=LABELS, downsample=4.0), what="").mask
    group = zarr.create_group(tmp_path / "a.ome.zarr", zarr_format=3)
    shape = (int(mask.shape[0]), int(mask.shape[1]))
    write_label_image(group, [(0, mask)], shape=shape, fill=0, labels=LABELS, name="a", step_um=1.0)
    (found,) = ome_zarr.read(tmp_path / "a.ome.zarr", IMAGE, Choices())
    again = draw_labels(replace(DRAWING, objects=found.objects), Choices(labels=LABELS, downsample=4.0), what="").mask
    assert np.array_equal(again, mask)


def test_a_slide_of_that_name_is_never_replaced(tmp_path: Path) -> None:
    from qpkit.qupath import write_geojson
    from qpkit.workflows.convert.convert import convert
    from qpkit.workflows.convert.settings import ConvertSettings

    slide = tmp_path / "slide.ome.zarr"
    make_image(slide, np.zeros((3, 4, 4), np.uint8))
    write_geojson(tmp_path / "a.geojson", DRAWING.objects)
    stated = ConvertSettings(target_format="ome-zarr", size=(3000, 2500), mpp=0.25, overwrite=True)
    with pytest.raises(OutputError, match="never replaced"):
        convert(tmp_path / "a.geojson", slide, stated)
    assert (slide / "0").is_dir()


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="no such folder"):
        ome_zarr.read(tmp_path / "gone.zarr", IMAGE, Choices())
    ome_zarr.write(tmp_path / "a.zarr", [DRAWING], Choices(labels=LABELS))
    with pytest.raises(ConfigError, match="--mpp"):
        ome_zarr.read(tmp_path / "a.zarr", ImageFacts(), Choices())
    make_image(tmp_path / "image.zarr", np.zeros((3, 4, 4), np.uint8))
    with pytest.raises(FormatError, match="no label images"):
        ome_zarr.read(tmp_path / "image.zarr", IMAGE, Choices())
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(FormatError, match=r"empty\.zarr"):
        ome_zarr.read(tmp_path / "empty.zarr", IMAGE, Choices())
    (tmp_path / "a.zarr" / "labels" / "classes" / "0" / "zarr.json").unlink()
    with pytest.raises(FormatError, match="damaged"):
        ome_zarr.read(tmp_path / "a.zarr", IMAGE, Choices())
