"""Clustering without labels: seconds and peak memory of each step on made-up patches, each in a process of its own.

python benchmarks/clusters.py [--json FILE]

2,000 patches of 96 px every 64 px are 2 mm2 of tissue at 0.5 um/px; 100,000 patches are what a graph has to hold within
2 GB. Threads are those of torch (OMP_NUM_THREADS).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import Result, alone, row, show, timed
from numpy.typing import NDArray

from qpkit_train.unsupervised.blend import blend
from qpkit_train.unsupervised.patch_features import open_encoder, patch_features
from qpkit_train.unsupervised.patch_graph import join_patches
from qpkit_train.unsupervised.settings import DEFAULT_VADE, GraphSettings, VadeSettings
from qpkit_train.unsupervised.unsegarmanet import fit_graph
from qpkit_train.unsupervised.vade_fit import fit_vade

FEW, MANY, WIDTH = 2_000, 100_000, 768
CPU = torch.device("cpu")


def grid(count: int) -> NDArray[np.int64]:
    """Upper left corners of so many patches, row by row."""
    side = int(np.ceil(count**0.5))
    return np.stack(np.divmod(np.arange(count), side)[::-1], axis=1) * 64


def patches(count: int, side: int = 96) -> NDArray[np.uint8]:
    """Smooth colours with noise."""
    rng = np.random.default_rng(0)
    colors = rng.integers(90, 230, (4, 1, 1, 3), np.int16)[rng.integers(0, 4, count)]
    return (colors + rng.integers(-25, 25, (count, side, side, 3), np.int16)).clip(0, 255).astype(np.uint8)


def features(count: int) -> NDArray[np.float32]:
    """Two halves that look different, all of them alike enough to be joined with their like."""
    found = np.random.default_rng(0).standard_normal((count, WIDTH), dtype=np.float32)
    found *= 0.4
    found += 1
    found[: count // 2, ::2] -= 2
    return found


def vade(**said: Any) -> Callable[[], object]:
    """The whole fit."""
    given, settings = patches(FEW), VadeSettings.of(**said) if said else DEFAULT_VADE
    return lambda: fit_vade(given, clusters=4, settings=settings, seed=0, device=CPU)


def seen_by(encoder: str, input_px: int | None = None) -> Callable[[], object]:
    """Features of a tenth of the patches."""
    given, opened = patches(FEW // 10), open_encoder(f"{encoder}:random", device=CPU, input_px=input_px)
    return lambda: patch_features(given, opened)


def joined() -> Callable[[], object]:
    """The edges of a large graph."""
    given, corners, slides = features(MANY), grid(MANY), np.zeros(MANY, np.int64)
    return lambda: join_patches(given, corners, slides, similarity=0.8, distance_px=200)


def graph(count: int, epochs: int) -> Callable[[], object]:
    """Edges and some steps."""
    given, corners, slides = features(count), grid(count), np.zeros(count, np.int64)
    settings = GraphSettings(epochs=epochs)
    return lambda: fit_graph(given, corners, slides, clusters=4, settings=settings, seed=0, device=CPU)


def blended() -> Callable[[], object]:
    """The raster of a large slide."""
    corners = grid(MANY)
    memberships = np.random.default_rng(0).dirichlet(np.ones(4), MANY).astype(np.float32)
    side = int(corners.max()) + 96
    return lambda: blend(memberships, corners, patch_px=96, stride_px=64, width=side, height=side)


STEPS: dict[str, Callable[[], Callable[[], object]]] = {
    "VaDE, 2,000 patches": vade,
    "VaDE, convolutional": lambda: vade(variant="convolutional"),
    "200 patches, ViT-B/16 at 224 px": lambda: seen_by("tu-vit_base_patch16_224"),
    "200 patches, ViT-B/16 at 96 px": lambda: seen_by("tu-vit_base_patch16_224", 0),
    "200 patches, ResNet50": lambda: seen_by("resnet50"),
    "graph, 2,000 patches, 100 steps": lambda: graph(FEW, 100),
    "edges of 100,000 patches": joined,
    "graph, 100,000 patches, 2 steps": lambda: graph(MANY, 2),
    "raster of 100,000 patches": blended,
}


def main() -> None:
    """Measure each step and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="file for the rows")
    parser.add_argument("--one", choices=list(STEPS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(timed(STEPS[options.one]())))
        return
    found: dict[str, Result] = {name: alone(__file__, name) for name in STEPS}
    rows = [row(name, result["seconds"], "s") for name, result in found.items()]
    rows += [row(name, result["peak_mb"], "MB", goal="< 2,048 MB") for name, result in found.items()]
    show(rows, options.json)


if __name__ == "__main__":
    main()
