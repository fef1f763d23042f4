"""Divide slides or tiles without labels, and write what comes out: rasters for contract 2, tables, pictures."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from qpkit.core.labels import LabelClass, LabelMap, label_colors
from qpkit.core.provenance import PROPOSED_RUN
from qpkit.core.review import PROPOSED
from qpkit.dataset import TileRecord, TileSet
from qpkit.dataset.manifest import TABLE_NAME
from qpkit.errors import ConfigError
from qpkit.files import csv_bytes, new_folder, pretty_json, quick_hash, safe_names, sha256
from qpkit.predictions import PredictionSet, SlidePrediction, create_raster, write_predictions
from qpkit.predictions.store import INFO_NAME
from qpkit.progress import OnProgress, no_progress
from qpkit.slides import SlideSource
from qpkit_train.machine.devices import pick_device
from qpkit_train.run_folder.records import versions
from qpkit_train.unsupervised.canvas import Canvas, canvases_of_slides, canvases_of_tiles
from qpkit_train.unsupervised.division import Division
from qpkit_train.unsupervised.methods import TemplatePlace, divide
from qpkit_train.unsupervised.propose_settings import DEFAULT_PROPOSE, ProposeSettings

TILES_NAME: Final = "proposals.json"
"""Of tiles; slides have predictions.json."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposals:
    """What came out.

    Args:
        out: The folder.
        run: Id: the same for the same settings and slides.
        clusters: Name of each class and its fraction of the tissue, all slides together.
        device: Where networks worked.
        facts: What the method says of itself.
        notes: What the user has to know.
        seconds: Wall time.
    """

    out: Path
    run: str
    clusters: Mapping[str, float]
    device: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


def proposed_labels(clusters: int) -> LabelMap:
    """What rasters mean: "Proposed: 1" is 1; 0 is not tissue."""
    names = {number: PROPOSED.format(number) for number in range(1, clusters + 1)}
    return LabelMap(classes=tuple(LabelClass(name, number, (name,)) for number, name in names.items()))


def propose(
    source: TileSet | Sequence[SlideSource], out: Path, settings: ProposeSettings = DEFAULT_PROPOSE, *,
    templates: Sequence[TemplatePlace] = (), overwrite: bool = False, on_progress: OnProgress = no_progress,
) -> Proposals:  # fmt: skip
    """Divide tissue into clusters that are the same for all slides.

    Args:
        source: Slides, or tiles, each of which is divided as it is.
        out: Folder to make. Of slides it is one that `qpkit import-predictions`, `evaluate` and `report` read; of tiles
            it holds label images.
        settings: How.
        templates: Where annotations show what clusters look like.
        overwrite: Replace what an earlier call made.
        on_progress: Called with (done, of, text).

    Raises:
        ConfigError: Settings do not go together, less tissue than clusters, tissue that is all alike, or features that
            cannot be had.
        FormatError: A slide cannot be read.
        OutputError: `out` is taken or cannot be written.
    """
    start = time.perf_counter()
    if faults := list(settings.faults()):
        raise ConfigError("; ".join(faults))
    device = pick_device()
    marker = TILES_NAME if isinstance(source, TileSet) else INFO_NAME
    with ExitStack() as stack:
        folder = stack.enter_context(new_folder(out, marker=marker, overwrite=overwrite))
        if isinstance(source, TileSet):
            canvases = canvases_of_tiles(source, source.tiles)
            identity = [sha256(source.root / TABLE_NAME)]
        else:
            canvases = canvases_of_slides(source, settings.mpp, stack, only_tissue=settings.only_tissue)
            identity = [f"{item.name} {quick_hash(item.path)}" for item in source]
        run = _run_id(settings, identity)
        division = divide(canvases, settings, templates, device, on_progress)
        labels = proposed_labels(settings.clusters)
        if isinstance(source, TileSet):
            counts = _write_tiles(source.tiles, canvases, division, folder, labels, on_progress)
        else:
            counts = _write_slides(source, canvases, division, folder, labels, on_progress)
        facts = {"settings": asdict(settings), "facts": dict(division.facts), "versions": versions()}
        notes = (*(f"{canvas.name}: {canvas.note}" for canvas in canvases if canvas.note), *division.notes)
        if division.patches:
            (folder / "clusters.csv").write_bytes(_patches_csv(division))
        for name, content in division.pictures.items():
            (folder / name).write_bytes(content)
        if isinstance(source, TileSet):
            record = {**facts, "run": run, "tiles": str(source.root.resolve())}
            (folder / TILES_NAME).write_bytes(pretty_json(record) + b"\n")
        else:
            slides = tuple(_row(item, canvas, division.cell, stem) for item, canvas, stem in
                           zip(source, canvases, _stems(canvases), strict=True))  # fmt: skip
            write_predictions(
                PredictionSet(root=folder, run=run, model=f"proposals by {settings.method}", label_map=labels,
                              slides=slides, info=facts)
            )  # fmt: skip
    tissue = max(1, int(counts[1:].sum()))
    return Proposals(
        out=out,
        run=run,
        clusters={item.name: float(counts[item.value] / tissue) for item in labels.classes},
        device=str(device),
        facts=division.facts,
        notes=notes,
        seconds=time.perf_counter() - start,
    )


