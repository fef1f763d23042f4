"""VaDE and UnSeGArmaNet over canvases: patches are read, sorted into clusters, and blended to a raster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from qpkit.core.review import PROPOSED
from qpkit.progress import OnProgress, no_progress
from qpkit.report.figures.clusters import draw_clusters, draw_losses, examples_of
from qpkit_train.unsupervised.blend import blend, cell_px
from qpkit_train.unsupervised.canvas import Canvas
from qpkit_train.unsupervised.division import Division, PatchCluster, Window, by_darkness, density_of
from qpkit_train.unsupervised.patch_features import open_encoder, patch_features
from qpkit_train.unsupervised.patches import patch_corners, read_patches
from qpkit_train.unsupervised.pictures import latent_picture
from qpkit_train.unsupervised.propose_settings import ProposeSettings
from qpkit_train.unsupervised.samples import check_clusters, resized
from qpkit_train.unsupervised.settings import GraphSettings, VadeSettings
from qpkit_train.unsupervised.unsegarmanet import fit_graph
from qpkit_train.unsupervised.vade_fit import fit_vade

_DINO: Final = "dino"
_JOINED: Final = 0.6
"""Of the near patches, the most alike, that are joined where features are not DINO's: the cosines of others lie all
above the published 0.8 (98 % above 0.98 for a ResNet18), so that everything would be joined with everything."""

_SHOWN: Final = 5
"""Patches of each cluster that are shown."""


@dataclass(frozen=True, slots=True)
class _Patches:
    """All patches with tissue.

    Args:
        corners: For each canvas (n, 2) x, y.
        owners: (n of all,) number of the canvas.
        density: (n of all,) mean optical density.
        rows: (n of all, ...) what was made of each.
    """

    corners: Sequence[NDArray[np.int64]]
    owners: NDArray[np.int64]
    density: NDArray[np.float64]
    rows: NDArray[Any]


def _read(
    canvases: Sequence[Canvas],
    settings: ProposeSettings,
    make: Callable[[NDArray[np.uint8]], NDArray[Any]],
    on_progress: OnProgress,
) -> _Patches:
    """Read all patches, a row at a time, and keep what is made of them."""
    corners = [patch_corners(canvas, settings.patch_px, settings.stride_px) for canvas in canvases]
    total = sum(map(len, corners))
    check_clusters(total, settings.clusters)
    made, density, done = [], [], 0
    for canvas, own in zip(canvases, corners, strict=True):
        for patches in read_patches(canvas, own, settings.patch_px):
            made.append(make(patches))
            density.append(density_of(patches).mean(axis=(1, 2, 3), dtype=np.float64))
            done += len(patches)
            on_progress(done, total, canvas.name)
    owners = np.repeat(np.arange(len(canvases)), [len(own) for own in corners])
    return _Patches(corners, owners, np.concatenate(density), np.concatenate(made))


def _division(
    canvases: Sequence[Canvas], patches: _Patches, memberships: NDArray[np.float32], settings: ProposeSettings
) -> tuple[Division, NDArray[np.int64]]:
    """Number clusters from dark to light, and blend; gives the old numbers in their new order, too."""
    labels = memberships.argmax(axis=1)
    sizes = np.bincount(labels, minlength=settings.clusters)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(labels, patches.density, settings.clusters) / sizes
    order = np.argsort(by_darkness(mean))
    memberships = np.ascontiguousarray(memberships[:, order])
    bounds = np.concatenate([[0], np.cumsum([len(own) for own in patches.corners])])
    by_name = {canvas.name: number for number, canvas in enumerate(canvases)}
    shape = {"patch_px": settings.patch_px, "stride_px": settings.stride_px}

    def windows(canvas: Canvas) -> Iterator[Window]:
        number = by_name[canvas.name]
        own = memberships[bounds[number] : bounds[number + 1]]
        size = {"width": canvas.width, "height": canvas.height}
        yield 0, 0, blend(own, patches.corners[number], **shape, **size)

    places = np.concatenate(patches.corners)
    rows = [
        PatchCluster(
            canvas=canvases[owner].name, x=x, y=y, side=settings.patch_px, cluster=int(own.argmax()) + 1,
            probability=float(own.max()),
        )
        for owner, (x, y), own in zip(patches.owners.tolist(), places.tolist(), memberships, strict=True)
    ]  # fmt: skip
    used = int((sizes > 0).sum())
    notes = (f"{used} of {settings.clusters} clusters are in use",) if used < settings.clusters else ()
    cell = cell_px(settings.patch_px, settings.stride_px)
    return Division(cell=cell, clusters=settings.clusters, windows=windows, patches=rows, notes=notes), order


def divide_by_vade(
    canvases: Sequence[Canvas], settings: ProposeSettings, device: torch.device, on_progress: OnProgress = no_progress
) -> Division:
    """Sort patches by VaDE, trained on those of all canvases.

    Raises:
        ConfigError: Fewer patches than clusters, all are the same, or the loss is no number any more.
        FormatError: A slide cannot be read.
    """
    how = VadeSettings(variant="convolutional" if settings.method == "vade-convolutional" else "dense")
    if settings.epochs is not None:
        how = replace(how, epochs=settings.epochs)
    patches = _read(canvases, settings, lambda pixels: resized(pixels, how.side_px), on_progress)
    fit = fit_vade(
        patches.rows, clusters=settings.clusters, settings=how, seed=settings.seed, device=device,
        on_progress=on_progress,
    )  # fmt: skip
    division, order = _division(canvases, patches, fit.responsibilities, settings)
    chosen = _examples(division, settings)
    curves = {"negative ELBO, nats": "total", "squared error": "reconstruction", "divergence, nats": "divergence"}
    pictures = {
        "loss.png": draw_losses({name: [getattr(loss, key) for loss in fit.losses] for name, key in curves.items()}),
        "latent.png": latent_picture(
            fit.z, [row.name for row in division.patches], [row.canvas for row in division.patches], seed=settings.seed
        ),
        "samples.png": draw_clusters(
            [list(patches.rows[own]) for own in chosen], _titles(division), means=list(fit.decode()[order])
        ),
    }
    last = fit.losses[-1]
    facts = {
        "patches": len(patches.owners), "learned_from": fit.learned_from, "loss": last.total,
        "reconstruction": last.reconstruction, "divergence": last.divergence,
    }  # fmt: skip
    return replace(division, facts=facts, pictures=pictures)


def divide_by_graph(
    canvases: Sequence[Canvas], settings: ProposeSettings, device: torch.device, on_progress: OnProgress = no_progress
) -> Division:
    """Sort patches by UnSeGArmaNet, one graph for all canvases.

    Raises:
        ConfigError: Features cannot be had, fewer patches than clusters, or no two patches are alike.
        FormatError: A slide cannot be read.
    """
    encoder = open_encoder(settings.features, device=device, input_px=settings.features_px, seed=settings.seed)
    how = GraphSettings(patch_px=settings.patch_px, stride_px=settings.stride_px, across_slides=settings.across_slides)
    if not settings.features.startswith(_DINO):
        how = replace(how, centre=True, join_fraction=_JOINED)
    if settings.epochs is not None:
        how = replace(how, epochs=settings.epochs)
    patches = _read(canvases, settings, lambda pixels: patch_features(pixels, encoder), on_progress)
    centres = np.concatenate(patches.corners) + settings.patch_px / 2
    fit = fit_graph(
        patches.rows, centres, patches.owners, clusters=settings.clusters, settings=how, seed=settings.seed,
        device=device, on_progress=on_progress,
    )  # fmt: skip
    division, _ = _division(canvases, patches, fit.memberships, settings)
    pictures = {
        "loss.png": draw_losses({"modularity loss": fit.losses}),
        "samples.png": draw_clusters(_read_again(canvases, division, settings), _titles(division)),
    }
    facts = {
        "features": encoder.described, "patches": len(patches.owners), "edges": fit.edges, "alone": fit.alone,
        "modularity": fit.modularity,
    }  # fmt: skip
    notes = (*division.notes, f"features: {encoder.described}")
    if fit.alone:
        notes = (
            *notes,
            f"{fit.alone:,} of {len(patches.owners):,} patches look like none around: their own features decide",
        )
    return replace(division, facts=facts, pictures=pictures, notes=notes)


def _examples(division: Division, settings: ProposeSettings) -> list[NDArray[np.int64]]:
    """Numbers of some patches of each cluster."""
    labels = np.array([row.cluster - 1 for row in division.patches])
    return examples_of(labels, settings.clusters, count=_SHOWN, seed=settings.seed)


def _titles(division: Division) -> list[str]:
    """Names of clusters with the number of their patches."""
    sizes = np.bincount([row.cluster - 1 for row in division.patches], minlength=division.clusters)
    return [f"{PROPOSED.format(number)} ({size:,})" for number, size in enumerate(sizes.tolist(), start=1)]


def _read_again(
    canvases: Sequence[Canvas], division: Division, settings: ProposeSettings
) -> list[list[NDArray[np.uint8]]]:
    """Some patches of each cluster, of which only features were kept."""
    by_name = {canvas.name: canvas for canvas in canvases}
    chosen = [[division.patches[n] for n in own.tolist()] for own in _examples(division, settings)]
    return [[by_name[row.canvas].read(row.x, row.y, width=row.side, height=row.side) for row in own] for own in chosen]
