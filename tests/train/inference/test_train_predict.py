"""From a run and a slide to rasters."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile
import torch
from numpy.typing import NDArray
from tiny_tiles import paint, square_mask, tiny_recipe, write_tiles

import qpkit
from qpkit.errors import ConfigError, FormatError, OutputError
from qpkit.predictions import read_predictions
from qpkit.slides import Crop, SlideSource, Turn
from qpkit_train.inference.predict import predict
from qpkit_train.inference.running.opening import card_of
from qpkit_train.inference.running.torch_model import Predictor
from qpkit_train.inference.settings import PredictSettings
from qpkit_train.inference.thresholds import parse_thresholds, resolved_thresholds
from qpkit_train.loop import fit
from qpkit_train.models.card import Answer
from qpkit_train.run_folder.run import load_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
]

WIDTH, HEIGHT = 700, 460
"""Of the slide at 0.25 um/px; the run is at 0.5."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learned that bright is Lesion."""
    root = tmp_path_factory.mktemp("predict")
    rng = np.random.default_rng(0)
    masks = [("train", square_mask(rng, value)) for value in [1] * 12 + [0] * 12]
    masks += [("val", square_mask(rng, value)) for value in (1, 1, 0, 0)]
    tiles = write_tiles(root / "tiles", masks)
    recipe = tiny_recipe("optim.epochs=8", "data.batch_size=8", "optim.lr=3e-3", "sampler.ratio=[1,1]")
    fit(tiles, root / "run", recipe)
    return root / "run"


