"""What the user should be told about an export that its figures alone do not say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from qpkit.core.labels import LabelMap
from qpkit.dataset.counts import single_value
from qpkit.errors import listed
from qpkit.slides import AS_IN_FILE, SlideSource
from qpkit.workflows.export.slide import SlideReport

_ENLARGED = 0.999
"""Downsamples under this enlarge the slide; those above are rounding."""


def notes_on_slides(reports: Sequence[SlideReport], labels: LabelMap) -> list[str]:
    """Say which slides were enlarged, what the masks lack, and whether any tile is left.

    Args:
        reports: Of the slides that could be read; at least one.
        labels: Of the export.
    """
    notes = [
        f"{r.name}: enlarged {1 / r.downsample:.3g} times, as the tiles are finer than the slide"
        for r in reports
        if r.downsample < _ENLARGED
    ]
    if not any(report.tiles_kept for report in reports):
        notes.append("NO TILE WAS KEPT: look at --tissue and --only-annotated")
    return notes + _notes_on_pixels(reports, labels) + _notes_on_classes(reports, labels)


def note_on_colors(sources: Sequence[SlideSource]) -> list[str]:
    """Say in which colours slides are shown, unless all are as in their files."""
    shown = Counter(str(source.colors) for source in sources)
    if all(source.colors == AS_IN_FILE for source in sources):
        return []
    return ["colours: " + ", ".join(f"{count} slide{'s' * (count > 1)} {text}" for text, count in shown.items())]


def _notes_on_pixels(reports: Sequence[SlideReport], labels: LabelMap) -> list[str]:
    """Say it if the masks have a single value."""
    pixels = sum((Counter(report.pixels) for report in reports), Counter[int]())
    note = single_value(pixels, labels)
    return [note] if note else []


def _notes_on_classes(reports: Sequence[SlideReport], labels: LabelMap) -> list[str]:
    """Say which classes of the label map are on no slide, and which of the others no tile shows."""
    nowhere = set.intersection(*(set(report.audit.empty) for report in reports))
    names = [name for name in reports[0].audit.empty if name in nowhere]
    notes = [f"nothing was drawn of {listed(map(repr, names))} on any slide"] if names else []
    unseen = [c for c in labels.classes if c.name not in nowhere and not any(r.pixels.get(c.value) for r in reports)]
    if unseen:
        glass = {c.name: sum(r.dropped_pixels.get(c.value, 0) for r in reports) for c in unseen}
        where = [f"{name!r} ({f'{px:,} px in glass tiles' if px else 'not a pixel'})" for name, px in glass.items()]
        notes.append(f"there are objects, but no tile shows {listed(where)}")
    return notes
