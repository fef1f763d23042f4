"""Tiles that lie nowhere: pixels are read from the slides and masks drawn from the objects when they are asked for."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import msgspec
from numpy.typing import NDArray

from qpkit.core.annotation import Plane
from qpkit.core.labels import LabelMap
from qpkit.core.tiles import Tile
from qpkit.dataset.record import TileRecord
from qpkit.dataset.snapshot import read_snapshot
from qpkit.dataset.stores.layers import INSTANCES
from qpkit.errors import FormatError
from qpkit.files import quick_hash, sha256
from qpkit.ops.masks.pixel_rule import PixelRule
from qpkit.ops.masks.rasterize import Painting
from qpkit.slides import AS_IN_FILE, Colors, Slide, SlideSource, open_source, parse_step

_OPEN_SLIDES: Final = 8
"""Per thread. OpenSlide keeps a cache of its own for each."""


class StreamedSlide(msgspec.Struct, kw_only=True):
    """One row of "slides" in export.json.

    Args:
        name: As in the table.
        path: Where the image was, absolute.
        beside: The same from the folder of the table, for folders that move together.
        quick_hash: Of the image.
        mpp: um per slide px, or None.
        width, height: Slide px.
        annotations: Snapshot of the objects, relative to the table; "" if the export keeps none.
        reader, series, to_bounds, steps, colors: How it was opened, as in SlideSource; steps as text.
        profiles_sha256: Of the files of ICC profiles that `colors` names, by path.
        metadata: Of the project's entry; empty in exports of earlier versions.
        origin: Where its annotations are: the project, the GeoJSON file, or the folder of images and masks; "" in
            exports of earlier versions.
    """

    name: str
    path: str
    beside: str
    quick_hash: str
    mpp: float | None
    width: int
    height: int
    annotations: str = ""
    reader: str = "auto"
    series: int = 0
    to_bounds: bool = True
    steps: list[str] = []
    colors: Colors = AS_IN_FILE
    profiles_sha256: dict[str, str] = {}
    metadata: dict[str, str] = {}
    origin: str = ""


def path_beside(path: Path, out: Path) -> str:
    """The path of an image from the folder of a table, as StreamedSlide.beside has it; both resolved."""
    try:
        return Path(os.path.relpath(path, out)).as_posix()
    except ValueError:  # another drive
        return str(path)


def open_exported_slide(root: Path, info: Mapping[str, Any], name: str) -> Slide:
    """Open a slide of an export, where it was or where it lies from the folder of the table.

    Args:
        root: Folder of the table.
        info: export.json.
        name: Of the slide in the table.

    Raises:
        FormatError: It is gone, is another file now, or the export does not say where it was.
    """
    for row in msgspec.convert(info.get("slides", []), list[StreamedSlide]):
        if row.name == name:
            _require_profiles(row)
            return open_source(
                SlideSource(
                    name=name,
                    path=_file(row, root),
                    mpp=row.mpp,
                    reader=row.reader,
                    series=row.series,
                    to_bounds=row.to_bounds,
                    steps=tuple(map(parse_step, row.steps)),
                    colors=row.colors,
                )
            )
    raise FormatError(f"slide {name!r}: {root} does not say where it was; export again")


def exported_plane(info: Mapping[str, Any]) -> Plane:
    """The z and t of an export, from its export.json."""
    settings = info.get("settings", {})
    return Plane(z=int(settings.get("z", 0)), t=int(settings.get("t", 0)))


def _file(row: StreamedSlide, root: Path) -> Path:
    """Find the image where it was, or beside the table as it was.

    Raises:
        FormatError: It is gone, or is another one now.
    """
    there = [path for path in (Path(row.path), root / row.beside) if path.exists()]
    if not there:
        raise FormatError(f"slide {row.name!r}: {row.path} is gone; put it back, or export again")
    if quick_hash(there[0]) != row.quick_hash:
        raise FormatError(f"slide {row.name!r}: {there[0]} is another file than was exported; export again")
    return there[0]


def _require_profiles(row: StreamedSlide) -> None:
    """Raise FormatError unless the files of its ICC profiles are those of the export."""
    for name, before in row.profiles_sha256.items():
        if not Path(name).is_file() or sha256(Path(name)) != before:
            raise FormatError(f"slide {row.name!r}: the ICC profile {name} is gone, or another one now; export again")


def exported_colors(info: Mapping[str, Any]) -> dict[str, Colors]:
    """In which colours the slides of an export were shown, by name, from its export.json."""
    return {row.name: row.colors for row in msgspec.convert(info.get("slides", []), list[StreamedSlide])}


class SlideStore:
    """Reads tiles from slides; each thread opens slides of its own.

    Args:
        root: Folder of the table.
        info: export.json with "slides" (see StreamedSlide), "tile_size_px" and "settings".
        labels: What is drawn.
    """

    def __init__(self, root: Path, info: Mapping[str, Any], labels: LabelMap) -> None:
        self._root, self._info, self._labels = root, info, labels
        self._slides = {row.name: row for row in msgspec.convert(info["slides"], list[StreamedSlide])}
        self._tile_size = int(info["tile_size_px"])
        self._pixel_rule: PixelRule = info["settings"]["pixel_rule"]
        self._plane = exported_plane(info)
        self._open = threading.local()
        self._paintings: dict[tuple[str, float], Painting] = {}
        self._lock = threading.Lock()

    def read(self, tile: TileRecord, layer: str) -> NDArray[Any]:
        """Give one layer of a tile; see TileStore."""
        kind, _, context = layer.partition("_x")
        return self._layer(tile, kind, self._place(tile).surroundings(int(context or 1)))

    def window(
        self, tile: TileRecord, layer: str, *, x: int, y: int, side: int, margin: int = 0, factor: int = 1
    ) -> NDArray[Any]:
        """Read a square of the tile's slide, in or beside the tile, or the surroundings of that square.

        What lies inside the tile is what `read` gives, to the bit.

        Args:
            tile: Of the table.
            layer: "image" or "mask".
            x, y: Left top corner from that of the tile, tile px; may be negative.
            side: Tile px.
            margin: px more on each side, of the resolution that is read.
            factor: How many times its surroundings are shown, in as many px; `Tile.surroundings` says of which squares.
        """
        place = self._place(tile)
        square = replace(place, x=place.x + x, y=place.y + y, width=side, height=side)
        return self._layer(tile, layer, replace(square.surroundings(factor), halo=margin))

    def _layer(self, tile: TileRecord, kind: str, place: Tile) -> NDArray[Any]:
        if kind == "image":
            return self._slide(tile.slide).read(place)
        painting = self._painting(tile.slide, place.downsample)
        return painting.draw_instances(place)[0] if kind == INSTANCES else painting.draw_mask(place)

    def _place(self, tile: TileRecord) -> Tile:
        return Tile(
            col=tile.col,
            row=tile.row,
            x=round(tile.x / tile.downsample),  # in slide px in the table; tiles lie on whole level px
            y=round(tile.y / tile.downsample),
            width=self._tile_size,
            height=self._tile_size,
            downsample=tile.downsample,
            plane=self._plane,
        )

    def _slide(self, name: str) -> Slide:
        # A threading.local has a __dict__ for each thread; a data set of GDAL may not be shared by threads.
        mine: dict[str, Slide] = self._open.__dict__.setdefault("slides", {})
        if name not in mine:
            if len(mine) >= _OPEN_SLIDES:
                mine.pop(next(iter(mine))).close()
            mine[name] = open_exported_slide(self._root, self._info, name)
        return mine[name]

    def _painting(self, name: str, downsample: float) -> Painting:
        with self._lock:
            if (name, downsample) not in self._paintings:
                row = self._slides[name]
                self._paintings[name, downsample] = Painting(
                    read_snapshot(self._root / row.annotations),
                    self._labels,
                    downsample=downsample,
                    slide_size=(row.width, row.height),
                    plane=self._plane,
                    pixel_rule=self._pixel_rule,
                    mpp=row.mpp,
                )
            return self._paintings[name, downsample]
