"""What is wrong with tiles is said in one line with what, where and what to do; what is thin is said aloud."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qpkit.dataset import read_tile_set
from qpkit.errors import ConfigError, FormatError, QpkitError
from qpkit_train.data.training_tiles import training_tiles_of
from qpkit_train.loop import fit
from tests.train.tiny_tiles import MakeTiles, square_mask, tiny_recipe, write_tiles


def one_line(error: pytest.ExceptionInfo[QpkitError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("workers", [0, 2])
def test_a_table_whose_files_are_gone_names_the_first(make_tiles: MakeTiles, tmp_path: Path, workers: int) -> None:
    tiles = make_tiles()
    for path in tiles.glob("*.png"):
        path.unlink()
    with pytest.raises(
        FormatError, match=r"\.png: tile cannot be read \(No such file.*export the tiles again"
    ) as error:
        fit(tiles, tmp_path / "run", tiny_recipe(f"data.workers={workers}"))
    one_line(error)


@pytest.mark.parametrize("which", ["image", "mask", "both"])
def test_a_tile_of_another_size_is_named_with_both_sizes(make_tiles: MakeTiles, tmp_path: Path, which: str) -> None:
    tiles = make_tiles()
    for path in (tiles / "0.png", tiles / "0-mask.png"):
        if which == "both" or (which == "mask") == ("mask" in path.name):
            with Image.open(path) as image:
                small = image.resize((48, 48), Image.Resampling.NEAREST)
            small.save(path)
    with pytest.raises(FormatError, match=r"0(-mask)?\.png.*48.*64") as error:
        fit(tiles, tmp_path / "run", tiny_recipe())
    one_line(error)


def test_a_class_that_no_training_tile_shows_is_said_aloud(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    masks = [("train", square_mask(rng, value)) for value in (1, 1, 0, 0)] + [("val", square_mask(rng, 3))]
    tiles = write_tiles(tmp_path / "tiles", masks)
    notes = training_tiles_of(read_tile_set(tiles), tiny_recipe()).notes
    assert any("'Other'" in note and "no training tile shows" in note for note in notes)
    assert not any("'Lesion'" in note for note in notes)


def test_a_single_slide_trains_and_says_that_it_measures_itself(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tiles = write_tiles(tmp_path / "tiles", [("train", square_mask(rng, value)) for value in (1, 3, 0, 0)])
    report = fit(tiles, tmp_path / "run", tiny_recipe("optim.epochs=1"))
    assert report.validated_on == "train"
    assert any("better than the model is" in note for note in report.notes)


def test_an_override_that_is_none_is_refused_by_itself() -> None:
    with pytest.raises(ConfigError, match=r"^--set 'optim.epochs' is not section.key=value$"):
        tiny_recipe("optim.epochs")


@pytest.mark.parametrize(
    "setting",
    [
        "optim.lr=inf",
        "sampler.area_power=inf",
        "sampler.ratio=[nan, 1]",
        'sampler.ratio={"Lesion"=1, "Other"=nan}',
        'loss.class_weights={"Lesion"=inf}',
    ],
)
def test_what_is_no_number_is_refused_by_the_name_of_its_setting(setting: str) -> None:
    with pytest.raises(ConfigError, match=rf"{setting.partition('=')[0]}.* is no number to train with") as error:
        tiny_recipe(setting)
    one_line(error)
