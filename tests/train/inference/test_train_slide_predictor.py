"""One slide's prediction with a model that looks at single pixels: the rasters are known to the bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile
from numpy.typing import NDArray

from qpkit.core.labels import LabelClass, LabelMap
from qpkit.errors import FormatError
from qpkit.progress import no_progress
from qpkit.slides import SlideSource, open_source
from qpkit_train.inference.pixels.uncertainty import entropy_bytes
from qpkit_train.inference.predicted import PredictedSlide
from qpkit_train.inference.settings import PredictSettings
from qpkit_train.inference.slide import SlidePredictor
from qpkit_train.inference.thresholds import threshold_levels
from qpkit_train.models.card import STRIDE, Answer, ModelCard

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

WIDTH, HEIGHT = 150, 100
LABELS = LabelMap(classes=(LabelClass("Dim", 2, ("Dim",)), LabelClass("Bright", 5, ("Bright",))))
CARD = ModelCard(
    run="r", name="pixels", where="here", labels=LABELS, mpp=0.5, downsample=None, trained={}, versions={}
)  # fmt: skip


def likeliest(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Channel by the red of a pixel: dark ground, dim, bright."""
    return np.digitize(pixels[..., 0], [60, 150]).astype(np.uint8)


def probabilities(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(classes, ...) 255 is 1: the likeliest has 128 and a half of the green, the others share the rest."""
    best = likeliest(pixels)
    sure = 128 + pixels[..., 1] // 2
    return np.stack([np.where(best == i, sure, (255 - sure) // 2) for i in range(3)]).astype(np.uint8)


class PixelModel:
    """Stands for a network; notes the shapes that it is given."""

    device_name, precision = "none", "none"
    notes: tuple[str, ...] = ()

    def __init__(self, card: ModelCard = CARD) -> None:
        self.card = card
        self.shapes: list[tuple[int, ...]] = []
        self.wanted: set[bool] = set()

    def room(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        return np.empty(shape, np.uint8)

    def levels(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint16]:
        return globals()["probabilities"](pixels).swapaxes(0, 1).astype(np.uint16) * np.uint16(257)

    def answer(self, pixels: NDArray[np.uint8], *, halo: int, probabilities: bool, uncertainty: bool = False) -> Answer:
        self.shapes.append(pixels.shape)
        self.wanted.add(probabilities)
        inner = pixels[:, halo : pixels.shape[1] - halo, halo : pixels.shape[2] - halo]
        found = globals()["probabilities"](inner).swapaxes(0, 1)
        unsure = entropy_bytes(found)[:, np.newaxis] if uncertainty else None
        return Answer(likeliest(inner), found if probabilities else None, unsure)


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 240, (HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def source(pixels: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> SlideSource:
    path = tmp_path_factory.mktemp("slide") / "noise.tif"
    tifffile.imwrite(path, pixels, tile=(64, 64), photometric="rgb")
    return SlideSource(name="noise", path=path, mpp=0.5)


SETTINGS = PredictSettings(probabilities=True, tile_px=64, halo_px=32, only_tissue=False)


def predicted(
    source: SlideSource, root: Path, settings: PredictSettings = SETTINGS, *, model: PixelModel | None = None,
    limits: dict[str, float] | None = None,
) -> PredictedSlide:  # fmt: skip
    root.mkdir(exist_ok=True)
    model = model or PixelModel()
    with open_source(source) as slide:
        levels = threshold_levels(limits or {}, model.card.labels)
        job = SlidePredictor(model.card, source, slide, root, "noise", settings, levels)
        described = job.described()
        assert (described.width, described.height, described.name) == (WIDTH, HEIGHT, "noise")
        assert (described.probabilities is not None) == settings.probabilities
        return job.run_with(model, no_progress)


def raster(root: Path, name: str = "labels") -> NDArray[np.uint8]:
    with rasterio.open(root / f"noise.{name}.tif") as dataset:
        return np.asarray(dataset.read())


@pytest.mark.parametrize(("tile", "halo", "batch"), [(32, 0, 1), (64, 32, 3), (96, 32, 2), (256, 64, 4)])
def test_the_rasters_are_the_models_answers_whatever_the_tiles(
    source: SlideSource, pixels: NDArray[np.uint8], tmp_path: Path, tile: int, halo: int, batch: int
) -> None:
    model = PixelModel()
    settings = replace(SETTINGS, tile_px=tile, halo_px=halo, batch_size=batch)
    report = predicted(source, tmp_path, settings, model=model)
    labels = raster(tmp_path)[0]
    assert np.array_equal(labels, np.array(LABELS.trained_values)[likeliest(pixels)])
    assert np.array_equal(raster(tmp_path, "probabilities"), probabilities(pixels))
    assert report.tiles == report.predicted == -(-WIDTH // tile) * -(-HEIGHT // tile)
    assert sum(shape[0] for shape in model.shapes) == report.tiles
    assert all(shape[0] <= batch and shape[1:] == (tile + 2 * halo, tile + 2 * halo, 3) for shape in model.shapes)
    assert (tile + 2 * halo) % STRIDE == 0
    assert report.pixels == {LABELS.name_of(v): int((labels == v).sum()) for v in LABELS.trained_values}
    assert (report.tissue, report.notes) == (1.0, ())


def test_probabilities_are_asked_for_only_where_somebody_uses_them(source: SlideSource, tmp_path: Path) -> None:
    plain = replace(SETTINGS, probabilities=False)
    for settings, limits, wanted in ((plain, {}, False), (plain, {"Dim": 0.5}, True), (SETTINGS, {}, True)):
        model = PixelModel()
        predicted(source, tmp_path / str(len(limits)), settings, model=model, limits=limits)
        assert model.wanted == {wanted}


@pytest.mark.parametrize("tile", [50, 64])
def test_what_is_less_sure_than_its_limit_is_background(
    source: SlideSource, pixels: NDArray[np.uint8], tmp_path: Path, tile: int
) -> None:
    # Tiles of 64 px reach over the edge, where white is as sure as can be.
    whole = replace(SETTINGS, tile_px=tile)
    report = predicted(source, tmp_path, whole, limits={"Dim": 0.75, "Bright": 1.0})
    best, sure = likeliest(pixels), probabilities(pixels).max(axis=0)
    expected = np.where((best == 1) & (sure >= round(255 * 0.75)), 2, 0)
    assert np.array_equal(raster(tmp_path)[0], expected)
    assert np.array_equal(raster(tmp_path, "probabilities"), probabilities(pixels))
    (note,) = report.notes
    assert note.startswith(f"Bright: the likeliest class of {(best == 2).sum():,} px, and of none")


@pytest.mark.parametrize("background", [0, 7])
def test_glass_is_background_and_sure(tmp_path: Path, pixels: NDArray[np.uint8], background: int) -> None:
    shown = pixels.copy()
    shown[..., 1] //= 4  # coloured: tissue
    shown[:, 80:] = 255  # in the middle of a tile
    path = tmp_path / "half.tif"
    tifffile.imwrite(path, shown, tile=(64, 64), photometric="rgb")
    card = replace(CARD, labels=replace(LABELS, background=background))
    model = PixelModel(card)
    settings = replace(SETTINGS, tile_px=32, only_tissue=True)
    half = SlideSource(name="noise", path=path, mpp=0.5)
    report = predicted(half, tmp_path / "out", settings, model=model)
    assert report.predicted < report.tiles and 0.3 < report.tissue < 0.8
    labels, bands = raster(tmp_path / "out")[0], raster(tmp_path / "out", "probabilities")
    channel = card.labels.trained_values.index(background)
    assert (labels[:, 88:] == background).all()
    assert (bands[channel, :, 88:] == 255).all() and not np.delete(bands, channel, axis=0)[:, :, 88:].any()
    inside = np.s_[8:-8, 8:72]
    values = np.array(card.labels.trained_values)
    assert np.array_equal(labels[inside], values[likeliest(shown)][inside])
    assert report.pixels == {
        card.labels.name_of(v): int((labels[:, :96] == v).sum()) for v in card.labels.trained_values
    }


def test_a_model_is_applied_at_its_own_resolution_or_not_at_all(source: SlideSource, tmp_path: Path) -> None:
    def downsample(card: ModelCard, slide: SlideSource) -> float:
        with open_source(slide) as opened:
            return SlidePredictor(
                card, slide, opened, tmp_path, "noise", SETTINGS, np.zeros(3, np.uint8)
            ).grid.downsample

    unknown = SlideSource(name="noise", path=source.path)
    assert downsample(CARD, source) == 1.0
    assert downsample(replace(CARD, mpp=2.0), source) == 4.0
    assert downsample(replace(CARD, mpp=None, downsample=3.0), unknown) == 3.0
    with pytest.raises(FormatError, match="um/px is unknown"):
        downsample(CARD, unknown)
    with pytest.raises(FormatError, match="neither um/px nor one downsample"):
        downsample(replace(CARD, mpp=None), source)


def test_the_number_of_reading_threads_does_not_change_a_byte(source: SlideSource, tmp_path: Path) -> None:
    files = {}
    for readers in (None, 1, 2, 5):
        root = tmp_path / str(readers)
        report = predicted(source, root, replace(SETTINGS, tile_px=32, batch_size=3, readers=readers))
        assert (report.speed is not None and report.speed.readers == readers) or readers is None
        files[readers] = [(path.name, path.read_bytes()) for path in sorted(root.iterdir())]
    assert all(found == files[None] for found in files.values())


def test_glass_is_not_written(tmp_path: Path) -> None:
    shown = np.full((600, 2100, 3), 255, np.uint8)
    shown[100:400, 100:300] = (200, 40, 120)
    path = tmp_path / "half.tif"
    tifffile.imwrite(path, shown, tile=(64, 64), photometric="rgb")
    predicted_here = replace(SETTINGS, tile_px=64, only_tissue=True)
    root = tmp_path / "out"
    root.mkdir()
    with open_source(SlideSource(name="noise", path=path, mpp=0.5)) as slide:
        source = SlideSource(name="noise", path=path, mpp=0.5)
        job = SlidePredictor(CARD, source, slide, root, "noise", predicted_here, np.zeros(3, np.uint8))
        job.run_with(PixelModel(), no_progress)
    with tifffile.TiffFile(root / "noise.labels.tif") as tiff:
        first, *others = tiff.pages[0].dataoffsets
        assert len(others) == 9 and set(others) == {others[0]} and first != others[0]
    assert (raster(root, "probabilities")[0, :, 400:] == 255).all()
    assert not raster(root, "probabilities")[1:, :, 400:].any()


def test_seams_are_the_jumps_at_the_borders_of_tiles(
    source: SlideSource, pixels: NDArray[np.uint8], tmp_path: Path
) -> None:
    report = predicted(source, tmp_path, replace(SETTINGS, tile_px=64))
    sure = probabilities(pixels).astype(int)
    columns = [abs(sure[:, :, x] - sure[:, :, x - 1]).ravel() for x in (64, 128)]
    borders = np.concatenate([*columns, abs(sure[:, 64] - sure[:, 63]).ravel()])
    assert report.seams is not None
    assert report.seams.at_borders == pytest.approx(borders.mean() / 255, abs=1e-5)
    assert report.seams.ratio == pytest.approx(1, abs=0.15)
