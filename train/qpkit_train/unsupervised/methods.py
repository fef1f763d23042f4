"""The method that is asked for, with what it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch

from qpkit.errors import ConfigError, listed
from qpkit.progress import OnProgress, no_progress
from qpkit_train.unsupervised.canvas import Canvas
from qpkit_train.unsupervised.cells import divide_cells
from qpkit_train.unsupervised.division import Division
from qpkit_train.unsupervised.felzenszwalb.divide import divide_segments, example_picture
from qpkit_train.unsupervised.felzenszwalb.templates import SIDE, Templates, templates_by_look, templates_of
from qpkit_train.unsupervised.patches import patch_corners, read_patches
from qpkit_train.unsupervised.propose_settings import ProposeSettings
from qpkit_train.unsupervised.sorted_patches import divide_by_graph, divide_by_vade
from qpkit_train.unsupervised.tokens import divide_by_tokens

_PIECES: Final = 3000
"""Pieces of tissue, at most, among which templates are looked for."""


@dataclass(frozen=True, slots=True)
class TemplatePlace:
    """A place that shows what a cluster looks like.

    Args:
        canvas: Name of the slide.
        x, y: Its middle, slide px.
        kind: The cluster, from 0.
    """

    canvas: str
    x: float
    y: float
    kind: int


def divide(
    canvases: Sequence[Canvas], settings: ProposeSettings, templates: Sequence[TemplatePlace], device: torch.device,
    on_progress: OnProgress = no_progress,
) -> Division:  # fmt: skip
    """Divide all canvases together.

    Raises:
        ConfigError: Less tissue than clusters, all of it alike, features that cannot be had, or a cluster without a
            place that shows it.
        FormatError: A slide cannot be read.
    """
    if settings.method == "unsegarmanet":
        return divide_by_graph(canvases, settings, device, on_progress)
    if settings.method == "unsegarmanet-tokens":
        return divide_by_tokens(canvases, settings, device, on_progress)
    if settings.method == "vade" or settings.method == "vade-convolutional":
        return divide_by_vade(canvases, settings, device, on_progress)
    if settings.method == "felzenszwalb":
        known = _annotated(canvases, settings, templates) if settings.templates else _typical(canvases, settings)
        division = divide_segments(known, strength=settings.strength, on_progress=on_progress)
        shown = example_picture(canvases, known, settings.strength)
        pictures = {"segments.png": shown} if shown else {}
        return replace(division, pictures=pictures)
    return divide_cells(
        canvases, settings.method, clusters=settings.clusters, seed=settings.seed, on_progress=on_progress
    )


def _typical(canvases: Sequence[Canvas], settings: ProposeSettings) -> Templates:
    """Templates of typical pieces, drawn from all canvases."""
    rng = np.random.default_rng((settings.seed, 5))
    corners = [patch_corners(canvas, SIDE, SIDE) for canvas in canvases]
    fraction = min(1.0, _PIECES / max(1, sum(map(len, corners))))
    pieces = []
    for canvas, own in zip(canvases, corners, strict=True):
        chosen = np.sort(rng.permutation(len(own))[: int(np.ceil(fraction * len(own)))])
        pieces += list(read_patches(canvas, own[chosen], SIDE))
    found = np.concatenate(pieces) if pieces else np.zeros((0, SIDE, SIDE, 3), np.uint8)
    return templates_by_look(found, settings.clusters, seed=settings.seed)


def _annotated(canvases: Sequence[Canvas], settings: ProposeSettings, templates: Sequence[TemplatePlace]) -> Templates:
    """Templates of places that people annotated."""
    without = [name for kind, name in enumerate(settings.templates) if all(one.kind != kind for one in templates)]
    if without:
        raise ConfigError(f"--templates: no annotation of {listed(without)} on these slides that holds {SIDE} px")
    by_name = {canvas.name: canvas for canvas in canvases}
    pieces = []
    for one in templates:
        canvas = by_name[one.canvas]
        x, y = round(one.x / canvas.downsample) - SIDE // 2, round(one.y / canvas.downsample) - SIDE // 2
        pieces.append(canvas.read(x, y, width=SIDE, height=SIDE))
    return templates_of(np.stack(pieces), [one.kind for one in templates])
