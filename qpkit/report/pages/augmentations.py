"""qpkit preview RECIPE TILES: one page that shows training tiles before and after their augmentation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np

from qpkit.core.labels import LabelMap, label_colors
from qpkit.files import replace_file
from qpkit.progress import OnProgress, no_progress
from qpkit.report.figures.tiles import framed, outlined
from qpkit.report.pages.html import picture, render
from qpkit.report.values.tiles import AugmentedBatches, AugmentedTile, Pair
from qpkit.settings import Range, Settings

SIDE_PX: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentedSettings(Settings):
    """How many augmented tiles a page shows.

    Args:
        count: Tiles to show augmented.
        versions: Augmented versions of each.
    """

    count: Annotated[int, Range(at_least=1, at_most=500)] = 12
    versions: Annotated[int, Range(at_least=1, at_most=20)] = 4


def preview_augmented(shown: AugmentedBatches, page: Path, *, on_progress: OnProgress = no_progress) -> None:
    """Write the page; it needs nothing beside it.

    Args:
        shown: Tiles, one row each, and what is said of them.
        page: HTML file.
        on_progress: Called with tiles done and in all.

    Raises:
        OutputError: The page cannot be written.
    """
    labels, rows = shown.labels, []
    for number, item in enumerate(shown.tiles, start=1):
        pictures = [picture(outlined(*pair, labels, side=SIDE_PX)) for pair in (item.drawn, *item.versions)]
        for factor, wider in item.surroundings:
            pictures += [picture(framed(pixels, factor, side=SIDE_PX)) for pixels in wider]
        rows.append({"pictures": pictures, "caption": _caption(item, labels)})
        on_progress(number, len(shown.tiles), item.tile.slide)
    text = render(
        "augmented",
        title=f"Augmented tiles of {shown.recipe}",
        subtitle=f"The first {len(rows)} tiles of a training, out of {shown.batches} batch(es)",
        shown=shown,
        rows=rows,
        columns=max((1 + len(item.versions) for item in shown.tiles), default=1),
        surroundings=[factor for factor, _ in shown.tiles[0].surroundings] if shown.tiles else [],
        legend=[(labels.name_of(value), rgb) for value, rgb in label_colors(labels).items()],
        drawn=sampler_table(shown.sampler),
    )
    replace_file(page, text.encode())


def sampler_table(sampler: dict[str, Any]) -> dict[str, Any]:
    """Table of the kinds of tiles in an epoch."""
    rows = [
        (g["name"], f"{g['tiles']:,}", f"{g['per_epoch']:,}", f"{g['repeats']:.3g}") for g in sampler.get("groups", [])
    ]
    return {"columns": ("tiles", "there are", "drawn in an epoch", "times each"), "rows": rows}


def _caption(item: AugmentedTile, labels: LabelMap) -> str:
    tile = item.tile
    patient = "" if tile.group == tile.slide else f", {tile.group}"
    place = f"{tile.slide}{patient}, {tile.x:.0f} {tile.y:.0f}"
    return f"drawn for {item.drawn_for}: {place}: {fractions_of(item.drawn, labels)}"


def fractions_of(pair: Pair, labels: LabelMap) -> str:
    """ "Tumor 12 %, Stroma 40 %", or "background"."""
    fractions = [(item.name, float(np.mean(pair[1] == item.value))) for item in labels.classes]
    shown = sorted((part for part in fractions if part[1]), key=lambda part: -part[1])
    return ", ".join(f"{name} {fraction:.0%}" for name, fraction in shown) or "background"
