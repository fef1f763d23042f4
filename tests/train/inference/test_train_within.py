"""A slide that is predicted only inside annotations: there as all of it, elsewhere not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
import tifffile
from numpy.typing import NDArray
from test_train_slide_predictor import CARD, LABELS, PixelModel

from qpkit.core.annotation import Annotation
from qpkit.predictions import read_predictions
from qpkit.slides import SlideSource
from qpkit_train.inference.predict import predict
from qpkit_train.inference.report import PredictReport
from qpkit_train.inference.running import opening
from qpkit_train.inference.settings import PredictSettings

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

WIDTH, HEIGHT = 1300, 1100
SETTINGS = PredictSettings(probabilities=True, tile_px=64, halo_px=32)
AREA = shapely.box(100, 80, 500, 300).difference(shapely.box(200, 100, 300, 220))


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pixels = np.random.default_rng(0).integers(0, 240, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    pixels[:, 400:] = 255  # glass, also inside the area
    path = tmp_path_factory.mktemp("within") / "s.tif"
    tifffile.imwrite(path, pixels, tile=(64, 64), photometric="rgb")
    return path


def predicted(
    slide: Path, out: Path, settings: PredictSettings, *, areas: list[Annotation] | None, background: int = 0
) -> PredictReport:
    card = replace(CARD, labels=replace(LABELS, background=background))
    model = out.parent / "model.onnx"
    model.write_bytes(b"weights")
    source = SlideSource(name="s", path=slide, mpp=0.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "open_one", lambda *_: PixelModel(card))
        return predict(model, [source], out, settings, areas=None if areas is None else {"s": areas})


def raster(root: Path, name: str) -> NDArray[np.uint8]:
    with rasterio.open(root / f"s.{name}.tif") as dataset:
        return np.asarray(dataset.read())


@pytest.mark.parametrize("blend", ["crop", "linear"])
@pytest.mark.parametrize("background", [0, 7])
def test_inside_it_is_the_whole_prediction_and_outside_nothing_is_said(
    slide: Path, tmp_path: Path, blend: str, background: int
) -> None:
    plain = replace(SETTINGS, blend=blend)
    whole = predicted(slide, tmp_path / "whole", plain, areas=None, background=background)
    within = replace(plain, within="Region*")
    areas = [Annotation(geometry=AREA)]
    some = predicted(slide, tmp_path / "some", within, areas=areas, background=background)
    inside = np.zeros((HEIGHT, WIDTH), bool)
    inside[80:300, 100:500] = True
    inside[100:220, 200:300] = False
    same = inside.copy()
    if blend != "crop":  # near tiles that are not predicted here, others have less to say
        same[:] = False
        same[130:250, 140:180] = True
    labels, bands = raster(tmp_path / "some", "labels")[0], raster(tmp_path / "some", "probabilities")
    assert np.array_equal(labels[same], raster(tmp_path / "whole", "labels")[0][same])
    assert np.array_equal(bands[:, same], raster(tmp_path / "whole", "probabilities")[:, same])
    assert (labels[~inside] == LABELS.ignore).all() and not bands[:, ~inside].any()
    assert (labels[inside] != LABELS.ignore).all()
    (row,), (all_of_it,) = some.slides, whole.slides
    assert row.not_predicted == (~inside).sum() and all_of_it.not_predicted == 0
    assert sum(row.pixels.values()) == (inside & (np.arange(WIDTH) < 448)).sum()
    assert row.predicted < all_of_it.predicted / 4
    assert any(note.endswith("outside --within Region* were not predicted") for note in row.notes)
    (described,) = read_predictions(tmp_path / "some").slides
    assert described.within == "Region*" and read_predictions(tmp_path / "whole").slides[0].within is None


def test_what_is_not_predicted_takes_no_room(slide: Path, tmp_path: Path) -> None:
    small = Annotation(geometry=shapely.box(100, 80, 200, 120))
    predicted(slide, tmp_path / "out", replace(SETTINGS, within="x"), areas=[small])
    with tifffile.TiffFile(tmp_path / "out" / "s.labels.tif") as tiff:
        first, *others = tiff.pages[0].dataoffsets
        assert len(set(others)) == 1 and first != others[0]
        assert "GDAL_NODATA" not in tiff.pages[0].tags  # who reads it sees the label, not a gap
        assert (tiff.pages[0].asarray()[512:] == LABELS.ignore).all()
        assert (tiff.pages[1].asarray()[256:] == LABELS.ignore).all()
