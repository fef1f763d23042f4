"""From a model and slides to rasters of predictions: tiles with a halo at the model's um/px, tissue only.

The model is a run folder (torch) or an ONNX file (no torch).

Every tile is read with `halo_px` more on each side, which are predicted and thrown away. As tile and halo are
multiples of the network's stride, a pixel of tissue gets the same answer whatever the tile size, as long as the halo
covers the receptive field; for a deeper network the border effect is smaller the wider the halo is. Only which
tiles count as tissue depends on the tile size. Tiles are read, predicted and written side by side (`pipeline`).
Memory holds some batches of tiles, never a slide.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from qpkit.core.annotation import Annotation
from qpkit.errors import FormatError, OutputError, QpkitError, listed
from qpkit.extras import extra
from qpkit.files import new_folder, safe_names
from qpkit.predictions import PredictionSet, SlidePrediction, write_predictions
from qpkit.predictions.store import INFO_NAME
from qpkit.progress import OnProgress, no_progress
from qpkit.slides import SlideSource, open_source
from qpkit_train.inference.colors import notes_on_colors
from qpkit_train.inference.finished import finished_slide, forget_finished, job_of, note_finished
from qpkit_train.inference.settings import PredictSettings
from qpkit_train.inference.slide import PredictedSlide, SlidePredictor, tile_grid
from qpkit_train.inference.thresholds import VALIDATED, Thresholds, resolved_thresholds, threshold_levels
from qpkit_train.inference.together import Together
from qpkit_train.models.card import STRIDE, Model, ModelCard

DEFAULT_SETTINGS: Final = PredictSettings()


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


def predict(
    run_root: Path,
    sources: Sequence[SlideSource],
    out: Path,
    settings: PredictSettings = DEFAULT_SETTINGS,
    *,
    areas: Mapping[str, Sequence[Annotation]] | None = None,
    overwrite: bool = False,
    on_progress: OnProgress = no_progress,
) -> PredictReport:
    """Predict slides with a run's best epoch, or with a model that `qpkit export-model` wrote.

    Args:
        run_root: What fit() left, or an .onnx file.
        sources: Slides; names have to differ.
        out: Folder to make; it appears when everything is done, or not at all. If the process is killed, the same call
            on the same machine keeps the slides that were finished.
        settings: How they are predicted.
        areas: Of each slide by name, the annotations inside which it is predicted, as `settings.within` says; None for
            all of all slides.
        overwrite: Replace a folder that is there.
        on_progress: Called with (tiles done, tiles in all, text); tiles of glass are done at once.

    Raises:
        ConfigError: A threshold of a class that the model does not have, or one that the model does not know.
        FormatError: The run is damaged, or none of the slides can be predicted (no um/px, not readable ...); single
            ones are skipped and reported.
        OutputError: `out` is taken or cannot be written.
    """
    started = time.perf_counter()
    model = _opened(run_root, settings)
    card = model.card
    thresholds = resolved_thresholds(settings.thresholds, card)
    limits = threshold_levels(thresholds, card.labels)
    used = replace(settings, tile_px=_whole_strides(settings.tile_px), halo_px=_whole_strides(settings.halo_px))
    slides: list[SlidePrediction] = []
    reports: list[PredictedSlide] = []
    skipped: list[tuple[str, str]] = []
    progress = _Progress(on_progress, [_tiles_of(card, source, used) for source in sources])
    job_name, resumed = job_of(run_root, sources, replace(used, thresholds=thresholds), areas), 0
    predicting = 0.0
    with new_folder(out, marker=INFO_NAME, overwrite=overwrite, job=job_name) as root:
        for source, stem in zip(sources, safe_names([source.name for source in sources]), strict=True):
            if (finished := finished_slide(root, stem)) is not None:
                reports.append(finished[0])
                slides.append(finished[1])
                resumed += 1
                progress.next_slide()
                continue
            try:
                with open_source(source) as slide:
                    job = SlidePredictor(
                        card, source, slide, root, stem, used, limits, None if areas is None else areas[source.name]
                    )
                    reports.append(job.run_with(model, progress.of_slide))
                    slides.append(job.described())
                predicting += reports[-1].speed.predicting_seconds if reports[-1].speed else 0.0
                note_finished(root, stem, reports[-1], slides[-1])
            # A full disk is not the fault of a slide: it ends everything.
            except OutputError:
                raise
            except QpkitError as err:
                skipped.append((source.name, str(err)))
            progress.next_slide()
        if not slides:
            reasons = listed((f"{name}: {reason}" for name, reason in skipped), joint="; ", most=3)
            raise FormatError(f"{run_root}: nothing could be predicted: {reasons}")
        seconds = time.perf_counter() - started
        device_busy = round(min(1.0, predicting / seconds), 3)
        info = {
            "settings": {
                **asdict(replace(used, thresholds=thresholds)),
                "others": [str(path) for path in used.others],
            },
            "device": model.device_name,
            "precision": model.precision,
            "versions": card.versions,
            "trained": card.trained,
            "seconds": round(seconds, 3),
            "device_busy": device_busy,
            "slides": [asdict(report) for report in reports],
            "skipped": [list(pair) for pair in skipped],
        }
        made = PredictionSet(
            root=root, run=card.run, model=card.name, label_map=card.labels, slides=tuple(slides), info=info
        )
        write_predictions(made)
        forget_finished(root)
    return PredictReport(
        root=out,
        run=card.run,
        model=card.name,
        device=model.device_name,
        precision=model.precision,
        tile_px=used.tile_px,
        halo_px=used.halo_px,
        thresholds=thresholds,
        slides=tuple(reports),
        skipped=tuple(skipped),
        notes=(*_notes(settings.thresholds, card), *notes_on_colors(card, sources), *model.notes, *_notes_on(resumed)),
        seconds=round(time.perf_counter() - started, 3),
        device_busy=device_busy,
    )


class _Progress:
    """Tells how far all slides are from what each says of itself."""

    def __init__(self, on_progress: OnProgress, tiles: Sequence[int]) -> None:
        self._on_progress, self._tiles, self._slide = on_progress, tiles, 0

    def of_slide(self, done: int, wanted: int, text: str) -> None:
        before, own = sum(self._tiles[: self._slide]), self._tiles[self._slide]
        self._on_progress(before + own - wanted + done, sum(self._tiles), text)

    def next_slide(self) -> None:
        self._slide += 1


def _tiles_of(card: ModelCard, source: SlideSource, settings: PredictSettings) -> int:
    """Tiles in the grid of a slide; 0 if it cannot be predicted, which is said when its turn comes."""
    try:
        with open_source(source) as slide:
            return len(tile_grid(card, source.name, slide.info, settings))
    except QpkitError:
        return 0


def _notes(thresholds: Thresholds | None, card: ModelCard) -> tuple[str, ...]:
    if thresholds == VALIDATED and card.trained["tiles"]["validated_on"] == "train":
        return ("these probabilities were chosen on training tiles, as the run had no validation split",)
    return ()


def _notes_on(resumed: int) -> tuple[str, ...]:
    if not resumed:
        return ()
    return (f"{resumed} slide(s) had been finished before the same command was interrupted, and were kept",)


def _whole_strides(px: int) -> int:
    return -(-px // STRIDE) * STRIDE


def _opened(run_root: Path, settings: PredictSettings) -> Model:
    """Open a model, and those that are averaged with it."""
    model = _open(run_root)
    if not settings.others and settings.tta == "none":
        return model
    return Together([model, *map(_open, settings.others)], settings.tta)


def _open(path: Path) -> Model:
    """Open a run folder or an ONNX file; torch is only imported for the first."""
    if path.suffix.lower() == ".onnx":
        from qpkit_train.inference.onnx_model import OnnxModel

        return OnnxModel(path)
    with extra("train", why="a run folder needs it; an .onnx file of qpkit export-model does not"):
        from qpkit_train.inference.torch_model import Predictor
        from qpkit_train.run_folder.run import load_run

    return Predictor(load_run(path))
