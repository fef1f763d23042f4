"""Training of a tile classifier, and what it is worth on the validation tiles beside baselines.

The training is `qpkit_train.loop.fit`: sampler, augmentation, optimizer, run folder and resuming are those of
segmentation. Only the answer is one per tile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata

from qpkit.dataset import TileRecord, read_tile_set
from qpkit.errors import ConfigError
from qpkit.files import csv_bytes, replace_file
from qpkit.ops.scores.baselines import ALL_BACKGROUND, ALL_THIS_CLASS, RANDOM, baseline_scores
from qpkit.ops.scores.confusion import ClassScore, accuracy, class_scores, confusion_of
from qpkit.progress import OnProgress, no_progress
from qpkit.report.figures import curves as figures
from qpkit_train.data.batches import Prefetcher, TileReader, WholeTiles
from qpkit_train.data.tile_labels import tile_labels
from qpkit_train.data.training_tiles import TrainingTiles, measuring_batch, training_tiles_of
from qpkit_train.loop import fit
from qpkit_train.losses.activation import probabilities_of, uses_sigmoid
from qpkit_train.machine.devices import pick_device
from qpkit_train.models.forward import forward
from qpkit_train.recipe.settings import Recipe
from qpkit_train.run_folder import records
from qpkit_train.run_folder.fit_report import FitReport
from qpkit_train.run_folder.run import Run, load_run

TILES_NAME: Final = "tiles.csv"

_POSITIVE: Final = 1
"""Class index of a tile that shows what is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierScores:
    """The scores of a tile classifier, or of a baseline.

    Args:
        accuracy: Fraction of right answers.
        precision, recall, f1: Of the positive answer; None where there is nothing to divide by.
        auc: The probability that a positive tile has a higher probability than a negative one; None without both.
    """

    accuracy: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    auc: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierReport:
    """The result of training a tile classifier.

    Args:
        fit: Of the training.
        asked: What a tile is asked for: the name of the positive answer.
        confusion: (2, 2) tiles of the best epoch by truth and answer; rows are the truth, first without, then with.
        model: Of the best epoch on `fit.validated_on` tiles.
        baselines: Of the baselines.
    """

    fit: FitReport
    asked: str
    confusion: NDArray[np.int64]
    model: ClassifierScores
    baselines: dict[str, ClassifierScores]


def fit_classifier(
    tiles_root: Path, run_root: Path, recipe: Recipe, *, resume: bool = False, on_progress: OnProgress = no_progress
) -> ClassifierReport:
    """Train a tile classifier and leave a run folder, with every validation tile's answer in tiles.csv.

    Args:
        tiles_root: What `qpkit export` wrote; its masks say which tiles are positive (`recipe.positive`).
        run_root: As in fit().
        recipe: Its architecture is "tile-classifier".
        resume: As in fit().
        on_progress: As in fit().

    Raises:
        ConfigError: The recipe is one for segmentation; and as fit().
    """
    _check(recipe)
    report = fit(tiles_root, run_root, recipe, resume=resume, on_progress=on_progress)
    run = load_run(run_root)
    data = training_tiles_of(read_tile_set(tiles_root), recipe)
    truth, probabilities, predicted = _answers(run, data)
    confusion = confusion_of(truth, predicted, 2)
    baselines = baseline_classifiers(confusion)
    model = _model_scores(confusion, truth, probabilities[:, _POSITIVE])
    measured = {"confusion": confusion.tolist(), "model": model, "baselines": baselines}
    metrics = {**run.file.metrics, "tiles": msgspec.to_builtins(measured)}
    replace_file(run_root / TILES_NAME, _tiles_csv(data.measured, truth, probabilities[:, _POSITIVE], predicted))
    replace_file(run_root / "confusion.csv", figures.confusion_csv(confusion, data.names))
    replace_file(run_root / "confusion.png", figures.confusion_png(confusion, data.names, unit="tiles"))
    records.write_run_file(run_root, msgspec.structs.replace(run.file, metrics=metrics))
    return ClassifierReport(
        fit=report, asked=data.names[_POSITIVE], confusion=confusion, model=model, baselines=baselines
    )


