"""What a prediction came to: the report of a command, and predictions.json once all slides are done."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from qpkit.errors import FormatError, about, listed
from qpkit.predictions import PredictionSet, read_predictions, write_predictions
from qpkit_train.inference.plan import Plan
from qpkit_train.inference.predicted import PredictedSlide
from qpkit_train.inference.sharing.finished import Finished


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictReport:
    """The result of predicting slides.

    Args:
        root: Predictions folder.
        run: Id.
        model: Name of the recipe.
        device, precision: What it ran on.
        tile_px, halo_px: As used, multiples of the network's stride.
        thresholds: As used, by class name.
        slides: Those predicted, in order.
        skipped: (name, reason) of slides that could not be.
        notes: What the user has to know of all of it.
        seconds: In all.
        device_busy: Fraction of them in which the device worked, 0..1.
        total: Slides in all.
        missing: Those that other processes still have to do; the last of them makes `root`.
    """

    root: Path
    run: str
    model: str
    device: str
    precision: str
    tile_px: int
    halo_px: int
    thresholds: dict[str, float]
    slides: tuple[PredictedSlide, ...]
    skipped: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    seconds: float
    device_busy: float
    total: int
    missing: int = 0

    @property
    def is_partial(self) -> bool:
        """Whether slides, or tiles of slides, could not be read."""
        return bool(self.skipped) or any(slide.broken for slide in self.slides)


def report_on(
    plan: Plan,
    out: Path,
    found: Sequence[Finished | None],
    *,
    mine: Collection[int],
    before: Collection[int] = (),
    processes: int = 1,
    started: float,
) -> PredictReport:
    """Say what became of the slides: of all of them, or of a part where others are still to be done.

    Args:
        plan: The plan.
        out: Where it will be.
        found: What came out of each slide of the plan.
        mine: Numbers of the slides that were this command's.
        before: Those of them that were done before it.
        processes: How many worked.
        started: Of the command (time.perf_counter).

    Raises:
        FormatError: No slide could be predicted.
    """
    missing = sum(item is None for item in found)
    told = [item for i, item in enumerate(found) if item is not None and (not missing or i in mine)]
    slides = tuple(item.report for item in told if item.report is not None)
    failed = [(item.name, item.failure) for item in told if item.failure and item.name not in plan.unopened]
    skipped = (*plan.unopened.items(), *failed)
    if not missing and not slides:
        reasons = listed((about(name, reason) for name, reason in skipped), joint="; ", most=3)
        raise FormatError(f"{plan.run_root}: nothing could be predicted: {reasons}")
    seconds = time.perf_counter() - started
    now = [item.report for i in mine if i not in before and (item := found[i]) is not None and item.report is not None]
    predicting = sum(slide.speed.predicting_seconds for slide in now if slide.speed is not None)
    return PredictReport(
        root=out,
        run=plan.card.run,
        model=plan.card.name,
        device=_joined(slide.device for slide in slides),
        precision=_joined(slide.precision for slide in slides),
        tile_px=plan.settings.tile_px,
        halo_px=plan.settings.halo_px,
        thresholds=plan.thresholds,
        slides=slides,
        skipped=skipped,
        notes=(*plan.notes, *dict.fromkeys(note for item in told for note in item.notes), *_notes_on(len(before))),
        seconds=round(seconds, 3),
        device_busy=round(min(1.0, predicting / (seconds * processes)), 3),
        total=len(plan.sources),
        missing=missing,
    )


def write_report(plan: Plan, root: Path, report: PredictReport, found: Sequence[Finished]) -> None:
    """Write predictions.json into a folder in which all slides are done."""
    info: dict[str, Any] = {
        "job": plan.job,
        "settings": {**asdict(plan.settings), "others": [str(path) for path in plan.settings.others]},
        "device": report.device,
        "precision": report.precision,
        "versions": plan.card.versions,
        "trained": plan.card.trained,
        "seconds": report.seconds,
        "device_busy": report.device_busy,
        "slides": [asdict(slide) for slide in report.slides],
        "skipped": [list(pair) for pair in report.skipped],
    }
    write_predictions(_prediction_set(plan, root, found, info))


def _prediction_set(plan: Plan, root: Path, found: Sequence[Finished], info: dict[str, Any]) -> PredictionSet:
    rows = tuple(item.row for item in found if item.row is not None)
    card = plan.card
    return PredictionSet(root=root, run=card.run, model=card.name, label_map=card.labels, slides=rows, info=info)


def predictions_of(plan: Plan, root: Path, finished: Finished) -> PredictionSet:
    """The rasters of one slide, while others are still being made."""
    return _prediction_set(plan, root, [finished], {})


def finished_in(out: Path) -> list[Finished]:
    """What came out of the slides of a finished folder, as far as a report says it."""
    info = read_predictions(out).info
    slides = msgspec.convert(info["slides"], list[PredictedSlide], str_keys=True)
    done = [Finished(name=slide.name, report=slide) for slide in slides]
    return done + [Finished(name=name, failure=reason) for name, reason in info["skipped"]]


def _joined(texts: Any) -> str:
    return ", ".join(dict.fromkeys(texts))


def _notes_on(before: int) -> tuple[str, ...]:
    if not before:
        return ()
    return (f"{before} slide(s) had been finished before the same command was interrupted, and were kept",)
