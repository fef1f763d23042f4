"""Out-of-fold predictions: those of all slides, each by the run that has not seen it, as one predictions folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from qpkit.errors import FormatError
from qpkit.files import new_folder
from qpkit.predictions import PredictionSet, SlidePrediction, read_predictions, write_predictions
from qpkit.predictions.store import INFO_NAME
from qpkit.rounds.cross_validation.study import Fold


def write_unseen(folds: Sequence[Fold], out: Path) -> PredictionSet:
    """Write predictions.json of all folds' test slides; the rasters stay where they are, so the folders move together.

    Args:
        folds: All of one recipe, done.
        out: Folder to make, or to replace; beside those of the folds.

    Raises:
        FormatError: A slide was tested by two folds, as no cross-validation makes them.
    """
    sets = [read_predictions(fold.predictions) for fold in folds]
    first, rows = sets[0], []
    for fold, found in zip(folds, sets, strict=True):
        rows += [_from(out, found, slide) for slide in found.slides]
        if len({row.name for row in rows}) < len(rows):
            raise FormatError(f"{fold.predictions}: holds a slide that another fold tests; remove {fold.root}")
    every = PredictionSet(
        root=out,
        run=f"{first.model}-cv-{hashlib.sha256(' '.join(found.run for found in sets).encode()).hexdigest()[:6]}",
        model=first.model,
        label_map=first.label_map,
        slides=tuple(rows),
        info={
            "cross_validation": {
                fold.run.name: [slide.name for slide in found.slides] for fold, found in zip(folds, sets, strict=True)
            },
            "settings": first.info.get("settings", {}),
            "versions": first.info.get("versions", {}),
        },
    )
    with new_folder(out, marker=INFO_NAME, overwrite=True) as root:
        write_predictions(replace(every, root=root))
    return read_predictions(out)


def _from(out: Path, found: PredictionSet, slide: SlidePrediction) -> SlidePrediction:
    """The row of a slide with its rasters' paths as seen from `out`."""

    def moved(name: str | None) -> str | None:
        return None if name is None else Path(os.path.relpath(found.root / name, out)).as_posix()

    labels = moved(slide.labels)
    assert labels is not None
    changed = {name: moved(getattr(slide, name)) for name in ("probabilities", "instances", "uncertainty", "ome_zarr")}
    return msgspec.structs.replace(slide, labels=labels, **changed)
