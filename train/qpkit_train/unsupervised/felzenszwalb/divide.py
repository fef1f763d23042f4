"""Felzenszwalb's segments at eight scales, templates, and what both say together of each place.

Windows are segmented with a margin. What two windows see alike is one segment (`hierarchy.same_segments`), so the tree
is that of the slide. What windows know lies in temporary files; only the finest segments' numbers stay in memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qpkit.core.review import PROPOSED
from qpkit.cores import available_cores
from qpkit.progress import OnProgress, Ticker, no_progress
from qpkit.report.figures.segments import draw_segments
from qpkit_train.unsupervised.canvas import Canvas
from qpkit_train.unsupervised.division import Division, Window
from qpkit_train.unsupervised.felzenszwalb.belief import priors
from qpkit_train.unsupervised.felzenszwalb.hierarchy import Hierarchy, Piece, hierarchy_of, piece_of, same_segments
from qpkit_train.unsupervised.felzenszwalb.scales import SCALES, segments_of
from qpkit_train.unsupervised.felzenszwalb.templates import SIDE, STEP, Templates, grey_of, soft_mask

CELL: Final = 4
"""Px of the canvas per px of what comes out: the finest segments have 64 px."""

_WINDOW: Final = 1024
_MARGIN: Final = 128
_SHOWN: Final = 512
"""Px of the square that is shown step by step."""

_STRIP: Final = 32
"""Px across the border between two windows in which they are compared."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What a window knows.

    Args:
        x, y: Corner of its core.
        side: Of its core.
        pieces: Of each scale.
        file: Keeps the finest segment of each cell of the core, the soft mask, and the segments of all scales at the
            four borders.
    """

    x: int
    y: int
    side: int
    pieces: Sequence[Piece]
    file: Path


def example_picture(canvases: Sequence[Canvas], templates: Templates, strength: float) -> bytes | None:
    """Show the middle of the first tissue: segments of each scale, soft masks, posteriors, clusters.

    Returns:
        The content of a PNG file; None where no canvas has tissue.
    """
    canvas = next((each for each in canvases if next(each.windows(_SHOWN), None)), None)
    if canvas is None:
        return None
    side = min(_SHOWN, canvas.window_side(_WINDOW, SIDE))
    windows = list(canvas.windows(side))
    x, y = windows[len(windows) // 2]
    pixels = canvas.read(x, y, width=side, height=side)
    grey = grey_of(pixels)
    soft, scales = soft_mask(grey, templates), segments_of(grey)
    pieces = [
        piece_of(own, coarser, grey, int(own.max()) + 1)
        for own, coarser in zip(scales, [*scales[1:], None], strict=True)
    ]
    tree = hierarchy_of([pieces], [])
    wide, owners = _wide(soft, STEP), tree.numbers[0][scales[0]]
    inside = canvas.tissue_in(x, y, width=side, height=side)
    evidence = _logs(*_sums(owners, wide, inside, len(tree.areas)), strength)
    logs = np.log(np.maximum(priors(tree.levels, evidence), 1e-12))[owners] + strength * wide
    posterior = np.exp(logs - logs.max(axis=-1, keepdims=True))
    posterior /= posterior.sum(axis=-1, keepdims=True)
    titles = {
        f"scale {scale} ({int(own.max()) + 1:,} segments)": own for scale, own in zip(SCALES, scales, strict=True)
    }
    probabilities = {f"templates of {PROPOSED.format(kind + 1)}": soft[..., kind] for kind in range(templates.count)}
    probabilities |= {
        f"posterior of {PROPOSED.format(kind + 1)}": posterior[..., kind] for kind in range(templates.count)
    }
    return draw_segments(pixels, titles, probabilities, (posterior.argmax(axis=-1) + 1).astype(np.uint8))


def divide_segments(templates: Templates, *, strength: float, on_progress: OnProgress = no_progress) -> Division:
    """Divide canvases, one after another as they are asked for, by templates of each cluster.

    For each px the posterior of a kind is its prior in the tree of segments times exp(-strength (1 - y)), with the
    soft mask y of that kind. For two kinds these are the published likelihoods.

    Args:
        templates: What each cluster looks like.
        strength: Of the templates against the segments; the document's lambda.
        on_progress: Called with (windows done, windows, canvas).
    """

    def windows(canvas: Canvas) -> Iterator[Window]:
        with tempfile.TemporaryDirectory(prefix="qpkit-segments-") as folder:
            found = _looked_at(canvas, templates, Path(folder), on_progress)
            if found:
                yield from _answers(canvas, found, templates.count, strength)

    facts = {"scales": list(SCALES), "templates": len(templates.kinds), "strength": strength}
    return Division(cell=CELL, clusters=templates.count, windows=windows, facts=facts)


def _looked_at(canvas: Canvas, templates: Templates, folder: Path, on_progress: OnProgress) -> list[_Found]:
    """Segment all windows, as many at a time as there are cores."""
    core_side = canvas.window_side(_WINDOW, SIDE)
    places = list(canvas.windows(core_side))
    tick = Ticker(len(places), on_progress)
    side = core_side + 2 * _MARGIN

    def look(pixels: NDArray[np.uint8], x: int, y: int) -> _Found:
        grey = grey_of(pixels)
        soft = soft_mask(grey, templates)
        scales = segments_of(grey)
        core = slice(_MARGIN, -_MARGIN)
        cores = [segments[core, core] for segments in scales]
        pieces = [
            piece_of(own, coarser, grey[core, core], int(whole.max()) + 1)
            for own, coarser, whole in zip(cores, [*cores[1:], None], scales, strict=True)
        ]
        margin, middle = _MARGIN // STEP, CELL // 2
        file = folder / f"{x}-{y}.npz"
        leaves = cores[0][middle::CELL, middle::CELL]
        kept = {"leaves": leaves, "soft": soft[margin:-margin, margin:-margin], **_strips(np.stack(scales))}
        np.savez(file, allow_pickle=False, **kept)
        return _Found(x, y, core_side, pieces, file)

    found = []
    with ThreadPoolExecutor(available_cores()) as threads:
        # Slides are read by one thread; only so many windows wait as can be worked at.
        for start in range(0, len(places), available_cores()):
            some = places[start : start + available_cores()]
            read = [canvas.read(x - _MARGIN, y - _MARGIN, width=side, height=side) for x, y in some]
            for one in threads.map(look, read, *zip(*some, strict=True)):
                found.append(one)
                tick(canvas.name)
    return found


def _answers(canvas: Canvas, found: Sequence[_Found], kinds: int, strength: float) -> Iterator[Window]:
    tree = hierarchy_of([one.pieces for one in found], _seams(found))
    found = [replace(one, pieces=()) for one in found]
    evidence = _evidence(canvas, found, tree, kinds, strength)
    prior = np.log(np.maximum(priors(tree.levels, evidence), 1e-12)).astype(np.float32)
    for one, numbers in zip(found, tree.numbers, strict=True):
        leaves, soft = _cells_of(one)
        posterior = prior[numbers[leaves]] + strength * _wide(soft, STEP // CELL)
        inside = _tissue_of(canvas, one)
        yield one.x // CELL, one.y // CELL, np.where(inside, posterior.argmax(axis=-1) + 1, 0).astype(np.uint8)


def _evidence(
    canvas: Canvas, found: Sequence[_Found], tree: Hierarchy, kinds: int, strength: float
) -> NDArray[np.float64]:
    """Log-likelihood of each kind of the finest segments: that of the mean of the soft mask where tissue is."""
    sums, counts = np.zeros((len(tree.areas), kinds)), np.zeros(len(tree.areas))
    for one, numbers in zip(found, tree.numbers, strict=True):
        leaves, soft = _cells_of(one)
        own = _sums(numbers[leaves], _wide(soft, STEP // CELL), _tissue_of(canvas, one), len(tree.areas))
        sums, counts = sums + own[0], counts + own[1]
    return _logs(sums, counts, strength)


def _sums(
    owners: NDArray[np.int64], soft: NDArray[np.float32], inside: NDArray[np.bool_], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The soft mask added up over each segment's tissue, (count, kinds), and its places, (count,)."""
    own = owners[inside]
    kinds = [np.bincount(own, soft[..., kind][inside], count) for kind in range(soft.shape[-1])]
    return np.stack(kinds, axis=1), np.bincount(own, minlength=count).astype(np.float64)


