"""Labels as OME-Zarr: the same pixels, with what viewers need to know."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qpkit.core.labels import LabelClass, LabelMap
from qpkit.predictions import SlidePrediction, create_raster
from qpkit.predictions.ome_zarr import CHUNK, write_ome_zarr
from qpkit.slides import open_slide

zarr = pytest.importorskip("zarr", reason="zarr is not installed (extra: zarr)")

LABELS = LabelMap(classes=(LabelClass("Tumor", 2, ("Tumor",), -65536), LabelClass("Stroma", 5, ("Stroma",))))


@pytest.mark.parametrize("within", [None, "Region*"])
def test_levels_are_the_raster_s_pixels_with_their_classes(tmp_path: Path, within: str | None) -> None:
    width, height, fill = 2 * CHUNK + 301, CHUNK + 77, 0 if within is None else LABELS.ignore
    labels = np.full((height, width), fill, np.uint8)
    labels[100:400, 300:900] = np.random.default_rng(0).choice([0, 2, 5], (300, 600))
    with create_raster(tmp_path / "s.tif", width=width, height=height, downsample=2.0, mpp=0.5, fill=fill) as raster:
        raster.write(labels[:512], x=0, y=0)
    slide = SlidePrediction(
        name="s", image="s.svs", width=2 * width, height=2 * height, downsample=2.0, mpp=0.5, labels="s.tif",
        within=within,
    )  # fmt: skip
    write_ome_zarr(tmp_path / "s.tif", tmp_path / "s.ome.zarr", LABELS, slide)
    group = zarr.open_group(tmp_path / "s.ome.zarr", mode="r")
    for level in range(3):
        assert np.array_equal(group[str(level)][:], labels[:: 2**level, :: 2**level])
    assert "3" not in group
    chunks = [path for path in (tmp_path / "s.ome.zarr/0/c").rglob("*") if path.is_file()]
    assert len(chunks) == 1  # all others hold nothing but the fill
    ome = group.attrs["ome"]
    assert ome["version"] == "0.5"
    scales = [item["coordinateTransformations"][0]["scale"] for item in ome["multiscales"][0]["datasets"]]
    assert scales == [[0.5, 0.5], [1.0, 1.0], [2.0, 2.0]]
    classes = {item["label-value"]: item["class"] for item in ome["image-label"]["properties"]}
    assert classes == {0: "background", 2: "Tumor", 5: "Stroma", 255: "ignore"}
    colors = {item["label-value"]: item["rgba"] for item in ome["image-label"]["colors"]}
    assert colors.keys() == classes.keys()  # the validator of ome-zarr-models asks for it
    assert (colors[0], colors[2]) == ([0, 0, 0, 0], [255, 0, 0, 255])
    with open_slide(tmp_path / "s.ome.zarr") as opened:
        assert (opened.info.width, opened.info.height, opened.info.mpp) == (width, height, 0.5)
