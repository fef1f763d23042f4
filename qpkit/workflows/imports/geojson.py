"""Predictions as GeoJSON files, for groovy/import_predictions.groovy and other programs."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from qpkit.files import new_folder, pretty_json, safe_names
from qpkit.predictions import PredictionSet, SlidePrediction
from qpkit.progress import OnProgress, no_progress
from qpkit.qupath import write_geojson
from qpkit.workflows.imports.objects import renamed, slide_objects
from qpkit.workflows.imports.rasters import ticker
from qpkit.workflows.imports.result import SlideImport, report
from qpkit.workflows.imports.settings import ImportSettings

INFO_NAME: Final = "import.json"
"""Beside GeoJSON files: which run they are of, which slide each belongs to, and the report."""


def predictions_to_geojson(
    predictions: PredictionSet,
    out: Path,
    settings: ImportSettings,
    *,
    overwrite: bool = False,
    on_progress: OnProgress = no_progress,
) -> list[SlideImport]:
    """Write one GeoJSON file per slide instead of touching a project.

    Raises:
        OutputError: `out` holds something.
    """
    predictions = replace(predictions, label_map=renamed(predictions.label_map, settings))
    tick = ticker(predictions, on_progress)
    reports = []
    ending = ".geojson.gz" if settings.gzip else ".geojson"
    names = [f"{stem}{ending}" for stem in safe_names([s.name for s in predictions.slides])]
    with new_folder(out, marker=INFO_NAME, overwrite=overwrite) as root:
        for slide, name in zip(predictions.slides, names, strict=True):
            start = time.perf_counter()
            shapes = slide_objects(predictions, slide, settings, tick)
            write_geojson(root / name, shapes.objects, are_valid=True)
            reports.append(report(predictions, slide, shapes, {"added": len(shapes.objects)}, start))
        record = {
            "run": predictions.run,
            "model": predictions.model,
            "files": [_file(slide, name) for slide, name in zip(predictions.slides, names, strict=True)],
            "slides": msgspec.to_builtins(reports),
        }
        (root / INFO_NAME).write_bytes(pretty_json(record) + b"\n")
    return reports


def _file(slide: SlidePrediction, name: str) -> dict[str, str | int]:
    """What groovy/import_predictions.groovy finds the entry of a file by, as `_entry_of` does."""
    place = {"slide": slide.name, "image": slide.image, "entry": slide.entry}
    return {"file": name, **place, "width": slide.width, "height": slide.height}
