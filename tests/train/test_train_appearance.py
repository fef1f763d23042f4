"""How far a slide is from what a model has learned from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from tiny_tiles import MakeTiles, tiny_recipe

from qpkit.predictions import read_predictions
from qpkit.slides import SlideSource
from qpkit_train.appearance import FEATURES, Appearance, appearance_of, look_in_parts, look_of
from qpkit_train.inference.predict import predict
from qpkit_train.inference.running.onnx_export import export_onnx
from qpkit_train.inference.settings import PredictSettings
from qpkit_train.loop import fit
from qpkit_train.run_folder.run import load_run

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def tissue(seed: int, *, shift: int = 0, side: int = 96) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).normal((170, 90, 150), 25, (side, side, 3)) + shift
    return noise.clip(0, 255).astype(np.uint8)


def looks(*seeds: int, shift: int = 0) -> list[NDArray[np.float64]]:
    found = [look_of(tissue(seed, shift=shift)) for seed in seeds]
    return [look for look in found if look is not None]


@pytest.fixture(scope="module")
def appearance() -> Appearance:
    made = appearance_of({f"slide {i}": looks(*range(9 * i, 9 * i + 9), shift=4 * i) for i in range(4)}, [1.0, 2.0])
    assert made is not None
    return made


def test_a_slide_like_the_others_is_near_and_one_in_other_colours_far(appearance: Appearance) -> None:
    low, high = appearance.left_out() or (0.0, 0.0)
    assert 0 < low < high < 3
    assert appearance.distance(np.mean(looks(90, 91, 92, shift=6), axis=0)) < high
    for look, feature in ((tissue(95) // 2, "OD"), (np.repeat(tissue(95)[::4], 4, axis=0), "sharpness")):
        found = look_of(look)
        assert found is not None and appearance.distance(found) > 3
        assert feature in appearance.strangest(found)


def test_distance_is_mahalanobis(appearance: Appearance) -> None:
    means = np.array(list(appearance.slides.values()))
    assert appearance.distance(means.mean(axis=0)) == 0
    one = looks(99)[0]
    twice = means.mean(axis=0) + 2 * (one - means.mean(axis=0))
    assert appearance.distance(twice) == pytest.approx(2 * appearance.distance(one))
    assert len(one) == len(FEATURES)


def test_glass_has_no_look_and_one_slide_no_range() -> None:
    assert look_of(np.full((64, 64, 3), 240, np.uint8)) is None
    assert appearance_of({"a": []}, [1.0]) is None
    one = appearance_of({"a": looks(1, 2)}, [1.0])
    assert one is not None and one.left_out() is None and np.isfinite(one.distance(looks(3)[0]))


def blobs(seed: int, *, zoom: int) -> NDArray[np.uint8]:
    """Soft structures on pink, `zoom` times as large."""
    noise = gaussian_filter(np.random.default_rng(seed).standard_normal((256, 256)), 1.5 * zoom)
    return (np.array((150, 90, 140)) + 25 * (noise / noise.std())[..., np.newaxis]).clip(0, 255).astype(np.uint8)


def test_structures_of_twice_the_size_are_noticed_and_those_of_one_are_not() -> None:
    measured = {f"slide {i}": [look_of(blobs(10 * i + j, zoom=2)) for j in range(3)] for i in range(3)}
    made = appearance_of({name: [x for x in found if x is not None] for name, found in measured.items()}, [1.0])
    assert made is not None
    ratios = []
    for zoom in (1, 2, 4):
        look = look_of(blobs(99, zoom=zoom))
        assert look is not None
        ratios.append(made.odd_size(look))
    smaller, same, larger = ratios
    assert same is None and smaller is not None and larger is not None
    assert smaller < 0.75 and larger > 1.5
    older = without_size(made)
    assert older.odd_size(look) is None and np.isfinite(older.distance(look))


def islands(seed: int) -> NDArray[np.uint8]:
    """1024 px of glass with soft structures on pieces some 100 px wide."""
    soft = np.tile(blobs(seed, zoom=2), (4, 4, 1))
    shape = gaussian_filter(np.random.default_rng(seed).standard_normal((1024, 1024)), 40)
    return np.where((shape > 0)[..., np.newaxis], soft, 245).astype(np.uint8)


@pytest.mark.parametrize("side", [64, 100, 128])
def test_the_training_slides_are_near_themselves_whatever_the_tiles_that_are_predicted(side: int) -> None:
    """The middle of a large tile has another contrast than small training tiles: glass is next to tissue in it."""
    looks = {f"slide {number}": looks_of(islands(number), side, by=side) for number in range(3)}
    made = appearance_of(looks, [1.0], side=side)
    assert made is not None and made.side == side
    for size in (256, 512):
        measured, whole = (np.mean(looks_of(islands(0), size, by=by), axis=0) for by in (side, 0))
        assert made.distance(measured) < 1.5 and made.odd_size(measured) is None
        assert made.distance(measured) < made.distance(whole)


def looks_of(picture: NDArray[np.uint8], size: int, *, by: int) -> list[NDArray[np.float64]]:
    """Of the tiles of a picture."""
    places = [(y, x) for y in range(0, len(picture) - size + 1, size) for x in range(0, len(picture) - size + 1, size)]
    found = [look_in_parts(picture[y : y + size, x : x + size], by) for y, x in places]
    return [look for look in found if look is not None]


def test_parts_of_a_tile_are_the_tile_where_it_is_as_small_as_they() -> None:
    tile = islands(1)[:96, :96]
    whole = look_of(tile)
    for side in (96, 200, 256, 0):
        assert np.array_equal(look_in_parts(tile, side), whole)  # type: ignore[arg-type]
    narrow = look_in_parts(islands(1)[:32, :200], 64)  # at the edge of a slide
    assert narrow is not None and np.isfinite(narrow).all()
    assert look_in_parts(np.full((256, 256, 3), 240, np.uint8), 64) is None


def without_size(appearance: Appearance) -> Appearance:
    """As versions wrote it that measured no size."""
    slides = {name: mean[:-1] for name, mean in appearance.slides.items()}
    return Appearance(slides=slides, within=[row[:-1] for row in appearance.within[:-1]])


def test_a_class_is_odd_where_no_training_slide_has_so_much_of_it(appearance: Appearance) -> None:
    pixels = {"a": {"Tumor": 30, "Stroma": 70, "other": 0}, "b": {"Tumor": 50, "Stroma": 50, "other": 0}, "c": {}}
    made = appearance_of({"a": looks(1), "b": looks(2)}, [1.0], pixels)
    assert made is not None and made.fractions["a"] == {"Tumor": 0.3, "Stroma": 0.7, "other": 0.0}

    def odd(tumor: int, other: int = 0, *, in_regions: bool = False) -> list[str]:
        counts = {"Tumor": tumor, "Stroma": 1000 - tumor - other, "other": other}
        return list(made.odd_classes(counts, background="Stroma", in_regions=in_regions))

    assert odd(450) == odd(790) == odd(0) == odd(300, 700) == []  # of "other" nothing is known
    assert odd(810) == ["Tumor"] == odd(90, in_regions=True)
    assert odd(110, in_regions=True) == []
    assert appearance.odd_classes({"Tumor": 1}, background="", in_regions=True) == {}


@pytest.mark.slow
def test_a_run_keeps_it_and_predictions_say_how_far_they_are(make_tiles: MakeTiles, tmp_path: Path) -> None:
    """Slide and stripes; as run folder and as ONNX file."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra: onnx)")
    fit(make_tiles(), tmp_path / "run", tiny_recipe("optim.epochs=1"))
    file = load_run(tmp_path / "run").file
    assert file.appearance is not None and list(file.appearance.slides) == ["slide-train"]
    assert (file.appearance.downsamples, file.appearance.side) == ((2.0, 2.0), 64)
    export_onnx(tmp_path / "run", tmp_path / "model.onnx")
    pixels = np.concatenate([tissue(1, side=128), 255 - tissue(1, side=128)])
    pixels[:, 64:] = 245  # glass, which is beside tissue in larger tiles
    tifffile.imwrite(tmp_path / "s.tif", pixels, tile=(64, 64), photometric="rgb")
    how = PredictSettings(tile_px=64, halo_px=32, only_tissue=False)
    source = SlideSource(name="s", path=tmp_path / "s.tif", mpp=0.5)
    found = []
    for model in ("run", "model.onnx"):
        (slide,) = predict(tmp_path / model, [source], tmp_path / f"of-{model}", how).slides
        info = read_predictions(tmp_path / f"of-{model}").info
        assert slide.distance is not None and slide.distance.training is None
        assert list(slide.distance.stripes) == [0, 64, 128, 192]
        assert slide.distance.is_far == any("UNLIKE the training slides" in note for note in slide.notes)
        assert info["slides"][0]["distance"] == msgspec.to_builtins(slide.distance, str_keys=True)
        found.append(slide.distance)
    assert found[0] == found[1]
    (larger,) = predict(tmp_path / "run", [source], tmp_path / "larger", replace(how, tile_px=128)).slides
    assert larger.distance is not None and larger.distance.slide == pytest.approx(found[0].slide, abs=0.01)
    assert not replace(found[0], slide=2.9).is_far and replace(found[0], slide=3.1).is_far
    assert not replace(found[0], slide=3.1, training=(1.0, 4.0)).is_far
