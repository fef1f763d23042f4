"""What is to be predicted: model, slides, places and settings, the same for all processes that do it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from qpkit.core.annotation import Annotation
from qpkit.files import safe_names
from qpkit.predictions.ome_zarr import require_zarr
from qpkit.slides import SlideSource
from qpkit_train.inference.colors import notes_on_colors
from qpkit_train.inference.running.opening import card_of
from qpkit_train.inference.settings import PredictSettings
from qpkit_train.inference.sharing.finished import job_of
from qpkit_train.inference.thresholds import VALIDATED, Thresholds, resolved_thresholds, threshold_levels
from qpkit_train.models.card import ModelCard, require_no_clicks


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be predicted.

    Args:
        run_root: Run folder, .onnx or .toml file.
        card: Of the model.
        sources: Slides.
        stems: How the files of each begin.
        areas: Inside which annotations each slide is predicted, by name; None for all of all slides.
        settings: As used.
        thresholds: As used, by class name.
        limits: The same as (classes,) uint8.
        notes: What the user has to know of all of it.
        unopened: Slides that could not even be opened, and why; they are none of the sources.
        job: Name of all that the rasters depend on.
    """

    run_root: Path
    card: ModelCard
    sources: Sequence[SlideSource]
    stems: Sequence[str]
    areas: Mapping[str, Sequence[Annotation]] | None
    settings: PredictSettings
    thresholds: dict[str, float]
    limits: NDArray[np.uint8]
    notes: tuple[str, ...]
    unopened: Mapping[str, str]
    job: str


def plan_predictions(
    run_root: Path,
    sources: Sequence[SlideSource],
    settings: PredictSettings,
    areas: Mapping[str, Sequence[Annotation]] | None = None,
    unopened: Mapping[str, str] = MappingProxyType({}),
) -> Plan:
    """Look at everything that can be wrong before a slide is opened.

    Raises:
        ConfigError: A threshold of a class that the model does not have, or one that the model does not know; models
            that cannot be averaged, or that answer clicks.
        FormatError: A model is damaged.
        MissingExtraError: zarr is wanted and not installed.
    """
    if settings.ome_zarr:
        require_zarr()
    card = card_of(run_root, settings)
    require_no_clicks(card)
    thresholds = resolved_thresholds(settings.thresholds, card)
    limits = threshold_levels(thresholds, card.labels)
    tile_px, halo_px = _tile_and_halo(settings, card)
    used = replace(settings, tile_px=tile_px, halo_px=halo_px, thresholds=thresholds)
    return Plan(
        run_root=run_root,
        card=card,
        sources=tuple(sources),
        stems=safe_names([source.name for source in sources]),
        areas=areas,
        settings=used,
        thresholds=thresholds,
        limits=limits,
        notes=(*_notes(settings.thresholds, card), *_notes_on_size(used, card), *notes_on_colors(card, sources)),
        unopened=dict(unopened),
        job=job_of(run_root, sources, used, areas),
    )


def _notes(thresholds: Thresholds | None, card: ModelCard) -> tuple[str, ...]:
    if thresholds == VALIDATED and card.trained["tiles"]["validated_on"] == "train":
        return ("these probabilities were chosen on training tiles, as the run had no validation split",)
    return ()


def _tile_and_halo(settings: PredictSettings, card: ModelCard) -> tuple[int, int]:
    """Px of a tile and of its halo: whole strides, or what makes the one size that a model takes."""
    if card.input_px is None:
        return _whole(settings.tile_px, card.stride), _whole(settings.halo_px, card.stride)
    halo_px = min(settings.halo_px, card.input_px // 4)
    return card.input_px - 2 * halo_px, halo_px


def _notes_on_size(used: PredictSettings, card: ModelCard) -> tuple[str, ...]:
    if card.input_px is None:
        return ()
    return (f"the model takes {card.input_px} px: tiles are {used.tile_px} px, with a halo of {used.halo_px} px",)


def _whole(px: int, stride: int) -> int:
    return -(-px // stride) * stride
