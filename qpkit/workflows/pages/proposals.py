"""The page of qpkit propose: slides with their clusters, examples, and what annotations say of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from qpkit.core.labels import label_colors
from qpkit.files import replace_file
from qpkit.predictions import PredictionSet
from qpkit.predictions.store import read_window
from qpkit.report.pages.html import picture, png_picture, render
from qpkit.workflows.evaluate.clusters import ClusterResult, score_rows
from qpkit.workflows.inputs.slides import SlideInput
from qpkit.workflows.pages.preview import SLIDE_PX
from qpkit.workflows.pages.slide_pictures import thumbnail_of, with_classes

_FIGURES: Final = {
    "samples.png": "Examples of each cluster",
    "segments.png": "A square of the first slide: segments of each scale, templates, posteriors, clusters",
    "latent.png": "Where patches lie among each other",
    "loss.png": "Loss",
}


def proposals_page(
    predictions: PredictionSet,
    inputs: Sequence[SlideInput],
    page: Path,
    scores: ClusterResult | None,
    *,
    facts: Mapping[str, Any],
    notes: Sequence[str],
    clusters: Mapping[str, float],
) -> None:
    """Write a page that needs nothing beside it.

    Args:
        predictions: The proposals.
        inputs: Their slides.
        page: HTML file to write.
        scores: Against annotations, or None.
        facts: What the method says of itself.
        notes: What the user has to know.
        clusters: Fraction of the tissue of each.

    Raises:
        OutputError: It cannot be written.
    """
    labels = predictions.label_map
    by_name = {item.source.name: item for item in inputs}
    slides = []
    for slide in predictions.slides:
        source = by_name[slide.name].source
        ground = thumbnail_of(lambda source=source: source, (slide.width, slide.height), side=SLIDE_PX)  # type: ignore[misc]
        mask = read_window(predictions.root / slide.labels, ground.tile, raster_downsample=slide.downsample)
        slides.append(
            {
                "name": slide.name,
                "plain": picture(ground.pixels),
                "picture": picture(with_classes(ground, mask, labels, [], show_ignore=False)),
            }
        )
    assignment = dict(zip((item.name for item in labels.classes), scores.assignment, strict=True)) if scores else {}
    rows = [[name, f"{fraction:.1%}", *([assignment[name]] if scores else [])] for name, fraction in clusters.items()]
    found = score_rows(scores) if scores else []
    text = render(
        "proposals",
        title=f"Proposals {predictions.root.name}",
        subtitle=f"run {predictions.run}, {predictions.model}, {len(slides)} slide(s)",
        notes=notes,
        legend=[(labels.name_of(value), rgb) for value, rgb in label_colors(labels).items()],
        clusters={"columns": ["cluster", "of the tissue", *(["most like"] if scores else [])], "rows": rows},
        scores={"columns": list(found[0]), "rows": [list(row.values()) for row in found]} if found else None,
        means=_means(scores),
        figures=[
            (title, png_picture((predictions.root / name).read_bytes()))
            for name, title in _FIGURES.items()
            if (predictions.root / name).is_file()
        ],
        facts=[[name, _said(value)] for name, value in facts.items()],
        slides=slides,
    )
    replace_file(page, text.encode())


def _means(scores: ClusterResult | None) -> list[str]:
    """Means over slides, in words."""
    if scores is None:
        return []
    found = []
    for which, words in (
        ("elsewhere", "classes of clusters chosen on the other slides"),
        ("here", "chosen on the slide itself, as is often published"),
        ("one_class", "everything called one class"),
    ):
        dice, iou = scores.mean_of(which, "dice"), scores.mean_of(which, "iou")
        if dice is not None and iou is not None:
            found.append(f"{words}: mean Dice {dice:.3f}, mean IoU {iou:.3f}")
    return found


def _said(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
