"""Probabilities that a class has to reach: what they do to a prediction, and those that suit validation tiles best."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_tiles import LABELS, MakeTiles, tiny_recipe

import command_line
from qpkit.dataset import read_tile_set
from qpkit.errors import ConfigError
from qpkit.ops.scores.confusion import IGNORE_INDEX, class_scores, confusion_of
from qpkit_train.data.training_tiles import TrainingTiles, training_tiles_of
from qpkit_train.inference.running.onnx_export import export_onnx
from qpkit_train.inference.running.onnx_model import OnnxModel
from qpkit_train.inference.thresholds import (
    apply_thresholds,
    parse_thresholds,
    resolved_thresholds,
    threshold_levels,
    validated,
)
from qpkit_train.loop import fit
from qpkit_train.run_folder.run import load_run
from qpkit_train.validation.counts import ValidationCounts

NAMES = ("background", "Lesion", "Other")


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> TrainingTiles:
    """Three measured tiles of each kind, each standing for itself."""
    from tiny_tiles import square_mask, write_tiles

    rng = np.random.default_rng(0)
    masks = [(split, square_mask(rng, value)) for split in ("train", "val") for value in (0, 0, 0, 1, 1, 3)]
    data = training_tiles_of(read_tile_set(write_tiles(tmp_path_factory.mktemp("t") / "tiles", masks)), tiny_recipe())
    assert data.stands_for == (1, 1) and data.shows_class.tolist() == [False] * 3 + [True] * 3
    return data


def answers(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(6, 3, 4, 4) logits that know a little, and (6, 4, 4) truth with unknown pixels."""
    rng = np.random.default_rng(seed)
    targets = rng.choice([0, 1, 2, IGNORE_INDEX], (6, 4, 4), p=[0.6, 0.2, 0.1, 0.1])
    logits = rng.normal(0, 2, (6, 3, 4, 4)) + 2 * (targets[:, np.newaxis] == np.arange(3).reshape(3, 1, 1))
    return torch.from_numpy(logits).float(), torch.from_numpy(targets)


def levels(data: TrainingTiles, logits: torch.Tensor, targets: torch.Tensor, tiles: list[int]) -> np.ndarray:
    tally = ValidationCounts(data, sigmoid=False)
    for i in tiles:
        tally.add(torch.tensor([i]), logits[i : i + 1], targets[i : i + 1], torch.tensor(0.0))
    return tally.whole().levels


@given(st.integers(0, 2**32))
def test_no_other_chance_would_have_had_a_higher_dice(material: TrainingTiles, seed: int) -> None:
    """Of the labels that `qpkit predict` writes with it."""
    logits, targets = answers(seed)
    found = validated(levels(material, logits, targets, list(range(6))), LABELS)
    truth = targets.numpy().astype(np.uint8)
    said = logits.argmax(dim=1).numpy().astype(np.uint8)
    probabilities = (logits.softmax(dim=1) * 255).round().numpy().astype(np.uint8)

    def dice(name: str, probability: float) -> float:
        held = apply_thresholds(threshold_levels({name: probability}, LABELS), said, probabilities, background=0)
        return class_scores(confusion_of(truth, held, 3), NAMES)[NAMES.index(name)].dice or 0.0

    for name, probability in found.items():
        assert dice(name, probability) == max(dice(name, t / 255) for t in range(1, 256))


def test_where_every_chance_is_as_good_it_is_a_half(material: TrainingTiles) -> None:
    targets = torch.zeros(6, 4, 4, dtype=torch.int64)
    targets[3:, 0] = 1
    logits = 20.0 * torch.nn.functional.one_hot(targets, 3).movedim(-1, 1)
    found = validated(levels(material, logits, targets, list(range(6))), LABELS)
    assert found == {"Lesion": pytest.approx(0.5, abs=1 / 255)}  # Other is nowhere


@given(st.integers(0, 2**32))
def test_a_tile_that_stands_for_three_counts_as_three(material: TrainingTiles, seed: int) -> None:
    logits, targets = answers(seed)
    logits, targets = logits[[0, 0, 0, 3, 4, 5]], targets[[0, 0, 0, 3, 4, 5]]
    thinned = replace(material, stands_for=(3.0, 1.0))
    expected = levels(material, logits, targets, list(range(6)))
    assert np.array_equal(levels(thinned, logits, targets, [0, 3, 4, 5]), expected)


@pytest.mark.parametrize(
    ("val", "settings", "expected"),
    [
        ({0: 8, 1: 2}, (), (1, 1)),
        ({0: 8, 1: 2}, ("early_stopping.tiles=5",), (2, 2)),
        ({0: 0}, ("sampler.ratio=[1,1]", "optim.steps_per_epoch=1"), (6, 2.5)),  # two of the twelve and of the five
    ],
)
def test_measured_tiles_stand_for_all_of_their_kind(
    make_tiles: MakeTiles, val: dict[int, int], settings: tuple[str, ...], expected: tuple[float, float]
) -> None:
    """Without a validation split what the first epoch showed is measured, which is not how often lesions are."""
    data = training_tiles_of(read_tile_set(make_tiles(train={0: 12, 1: 3, 3: 2}, val=val)), tiny_recipe(*settings))
    assert data.stands_for == expected
    assert data.validated_on == ("val" if val[0] else "train")


def test_a_run_keeps_them_and_predicts_with_them(
    make_tiles: MakeTiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiles = make_tiles(val={0: 0})
    run, model = tmp_path / "run", tmp_path / "model.onnx"
    report = fit(tiles, run, tiny_recipe("optim.epochs=1"))
    card = load_run(run).card()
    assert resolved_thresholds(parse_thresholds(["validated"]), card) == report.thresholds != {}
    export_onnx(run, model)
    assert resolved_thresholds("validated", OnnxModel(model).card) == report.thresholds
    assert command_line.run("report", run) == 0
    assert "--threshold validated" in (run / "report.html").read_text()
    slide = tmp_path / "slide.tif"
    import tifffile

    tifffile.imwrite(slide, np.full((128, 128, 3), (200, 60, 120), np.uint8), tile=(64, 64), photometric="rgb")
    arguments = ["predict", model, slide, "--slide-mpp", "0.5", "-o", tmp_path / "out", "--threshold", "validated"]
    capsys.readouterr()
    assert command_line.run(*arguments) == 0
    said = capsys.readouterr().err
    assert "background below these probabilities: Lesion" in said and "chosen on training tiles" in said


def test_a_run_that_does_not_know_them_says_so(make_tiles: MakeTiles, tmp_path: Path) -> None:
    fit(make_tiles(), tmp_path / "run", tiny_recipe("optim.epochs=1"))
    card = load_run(tmp_path / "run").card()
    with pytest.raises(ConfigError, match="does not say which probabilities"):
        resolved_thresholds("validated", replace(card, trained={"tiles": {}}))
