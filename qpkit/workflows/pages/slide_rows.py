"""What a report about predictions says of each slide, as rows of one table: for the page and for CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from qpkit.files import csv_bytes
from qpkit.predictions import SlidePrediction
from qpkit.predictions.told import Told, ToldSlide
from qpkit.workflows.tables.places import Measured

Row = dict[str, Any]
"""By column; None where nothing is known."""

FOUND: Final = {"um/px": "um/px", "tissue mm2": "tissue, mm²"}

TRUST: Final = {
    "distance": "distance", "distance of farthest stripe": "farthest stripe", "its y": "at y",
    "differs most in": "differs most in", "mean entropy": "entropy", "mean spread": "spread",
    "jump at borders": "jump at borders", "jump elsewhere": "elsewhere", "broken tiles": "broken tiles",
}  # fmt: skip

SPEED: Final = {
    "tiles": "tiles", "tiles with tissue": "with tissue", "seconds": "s", "tiles per second": "tiles/s",
    "megapixels per second": "Mpx/s", "mm2 per second": "mm²/s", "readers": "threads",
    "reading seconds": "reading, s", "predicting seconds": "predicting, s", "writing seconds": "writing, s",
    "loop seconds": "loop, s", "slowest": "slowest", "device busy in loop": "device busy",
    "device busy": "of the slide",
}  # fmt: skip
"""Headings by column of `slide_rows`."""


def slide_rows(
    slides: Sequence[SlidePrediction], told: Told, measured: Sequence[Measured], classes: Sequence[str]
) -> list[Row]:
    """Say of each slide how large its classes are, how it was predicted, and how far it is to be trusted.

    Args:
        slides: Of the predictions.
        told: What predictions.json tells of them.
        measured: Areas of rasters; of them the rows of slides are used.
        classes: Their names, in the order of the columns.
    """
    said = told.by_slide
    return [_row(slide, said.get(slide.name, ToldSlide(name=slide.name)), measured, classes) for slide in slides]


def _row(slide: SlidePrediction, said: ToldSlide, measured: Sequence[Measured], classes: Sequence[str]) -> Row:
    um2 = None if slide.mpp is None else (slide.mpp / slide.downsample) ** 2
    tissue: float | None = None
    if um2 is not None and said.tissue is not None and slide.within is None:
        tissue = said.tissue * slide.width * slide.height * um2 / 1e6
    areas = areas_of(slide.name, measured)
    row: Row = {"slide": slide.name, "um/px": slide.mpp, "tissue mm2": tissue}
    for name in classes:
        area = areas[name]
        row[f"{name} mm2"] = area
        row[f"{name} fraction of tissue"] = area / tissue if tissue and area is not None else None
    return row | _trust(said) | _speed(said)


def areas_of(slide: str, measured: Sequence[Measured]) -> Mapping[str, float | None]:
    """mm2 by class on a slide."""
    return {row.class_name: row.area_mm2 for row in measured if row.level == "slide" and row.slide == slide}


def _trust(said: ToldSlide) -> Row:
    distance, seams = said.distance, said.seams
    farthest = None if distance is None else max(distance.stripes.items(), key=lambda stripe: stripe[1], default=None)
    return {
        "distance": None if distance is None else distance.slide,
        "distance of farthest stripe": farthest and farthest[1],
        "its y": farthest and farthest[0],
        "differs most in": None if distance is None else distance.strangest,
        "mean entropy": said.uncertainty.get("entropy"),
        "mean spread": said.uncertainty.get("spread"),
        "jump at borders": None if seams is None else seams.at_borders,
        "jump elsewhere": None if seams is None else seams.elsewhere,
        "broken tiles": len(said.broken) if said.tiles is not None else None,
    }


def _speed(said: ToldSlide) -> Row:
    speed = said.speed
    row: Row = {"tiles": said.tiles, "tiles with tissue": said.predicted, "seconds": said.seconds}
    names = (
        "tiles_per_second", "megapixels_per_second", "mm2_per_second", "readers", "loop_seconds", "reading_seconds",
        "predicting_seconds", "writing_seconds", "slowest", "device_busy_in_loop", "device_busy",
    )  # fmt: skip
    return row | {name.replace("_", " "): None if speed is None else getattr(speed, name) for name in names}


def rows_to_csv(rows: Sequence[Row]) -> bytes:
    """The rows as a table; what is not known is blank."""
    return csv_bytes([tuple(rows[0]), *(tuple("" if v is None else v for v in row.values()) for row in rows)])


def class_columns(names: Sequence[str]) -> dict[str, str]:
    """Headings of the areas of classes."""
    return {
        key: heading
        for name in names
        for key, heading in ((f"{name} mm2", f"{name} mm²"), (f"{name} fraction of tissue", "of the tissue"))
    }


def table_of_slides(rows: Sequence[Row], headings: Mapping[str, str]) -> dict[str, Any]:
    """A table for a page, of the columns in which something is known."""
    shown = {key: heading for key, heading in headings.items() if any(row[key] is not None for row in rows)}
    cells = [(row["slide"], *(_cell(key, row[key]) for key in shown)) for row in rows]
    return {"columns": ("slide", *shown.values()), "rows": cells}


def _cell(key: str, value: Any) -> str:
    if value is None:
        return "-"
    if "fraction" in key or "busy" in key:
        return f"{value:.1%}"
    if isinstance(value, int | str):
        return f"{value:,}" if isinstance(value, int) else value
    return f"{value:.4f}" if key.startswith(("jump", "mean")) else f"{value:.4g}"