def _run_id(settings: ProposeSettings, identity: Iterable[str]) -> str:
    content = msgspec.json.encode([asdict(settings), *identity])
    return f"{PROPOSED_RUN}{settings.method}-{hashlib.sha256(content).hexdigest()[:6]}"


def _stems(canvases: Sequence[Canvas]) -> list[str]:
    return safe_names([canvas.name for canvas in canvases])


def _row(source: SlideSource, canvas: Canvas, cell: int, stem: str) -> SlidePrediction:
    width, height = canvas.slide_size
    return SlidePrediction(
        name=source.name, image=str(source.path), entry=source.entry, width=width, height=height,
        downsample=canvas.downsample * cell, mpp=None if canvas.mpp is None else canvas.mpp * cell,
        labels=f"{stem}.tif",
    )  # fmt: skip


def _write_slides(
    sources: Sequence[SlideSource], canvases: Sequence[Canvas], division: Division, folder: Path, labels: LabelMap,
    on_progress: OnProgress,
) -> NDArray[np.int64]:  # fmt: skip
    """Write a raster a slide; gives the px of each value."""
    counts = np.zeros(256, np.int64)
    for number, (source, canvas, stem) in enumerate(zip(sources, canvases, _stems(canvases), strict=True)):
        row = _row(source, canvas, division.cell, stem)
        columns, rows = canvas.cells(division.cell)
        with create_raster(
            folder / row.labels, width=columns, height=rows, downsample=row.downsample, mpp=row.mpp,
            colors=label_colors(labels),
        ) as writer:  # fmt: skip
            for x, y, clusters in division.windows(canvas):
                part = clusters[: rows - y, : columns - x]
                writer.write(part, x=x, y=y)
                counts += np.bincount(part.ravel(), minlength=256)
        on_progress(number + 1, len(sources), f"{source.name}: written")
    return counts


def _write_tiles(
    tiles: Sequence[TileRecord], canvases: Sequence[Canvas], division: Division, folder: Path, labels: LabelMap,
    on_progress: OnProgress,
) -> NDArray[np.int64]:  # fmt: skip
    """Write a label image a tile, of the tile's px; gives the px of each value."""
    counts = np.zeros(256, np.int64)
    (folder / "labels").mkdir()
    palette = np.zeros((256, 3), np.uint8)
    for value, color in label_colors(labels).items():
        palette[value] = color
    rows = [["slide", "col", "row", "x", "y", "label_image"]]
    for number, (tile, canvas, stem) in enumerate(zip(tiles, canvases, _stems(canvases), strict=True)):
        found = raster_of(canvas, division)
        counts += np.bincount(found.ravel(), minlength=256)
        picture = Image.fromarray(found, mode="P")
        picture.putpalette(palette.tobytes())
        picture.save(folder / "labels" / f"{stem}.png")
        rows.append([tile.slide, str(tile.col), str(tile.row), f"{tile.x:g}", f"{tile.y:g}", f"labels/{stem}.png"])
        on_progress(number + 1, len(tiles), "label images")
    (folder / "labels.csv").write_bytes(csv_bytes(rows))
    return counts


def raster_of(canvas: Canvas, division: Division) -> NDArray[np.uint8]:
    """The clusters of a small canvas, (height, width) uint8 of its px."""
    columns, rows = canvas.cells(division.cell)
    cells = np.zeros((rows, columns), np.uint8)
    for x, y, clusters in division.windows(canvas):
        part = clusters[: rows - y, : columns - x]
        cells[y : y + part.shape[0], x : x + part.shape[1]] = part
    return cells.repeat(division.cell, axis=0).repeat(division.cell, axis=1)[: canvas.height, : canvas.width]


def _patches_csv(division: Division) -> bytes:
    rows = [[row.canvas, row.x, row.y, row.side, row.name, f"{row.probability:.4f}"]
            for row in division.patches]  # fmt: skip
    return csv_bytes([["slide", "x_px", "y_px", "side_px", "cluster", "probability"], *rows])