def _logs(sums: NDArray[np.float64], counts: NDArray[np.float64], strength: float) -> NDArray[np.float64]:
    """Of means; segments without tissue say nothing."""
    even = 1 / sums.shape[1]
    means = np.where(counts[:, np.newaxis] > 0, sums / np.maximum(counts, 1)[:, np.newaxis], even)
    return np.asarray(-strength * (1 - means))


def _tissue_of(canvas: Canvas, one: _Found) -> NDArray[np.bool_]:
    """Which cells of a core are tissue."""
    side = one.side // CELL
    return canvas.tissue_in(one.x // CELL, one.y // CELL, width=side, height=side, cell=CELL)


def _cells_of(one: _Found) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The finest segment at the middle of each cell of the core, and the soft mask."""
    with np.load(one.file) as kept:
        return kept["leaves"], kept["soft"]


def _wide(values: NDArray[np.float32], times: int) -> NDArray[np.float32]:
    return values.repeat(times, axis=0).repeat(times, axis=1)


def _strips(segments: NDArray[np.int32]) -> dict[str, NDArray[np.int32]]:
    """What lies along the borders of the core, half of it outside: (scales, h, w) each."""
    core, half = slice(_MARGIN, -_MARGIN), _STRIP // 2
    first = slice(_MARGIN - half, _MARGIN + half)
    last = slice(-_MARGIN - half, -_MARGIN + half)
    return {
        "left": segments[:, core, first],
        "right": segments[:, core, last],
        "top": segments[:, first, core],
        "bottom": segments[:, last, core],
    }


def _seams(found: Sequence[_Found]) -> list[tuple[int, int, list[NDArray[np.int64]]]]:
    """Compare neighbours at their common borders."""
    places = {(one.x, one.y): number for number, one in enumerate(found)}
    seams = []
    for number, one in enumerate(found):
        for x, y, mine, its in ((one.side, 0, "right", "left"), (0, one.side, "bottom", "top")):
            other = places.get((one.x + x, one.y + y))
            if other is not None:
                with np.load(one.file) as first, np.load(found[other].file) as second:
                    pairs = zip(first[mine], second[its], strict=True)
                    seams.append((number, other, [same_segments(a, b) for a, b in pairs]))
    return seams
