"""Predictions without a model: the truth, moved or worn a little, as a predictions folder."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qpkit.core.labels import LabelMap, label_colors, with_colors
from qpkit.core.tiles import Tile
from qpkit.ops.masks.rasterize import Painting
from qpkit.predictions import PredictionSet, SlidePrediction, create_raster, write_predictions
from qpkit.qupath import open_project

Change = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
Probabilities = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


def predict_truth(
    project: Path,
    out: Path,
    labels: LabelMap,
    *,
    run: str = "run-1",
    downsample: float = 2.0,
    entries: tuple[int, ...] = (4,),
    change: Change = lambda labels: labels,
    made_up: Probabilities | None = None,
    probabilities: bool = True,
) -> PredictionSet:
    """Write what the annotations say (after `change`) as if a model had predicted it.

    Probabilities are 0.8 everywhere, or what `made_up` makes of the labels: (bands, h, w) uint8.
    """
    out.mkdir(parents=True)
    opened = open_project(project)
    labels = with_colors(labels, opened.classes)
    slides = []
    for entry in [e for e in opened.entries if e.id in entries]:
        width, height = entry.image_size or (0, 0)
        columns, rows = math.ceil(width / downsample), math.ceil(height / downsample)
        tile = Tile(col=0, row=0, x=0, y=0, width=columns, height=rows, downsample=downsample)
        truth = Painting(entry.objects(), labels, downsample=downsample).draw(tile)
        truth[truth == labels.ignore] = labels.background
        names = f"{entry.id}.labels.tif", f"{entry.id}.probabilities.tif"
        mpp = (entry.mpp() or 0) * downsample
        size = {"width": columns, "height": rows, "downsample": downsample, "mpp": mpp}
        with create_raster(out / names[0], colors=label_colors(labels), **size) as raster:  # type: ignore[arg-type]
            raster.write(said := change(truth), x=0, y=0)
        bands = len(labels.trained_values)
        plain = np.full((bands, rows, columns), 204, dtype=np.uint8)
        with create_raster(out / names[1], bands=bands, nearest=False, **size) as raster:  # type: ignore[arg-type]
            raster.write(made_up(said) if made_up else plain, x=0, y=0)
        slides.append(
            SlidePrediction(
                name=entry.name, image=str(entry.image_path()), entry=str(entry.id), width=width, height=height,
                downsample=downsample, mpp=mpp, labels=names[0], probabilities=names[1] if probabilities else None,
            )
        )  # fmt: skip
    made = PredictionSet(root=out, run=run, model="made-up", label_map=labels, slides=tuple(slides), info={})
    write_predictions(made)
    return made