def help_fit(tiles_root: Path, run_root: Path, recipe: Recipe, *, resume: bool = False) -> None:
    """Do another process's part of fit_classifier(); the first one alone judges and writes."""
    _check(recipe)
    fit(tiles_root, run_root, recipe, resume=resume)


def _check(recipe: Recipe) -> None:
    if not recipe.classifies_tiles:
        raise ConfigError(
            f"recipe {recipe.name} segments ({recipe.model.architecture}); take one for tiles such as "
            "bracs-classifier, or qpkit train"
        )


def baseline_classifiers(confusion: NDArray[np.int64]) -> dict[str, ClassifierScores]:
    """Judge the answers "no" and "yes" to everything, and yes as often as it is true but at random.

    Args:
        confusion: (2, 2); only the truth (its rows' sums) is used.
    """
    positive, total = int(confusion[_POSITIVE].sum()), max(int(confusion.sum()), 1)
    prior = positive / total
    right = {ALL_BACKGROUND: 1 - prior, ALL_THIS_CLASS: prior, RANDOM: prior**2 + (1 - prior) ** 2}
    scores = baseline_scores(confusion, _POSITIVE, background=0, name="")
    return {name: _scores(score, right[name], 0.5) for name, score in scores.items()}


def area_under_roc(truth: NDArray[np.uint8], probabilities: NDArray[np.float32]) -> float | None:
    """The probability that a positive tile has a higher probability than a negative one, ties half; None without both.

    Args:
        truth: (n,) 0 or 1; others are left out.
        probabilities: (n,) of being positive.

    Source: Mann-Whitney's U from ranks.
    """
    known = truth <= 1
    positive, ranks = truth[known] == 1, rankdata(probabilities[known])
    count = int(positive.sum())
    others = len(positive) - count
    if not count or not others:
        return None
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * others))


def _model_scores(
    confusion: NDArray[np.int64], truth: NDArray[np.uint8], probabilities: NDArray[np.float32]
) -> ClassifierScores:
    score = class_scores(confusion, ("", ""))[_POSITIVE]
    return _scores(score, accuracy(confusion), area_under_roc(truth, probabilities))


def _scores(score: ClassScore, right: float | None, auc: float | None) -> ClassifierScores:
    return ClassifierScores(accuracy=right, precision=score.precision, recall=score.recall, f1=score.dice, auc=auc)


def _answers(run: Run, data: TrainingTiles) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.uint8]]:
    """Truth (n,), probabilities (n, 2) and answers (n,) of the best epoch on the measured tiles."""
    device, recipe = pick_device(), run.recipe
    model, sigmoid = run.load_model().to(device), uses_sigmoid(recipe.loss.terms)
    reader = TileReader(data.tile_set, table=data.table, factors=recipe.model.factors)
    batches = WholeTiles(reader, data.measured, batch_size=measuring_batch(recipe, data))
    truth, probabilities, predicted = [], [], []
    for batch in Prefetcher(batches, workers=recipe.data.workers):
        with torch.inference_mode():
            logits = forward(model, batch.images.to(device).float() / 255, run.normalization).flatten(start_dim=1)
        probability = probabilities_of(logits, sigmoid=sigmoid)
        probabilities.append(probability.cpu().numpy())
        predicted.append(logits.argmax(dim=1).cpu().numpy().astype(np.uint8))
        truth.append(tile_labels(batch.targets.long()).flatten().numpy().astype(np.uint8))
    return np.concatenate(truth), np.concatenate(probabilities), np.concatenate(predicted)


def _tiles_csv(
    tiles: Sequence[TileRecord],
    truth: NDArray[np.uint8],
    probabilities: NDArray[np.float32],
    predicted: NDArray[np.uint8],
) -> bytes:
    """One row per tile, the most doubtful positives and the surest mistakes easy to sort out."""
    rows: list[list[Any]] = [["slide", "col", "row", "x", "y", "split", "shows_it", "probability", "answer"]]
    columns = truth.tolist(), probabilities.tolist(), predicted.tolist()
    for tile, known, probability, answer in zip(tiles, *columns, strict=True):
        place = [tile.slide, tile.col, tile.row, tile.x, tile.y, tile.split]
        rows.append([*place, known, round(probability, 6), answer])
    return csv_bytes(rows)
