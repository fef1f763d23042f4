"""Layers for napari, through the API by which napari finds its plugins; no window is opened."""

from __future__ import annotations

import importlib.metadata
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import qpkit
from qpkit.core.labels import LabelClass, LabelMap
from qpkit.dataset import read_tile_set
from qpkit.errors import FormatError
from qpkit.predictions import PredictionSet, SlidePrediction, create_raster, write_predictions
from qpkit.workflows.layers import LazyArray, napari_reader, read_layers

KEPT = Path(__file__).parents[1] / "kept"
MANIFEST = Path(qpkit.__file__).with_name("napari.yaml")


def npe2() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own use of pydantic
        return pytest.importorskip("npe2", reason="pip install npe2")


@pytest.fixture
def predictions(tmp_path: Path) -> tuple[Path, np.ndarray]:
    labels = np.random.default_rng(0).choice([0, 2], (1300, 1700)).astype(np.uint8)
    root = tmp_path / "predictions"
    root.mkdir()
    with create_raster(root / "a.tif", width=1700, height=1300, downsample=2.0, mpp=0.5) as raster:
        raster.write(labels, x=0, y=0)
    slide = SlidePrediction(
        name="a", image="a.svs", width=3400, height=2600, downsample=2.0, mpp=0.5, labels="a.tif"
    )  # fmt: skip
    named = LabelMap(classes=(LabelClass("Tumor", 2, ("Tumor",), -65536),))
    write_predictions(PredictionSet(root=root, run="r", model="m", label_map=named, slides=(slide,), info={}))
    return root, labels


def test_npe2_accepts_the_manifest_and_reads_predictions(
    predictions: tuple[Path, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = npe2()
    manifest = found.PluginManifest.from_file(MANIFEST)
    manifest.validate_imports()
    plugins = found.PluginManager()
    plugins.register(manifest)
    root, labels = predictions
    monkeypatch.setattr(found.PluginManager, "instance", lambda: plugins)
    ((levels, about, kind),) = found.read([str(root)], stack=False)
    assert (kind, about["name"], about["scale"]) == ("labels", "a", (0.5, 0.5))
    assert np.array_equal(levels[0][...], labels)
    with tifffile.TiffFile(root / "a.tif") as tiff:
        assert [level.shape for level in levels] == [page.shape for page in tiff.pages]
        assert all(np.array_equal(level, page.asarray()) for level, page in zip(levels, tiff.pages, strict=True))
    assert about["colormap"][2] == [1.0, 0.0, 0.0, 1.0]
    assert about["features"]["class"] == ["background", "Tumor", "ignore"]


def test_the_installed_package_names_its_manifest() -> None:
    named = importlib.metadata.entry_points(group="napari.manifest")
    if "qpkit" not in named.names:
        pytest.skip("installed before the entry point was there; pip install -e . again")
    assert named["qpkit"].value == "qpkit:napari.yaml"


def test_tiles_are_read_one_by_one() -> None:
    tiles = read_tile_set(KEPT / "tiles")
    (images, about, kind), (masks, said, other) = read_layers(str(KEPT / "tiles"))
    assert (kind, other, about["rgb"]) == ("image", "labels", True)
    assert (images.shape, masks.shape, images.ndim) == ((9, 32, 32, 3), (9, 32, 32), 4)
    for number, tile in enumerate(tiles.tiles):
        assert np.array_equal(images[number], tiles.read_image(tile))
        assert np.array_equal(masks[number, 3:9], tiles.read_mask(tile)[3:9])
    whole = np.stack([tiles.read_image(tile) for tile in tiles.tiles])
    assert np.array_equal(np.asarray(images), whole)
    for key in ((-1,), (slice(2, 5), slice(1, 3)), (Ellipsis, 0), (slice(None), 4, slice(None, None, 2))):
        assert np.array_equal(images[key], whole[key])
    assert said["features"]["class"] == ["background", "Lesion", "Other", "ignore"]


def test_windows_of_a_raster_are_those_of_the_array(predictions: tuple[Path, np.ndarray]) -> None:
    root, labels = predictions
    ((levels, _, _),) = read_layers([str(root / "predictions.json")])
    for key in ((5, 7), (slice(600, 3), 0), (slice(10, 90, 3), slice(-40, None)), (7,), (slice(9, 2, -1), slice(0, 2))):
        assert np.array_equal(levels[0][key], labels[key])
    assert isinstance(levels[0], LazyArray)


def test_other_folders_are_left_to_other_readers(tmp_path: Path) -> None:
    assert napari_reader(str(tmp_path)) is None
    assert napari_reader([str(KEPT / "tiles"), str(KEPT / "predictions")]) is None
    (tmp_path / "x.json").write_text("{}")
    assert napari_reader(str(tmp_path / "x.json")) is None
    with pytest.raises(FormatError, match="neither tiles nor predictions"):
        read_layers(str(tmp_path))
