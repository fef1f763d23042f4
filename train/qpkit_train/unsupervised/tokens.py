"""UnSeGArmaNet as its paper has it: each picture by itself, a token every 4 px, 20 steps a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from qpkit.progress import OnProgress, Ticker, no_progress
from qpkit_train.unsupervised.canvas import Canvas
from qpkit_train.unsupervised.division import Division, Window, by_darkness, density_of
from qpkit_train.unsupervised.patch_features import open_encoder, picture_tokens
from qpkit_train.unsupervised.propose_settings import ProposeSettings
from qpkit_train.unsupervised.samples import check_clusters
from qpkit_train.unsupervised.settings import GraphSettings
from qpkit_train.unsupervised.unsegarmanet import segment_picture

CELL: Final = 4
"""Px from one token to the next."""

_SIDE: Final = 224
"""Px of a picture, as published: edges grow with the square of its area."""

_JOINED: Final = 0.3
"""Of all pairs of tokens, where features are not DINO's; see `sorted_patches`."""


def divide_by_tokens(
    canvases: Sequence[Canvas], settings: ProposeSettings, device: torch.device, on_progress: OnProgress = no_progress
) -> Division:
    """Divide each square of 224 px by itself, when it is asked for; the darkest part of each is its first cluster.

    Raises:
        ConfigError: Features cannot be had, or no canvas has tissue.
    """
    encoder = open_encoder(settings.features, device=device, input_px=settings.features_px, seed=settings.seed)
    how = GraphSettings()
    if settings.epochs is not None:
        how = replace(how, picture_epochs=settings.epochs)
    if not settings.features.startswith("dino"):
        how = replace(how, centre=True, join_fraction=_JOINED)
    squares = sum(1 for canvas in canvases for _ in canvas.windows(_SIDE))
    check_clusters(squares * (_SIDE // CELL) ** 2, settings.clusters, what="tokens of tissue")
    tick = Ticker(squares, on_progress)

    def windows(canvas: Canvas) -> Iterator[Window]:
        side = _SIDE // CELL
        for x, y in canvas.windows(_SIDE):
            pixels = canvas.read(x, y, width=_SIDE, height=_SIDE)
            found = np.zeros((side, side), np.uint8)
            if np.ptp(pixels):
                tokens = _filled(picture_tokens(pixels, encoder), side)
                fit = segment_picture(
                    tokens, clusters=settings.clusters, settings=how, seed=settings.seed, device=device
                )
                found[:] = _sorted(fit.labels.reshape(side, side), pixels, settings.clusters) + 1
            found[~canvas.tissue_in(x // CELL, y // CELL, width=side, height=side, cell=CELL)] = 0
            tick(canvas.name)
            yield x // CELL, y // CELL, found

    notes = (
        f"features: {encoder.described}",
        f"each square of {_SIDE} px is divided by itself: a number means another tissue in the next",
    )
    facts = {"features": encoder.described, "squares": squares}
    return Division(cell=CELL, clusters=settings.clusters, windows=windows, facts=facts, notes=notes)


def _filled(tokens: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """(rows, columns, d) to (side, side, d): a transformer has no token whose patch reaches beyond the picture."""
    missing = [side - length for length in tokens.shape[:2]]
    beside = [(each // 2, each - each // 2) for each in missing]
    return np.pad(tokens, (*beside, (0, 0)), mode="edge")


def _sorted(labels: NDArray[np.int64], pixels: NDArray[np.uint8], clusters: int) -> NDArray[np.int64]:
    """Number clusters from dark to light."""
    side = len(labels)
    density = density_of(pixels).mean(axis=2).reshape(side, CELL, side, CELL).mean(axis=(1, 3)).ravel()
    sizes = np.bincount(labels.ravel(), minlength=clusters)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(labels.ravel(), density, clusters) / sizes
    return by_darkness(mean)[labels]
