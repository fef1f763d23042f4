"""What a run folder says of a training: rows, files of an epoch, events and the report, held against plain numpy."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from tiny_tiles import MakeTiles, tiny_recipe

from qpkit.dataset import read_tile_set
from qpkit.ops.scores.confusion import class_scores
from qpkit_train.data.training_tiles import TrainingTiles, training_tiles_of
from qpkit_train.run_folder.fit_report import FitReport
from qpkit_train.run_folder.journal import close, fit_report, history_row, write_epoch
from qpkit_train.run_folder.records import RunFile, State, read_run_file
from qpkit_train.run_folder.start import run_file
from qpkit_train.run_folder.tensorboard import EVENTS_FOLDER, write_events
from qpkit_train.schedule import Watch
from qpkit_train.validation.counts import Measured

CONFUSION = np.array([[90, 6, 4], [10, 40, 0], [0, 5, 45]], np.int64)
"""Rows are the truth: background, Lesion, Other."""
EMPTY = np.zeros((3, 2, 256), np.int64)


@pytest.fixture
def started(make_tiles: MakeTiles) -> tuple[TrainingTiles, RunFile]:
    tile_set, recipe = read_tile_set(make_tiles()), tiny_recipe("optim.epochs=5")
    data = training_tiles_of(tile_set, recipe)
    return data, run_file(tile_set, recipe, data, torch.device("cpu"))


def plain_dice(confusion: NDArray[np.int64]) -> list[float]:
    return [
        2 * confusion[i, i] / (confusion[i].sum() + confusion[:, i].sum()) if confusion[i].any() else math.nan
        for i in range(len(confusion))
    ]


def plain_iou(confusion: NDArray[np.int64]) -> list[float]:
    hits = np.diag(confusion)
    return list(hits / (confusion.sum(axis=0) + confusion.sum(axis=1) - hits))


def row_of(data: TrainingTiles, epoch: int = 1, confusion: NDArray[np.int64] = CONFUSION) -> dict[str, Any]:
    measured = Measured(confusion=confusion, loss=0.75, levels=EMPTY)
    return history_row(epoch, 1e-3, 0.5, measured, data=data)


def state_of(data: TrainingTiles, epoch: int, **changes: Any) -> State:
    state = State(
        run="r", epoch=epoch, watch=Watch(best=0.8, best_epoch=2), history=[row_of(data, i + 1) for i in range(epoch)],
        confusion=CONFUSION.tolist(), model="m", optimizer="o", optimizer_plain={}, precision_state={},
        seconds=12.34567, training_seconds=8.0, waiting_seconds=2.0, steps=16, thresholds={"Lesion": 0.4},
    )  # fmt: skip
    return msgspec.structs.replace(state, **changes)


def test_a_row_has_the_scores_of_its_confusion(started: tuple[TrainingTiles, RunFile]) -> None:
    row = row_of(started[0], 7)
    assert (row["epoch"], row["lr"], row["train_loss"], row["val_loss"]) == (7, 1e-3, 0.5, 0.75)
    assert list(row["dice"]) == ["background", "Lesion", "Other"]
    assert list(row["dice"].values()) == pytest.approx(plain_dice(CONFUSION))
    assert row["mean_dice"] == pytest.approx(np.mean(plain_dice(CONFUSION)[1:]))
    assert row["mean_iou"] == pytest.approx(np.mean(plain_iou(CONFUSION)[1:]))


def test_what_nobody_saw_has_no_score_and_counts_in_no_mean(started: tuple[TrainingTiles, RunFile]) -> None:
    unseen = CONFUSION.copy()
    unseen[2], unseen[:, 2] = 0, 0
    row = row_of(started[0], confusion=unseen)
    assert row["dice"]["Other"] is None
    assert row["mean_dice"] == pytest.approx(plain_dice(unseen)[1])
    nothing = row_of(started[0], confusion=np.zeros((3, 3), np.int64))
    assert (nothing["mean_dice"], nothing["mean_iou"]) == (None, None)


def test_an_epoch_leaves_its_curves_its_confusion_and_run_json(
    started: tuple[TrainingTiles, RunFile], tmp_path: Path
) -> None:
    data, file = started
    for epoch in (1, 3):
        write_epoch(tmp_path, file, state_of(data, epoch), data)
    names = ("confusion.csv", "confusion.png", "curves.csv", "curves.png", "run.json")
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == list(names)
    rows = list(csv.DictReader((tmp_path / "curves.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert float(rows[2]["dice_Lesion"]) == pytest.approx(plain_dice(CONFUSION)[1])
    counts = list(csv.reader((tmp_path / "confusion.csv").read_text().splitlines()))
    assert np.array_equal(np.array([row[1:4] for row in counts[1:4]], int), CONFUSION)
    for name in ("curves.png", "confusion.png"):
        with Image.open(tmp_path / name) as picture:
            picture.load()
    running = read_run_file(tmp_path)
    assert (running.status, running.epochs, running.best_epoch) == ("running", 3, 2)
    assert running.metrics["accuracy"] == pytest.approx(np.trace(CONFUSION) / CONFUSION.sum())
    assert (running.seconds, running.seconds_per_step, running.waiting_fraction) == (12.346, 0.5, 0.25)
    assert (running.id, running.recipe) == (file.id, file.recipe)


def test_only_the_lead_writes_the_end_and_all_know_it(started: tuple[TrainingTiles, RunFile], tmp_path: Path) -> None:
    data, file = started
    state = state_of(data, 3)
    other = close(tmp_path, file, state, data, is_lead=False)
    assert list(tmp_path.glob("run.json")) == []
    assert close(tmp_path, file, state, data, is_lead=True) == other
    assert json.loads((tmp_path / "run.json").read_text()) == json.loads(msgspec.json.encode(other))
    assert other.status == "finished"
    report = fit_report(tmp_path, other, state, data, resumed_from=1)
    assert isinstance(report, FitReport)
    assert report.stopped_early and report.resumed_from == 1
    assert report.scores == class_scores(CONFUSION, data.names)
    assert report.mean_dice == pytest.approx(np.mean(plain_dice(CONFUSION)[1:]))
    assert (report.train_tiles, report.val_tiles, report.validated_on) == (11, 4, "val")
    assert (report.thresholds, report.steps, report.seconds) == ({"Lesion": 0.4}, 16, 12.346)
    whole = state_of(data, 5)
    assert not fit_report(tmp_path, other, whole, data, resumed_from=0).stopped_early


def test_a_training_of_no_step_divides_by_nothing(started: tuple[TrainingTiles, RunFile], tmp_path: Path) -> None:
    data, file = started
    state = state_of(data, 0, steps=0, training_seconds=0.0, waiting_seconds=0.0)
    done = close(tmp_path, file, state, data, is_lead=False)
    assert (done.seconds_per_step, done.waiting_fraction) == (0.0, 0.0)


def read_events(root: Path) -> dict[str, dict[int, float]]:
    """Value by step by tag, read by TensorBoard itself."""
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = reading.EventAccumulator(str(root / EVENTS_FOLDER), size_guidance={reading.SCALARS: 0}).Reload()
    found = {}
    for tag in events.Tags()["scalars"]:
        there = events.Scalars(tag)
        found[tag] = {event.step: round(event.value, 6) for event in there}
        assert len(found[tag]) == len(there), f"{tag}: a step is there twice"
    return found


def test_tensorboard_reads_every_step_and_every_figure(started: tuple[TrainingTiles, RunFile], tmp_path: Path) -> None:
    row = row_of(started[0]) | {"mean_iou": None, "dice": {"Lesion": 0.5, "Other": None}}
    write_events(tmp_path, [3.0, 2.0], [0.1, 0.2], row, 2)
    write_events(tmp_path, [1.0, 0.5], [0.3, 0.4], row | {"epoch": 2, "val_loss": 0.25}, 4)
    read = read_events(tmp_path)
    assert read["step/loss"] == {1: 3.0, 2: 2.0, 3: 1.0, 4: 0.5}
    assert read["step/learning rate"] == {1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4}
    assert read["epoch/val_loss"] == {2: 0.75, 4: 0.25}
    assert read["dice/Lesion"] == {2: 0.5, 4: 0.5}
    assert set(read) == {
        "step/loss", "step/learning rate", "epoch/train_loss", "epoch/val_loss", "epoch/mean_dice", "dice/Lesion"
    }  # fmt: skip


def test_an_epoch_that_is_done_again_takes_the_place_of_the_first(
    started: tuple[TrainingTiles, RunFile], tmp_path: Path
) -> None:
    row = row_of(started[0])
    write_events(tmp_path, [3.0, 2.0], [0.1, 0.1], row, 2)
    write_events(tmp_path, [9.0, 9.0], [0.1, 0.1], row | {"epoch": 2}, 4)
    write_events(tmp_path, [1.0, 0.5], [0.1, 0.1], row | {"epoch": 2}, 4)
    assert read_events(tmp_path)["step/loss"] == {1: 3.0, 2: 2.0, 3: 1.0, 4: 0.5}


def test_a_step_has_a_loss_and_a_rate(started: tuple[TrainingTiles, RunFile], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shorter"):
        write_events(tmp_path, [3.0, 2.0], [0.1], row_of(started[0]), 2)


def test_the_order_of_files_of_one_second_does_not_matter(
    started: tuple[TrainingTiles, RunFile], tmp_path: Path
) -> None:
    """The twelfth file of a process sorts before its second."""
    row = row_of(started[0])
    for again in range(12):
        write_events(tmp_path, [float(again)], [0.1], row, 1)
    assert read_events(tmp_path)["step/loss"] == {1: 11.0}