@pytest.fixture
def truth() -> NDArray[np.uint8]:
    """(230, 350) mask at 0.5 um/px; columns from 224 on are glass in the slide."""
    mask = np.zeros((HEIGHT // 2, WIDTH // 2), np.uint8)
    mask[20:44, 30:54] = 1
    mask[150:175, 120:145] = 1
    mask[100:120, 55:75] = 1
    return mask


@pytest.fixture
def slide(tmp_path: Path, truth: NDArray[np.uint8]) -> Path:
    """A slide of the truth with glass on the right."""
    pixels = paint(truth, np.random.default_rng(5)).repeat(2, axis=0).repeat(2, axis=1)
    pixels[:, 448:] = 255
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, pixels, tile=(128, 128), photometric="rgb")
    return path


def read(path: Path) -> NDArray[np.uint8]:
    with rasterio.open(path) as dataset:
        return np.asarray(dataset.read())


def test_a_run_finds_what_it_learned_at_its_own_resolution(
    run: Path, slide: Path, truth: NDArray[np.uint8], tmp_path: Path
) -> None:
    seen: list[tuple[int, int, str]] = []
    source = SlideSource(name="A slide", path=slide, entry="7", mpp=0.25)
    report = predict(
        run,
        [source],
        tmp_path / "out",
        PredictSettings(probabilities=True, tile_px=64),
        on_progress=lambda *a: seen.append(a),
    )
    found = read_predictions(tmp_path / "out")
    (item,) = found.slides
    assert (found.run, found.model, found.label_map) == (report.run, "unet-resnet18", load_run(run).labels)
    assert (item.name, item.entry, item.downsample, item.mpp) == ("A slide", "7", 2.0, 0.5)
    assert (item.width, item.height) == (WIDTH, HEIGHT)
    labels = read(tmp_path / "out" / item.labels)[0]
    assert labels.shape == truth.shape
    said, there = labels[:, :190] == 1, truth[:, :190] == 1  # it has never seen glass, which begins at 224
    assert 2 * (said & there).sum() / (said.sum() + there.sum()) > 0.8
    assert item.probabilities is not None
    probabilities = read(tmp_path / "out" / item.probabilities)
    assert probabilities.shape == (3, *truth.shape)
    values = np.array(found.label_map.trained_values)
    clear = np.sort(probabilities, axis=0)[-1].astype(int) - np.sort(probabilities, axis=0)[-2] > 1
    assert np.array_equal(values[probabilities.argmax(axis=0)][clear], labels[clear])
    (row,) = report.slides
    assert (row.tiles, row.predicted) == (24, 16)
    assert (labels[:, 256:] == 0).all()
    assert (probabilities[0, :, 256:] == 255).all()
    assert sum(row.pixels.values()) == 256 * truth.shape[0]
    assert row.pixels["Lesion"] == (labels == 1).sum()
    assert 0.3 < row.tissue < 0.65
    assert seen[-1] == (24, 24, "A slide")


@pytest.mark.parametrize("threshold", [0.0, 0.6, 0.95, 1.0])
def test_a_threshold_leaves_only_what_the_model_is_surer_of(
    run: Path, slide: Path, tmp_path: Path, threshold: float
) -> None:
    source = SlideSource(name="s", path=slide, mpp=0.25)
    for out, thresholds in (("all", {}), ("sure", {"Lesion": threshold})):
        predict(run, [source], tmp_path / out, PredictSettings(probabilities=True, thresholds=thresholds))
    plain, sure = (read(tmp_path / out / "s.labels.tif")[0] for out in ("all", "sure"))
    probabilities = read(tmp_path / "all" / "s.probabilities.tif")
    assert np.array_equal(probabilities, read(tmp_path / "sure" / "s.probabilities.tif"))
    expected = np.where((plain == 1) & (probabilities[1] < round(255 * threshold)), 0, plain)
    assert np.array_equal(sure, expected)
    assert threshold < 0.95 or (sure == 1).sum() < (plain == 1).sum()
    assert read_predictions(tmp_path / "sure").info["settings"]["thresholds"] == {"Lesion": threshold}


def test_a_class_that_is_nowhere_as_likely_as_it_has_to_be_is_named(
    run: Path, slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a model that was trained for too few steps, here one that is never surer than 200 / 255."""
    real = Predictor.answer_there

    def unsure(self: Predictor, pixels: Any, **how: Any) -> Answer:
        found = real(self, pixels, **how)
        if found.probabilities is None:
            return found
        return found._replace(probabilities=found.probabilities.clamp(max=200))

    monkeypatch.setattr(Predictor, "answer_there", unsure)
    for probability, names in ((0.0, []), (0.7, []), (0.8, ["Lesion"])):
        source = SlideSource(name="s", path=slide, mpp=0.25)
        report = predict(
            run, [source], tmp_path / str(probability), PredictSettings(thresholds={"Lesion": probability})
        )
        notes = [note for note in report.slides[0].notes if "all of it is background" in note]
        assert [note.split(":")[0] for note in notes] == names
        assert (report.slides[0].pixels["Lesion"] == 0) == bool(names)


@pytest.mark.parametrize("name", ["Leson", "background"])
def test_a_threshold_of_no_class_is_refused_before_anything_is_written(
    run: Path, slide: Path, tmp_path: Path, name: str
) -> None:
    with pytest.raises(ConfigError, match=f"threshold of '{name}': the model has no such class"):
        predict(
            run,
            [SlideSource(name="s", path=slide, mpp=0.25)],
            tmp_path / "out",
            PredictSettings(thresholds={name: 0.5}),
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["Tumor", "Tumor=", "=0.5", "Tumor=1.5", "Tumor=nan", "Tumor=x"])
def test_a_threshold_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="CLASS=PROBABILITY"):
        parse_thresholds([text])
    assert parse_thresholds(["Tumor: in = situ=0.25"]) == {"Tumor: in = situ": 0.25}


def test_natural_thresholds_undo_the_sampler(run: Path, slide: Path, tmp_path: Path) -> None:
    """At even odds among the tiles, not among what the sampler showed: with half of the tiles drawn twice as often."""
    card = load_run(run).card()
    shown, there = ({k: float(v) for k, v in card.trained[key].items()} for key in ("pixels_shown", "pixels_there"))
    (probability,) = resolved_thresholds("natural", card).values()  # no training tile shows Other
    odds = (
        probability
        / (1 - probability)
        * there["Lesion"]
        / there["background"]
        / (shown["Lesion"] / shown["background"])
    )
    assert odds == pytest.approx(1, abs=0.01)
    report = predict(
        run, [SlideSource(name="s", path=slide, mpp=0.25)], tmp_path / "out", PredictSettings(thresholds="natural")
    )
    assert report.thresholds == {"Lesion": probability}
    silent = replace(card, trained={})
    with pytest.raises(ConfigError, match="does not say what it was shown"):
        resolved_thresholds("natural", silent)


def test_the_tile_size_does_not_change_the_prediction(run: Path, slide: Path, tmp_path: Path) -> None:
    rasters = []
    for tile in (64, 160):
        source = SlideSource(name="s", path=slide, mpp=0.25)
        out = tmp_path / str(tile)
        predict(run, [source], out, PredictSettings(probabilities=True, tile_px=tile, halo_px=96, only_tissue=False))
        rasters.append(read(out / "s.probabilities.tif").astype(int))
    assert np.abs(rasters[0] - rasters[1]).max() <= 1


def test_the_same_prediction_twice_gives_the_same_pixels(run: Path, slide: Path, tmp_path: Path) -> None:
    for name, readers in (("a", 1), ("b", 3)):
        how = PredictSettings(batch_size=2, tile_px=96, readers=readers, probabilities=True)
        predict(run, [SlideSource(name="s", path=slide, mpp=0.25)], tmp_path / name, how)
    for raster in ("s.labels.tif", "s.probabilities.tif"):
        assert (tmp_path / "a" / raster).read_bytes() == (tmp_path / "b" / raster).read_bytes()


def test_an_ensemble_with_itself_and_turned_tiles_is_near_the_model(run: Path, slide: Path, tmp_path: Path) -> None:
    source = SlideSource(name="s", path=slide, mpp=0.25)
    plain = PredictSettings(tile_px=96, probabilities=True)
    for name, how in (("plain", plain), ("twice", replace(plain, others=(run,))), ("d4", replace(plain, tta="d4"))):
        predict(run, [source], tmp_path / name, how)
    found = {name: read(tmp_path / name / "s.probabilities.tif").astype(int) for name in ("plain", "twice", "d4")}
    assert np.abs(found["plain"] - found["twice"]).max() <= 1
    assert 0 < np.abs(found["plain"] - found["d4"]).mean() < 25
    assert read_predictions(tmp_path / "twice").info["settings"]["others"] == [str(run)]


def test_a_compiled_network_says_the_same(
    run: Path, slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the front half of torch.compile, which gives the same operations back: the other half takes minutes."""
    whole, how = torch.compile, PredictSettings(probabilities=True, tile_px=96)
    monkeypatch.setattr(torch, "compile", lambda network: whole(network, backend="eager"))
    source = SlideSource(name="s.tif", path=slide, mpp=0.5)
    for name, settings in (("plain", how), ("compiled", replace(how, compile=True))):
        predict(run, [source], tmp_path / name, settings)
    one, other = (read(tmp_path / name / "s.tif.probabilities.tif").astype(int) for name in ("plain", "compiled"))
    assert np.abs(one - other).max() <= 1
    with pytest.raises(ConfigError, match="--compile: not with --calibrate"):
        PredictSettings(compile=True, calibrate="batch-norm")
    with pytest.raises(ConfigError, match="--compile goes with run folders"):
        card_of(tmp_path / "model.onnx", PredictSettings(compile=True))


def test_a_slide_that_is_shown_turned_is_predicted_in_that_frame(run: Path, slide: Path, tmp_path: Path) -> None:
    """As if the pixels had been turned in the file."""
    turned = tmp_path / "turned.tif"
    pixels = np.ascontiguousarray(np.rot90(tifffile.imread(slide), -1)[20:620, 30:400])
    tifffile.imwrite(turned, pixels, tile=(128, 128), photometric="rgb")
    shown = SlideSource(name="s", path=slide, mpp=0.25, steps=(Turn(1), Crop(30, 20, 370, 600)))
    for name, source in (("shown", shown), ("file", SlideSource(name="s", path=turned, mpp=0.25))):
        predict(run, [source], tmp_path / name, PredictSettings(tile_px=96))
    (row,) = read_predictions(tmp_path / "shown").slides
    assert (row.width, row.height) == (370, 600)
    labels = read(tmp_path / "shown" / "s.labels.tif")
    assert (labels == 1).any()
    assert np.array_equal(labels, read(tmp_path / "file" / "s.labels.tif"))


def test_a_slide_that_cannot_be_opened_is_left_out_and_named(run: Path, slide: Path, tmp_path: Path) -> None:
    (tmp_path / "slides").mkdir()
    shutil.copy(slide, tmp_path / "slides" / "good.tif")
    (tmp_path / "slides" / "bad.svs").write_bytes(b"x")
    how = qpkit.PredictSettings(tile_px=128, halo_px=32)
    for shard in (None, (1, 1)):
        out = tmp_path / f"out {shard}"
        report = qpkit.predict(
            run, tmp_path / "slides", out, how, slides=qpkit.SlideSettings(slide_mpp=0.25), shard=shard
        )
        assert [row.name for row in report.slides] == ["good.tif"]
        assert report.is_partial
        assert [name for name, _ in read_predictions(out).info["skipped"]] == ["bad.svs"]
    again = qpkit.predict(run, tmp_path / "slides", out, how, slides=qpkit.SlideSettings(slide_mpp=0.25), shard=(1, 1))
    assert dict(again.skipped).keys() == {"bad.svs"}


def test_a_bad_slide_is_skipped_and_named_and_the_others_are_predicted(run: Path, slide: Path, tmp_path: Path) -> None:
    sources = [
        SlideSource(name="gone", path=tmp_path / "gone.svs", mpp=0.25),
        SlideSource(name="unsized", path=slide),
        SlideSource(name="good", path=slide, mpp=0.25),
        SlideSource(name="good!", path=slide, mpp=0.25),
    ]
    report = predict(run, sources, tmp_path / "out", PredictSettings(tile_px=128, halo_px=32))
    assert [row.name for row in report.slides] == ["good", "good!"]
    assert dict(report.skipped).keys() == {"gone", "unsized"}
    assert "--slide-mpp" in dict(report.skipped)["unsized"]
    files = [item.labels for item in read_predictions(tmp_path / "out").slides]
    assert len(set(files)) == 2


def test_when_nothing_can_be_predicted_nothing_is_left_behind(run: Path, slide: Path, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"um/px is unknown .*--slide-mpp"):
        predict(run, [SlideSource(name="s", path=slide)], tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["slide.tif"]
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "x").touch()
    with pytest.raises(OutputError, match="something already"):
        predict(run, [SlideSource(name="s", path=slide, mpp=0.25)], tmp_path / "taken")


def test_a_slide_without_colour_is_predicted_whole_and_says_so(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "grey.tif"
    tifffile.imwrite(path, np.full((256, 256, 3), 90, np.uint8), tile=(128, 128), photometric="rgb")
    report = predict(
        run, [SlideSource(name="g", path=path, mpp=0.5)], tmp_path / "out", PredictSettings(tile_px=128, halo_px=32)
    )
    assert report.slides[0].predicted == report.slides[0].tiles == 4
    assert "no tissue could be told" in report.slides[0].notes[0]
