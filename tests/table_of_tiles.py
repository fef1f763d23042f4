"""Tables of tiles without pixels, for what looks at the table only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from qpkit.core.labels import LabelClass, LabelMap, label_map_to_builtins
from qpkit.dataset import TileRecord, write_tile_set

LABELS = LabelMap(classes=(LabelClass("Tumor", 1, ("Tumor",)), LabelClass("Stroma", 2, ("Stroma",))))


def tile(slide: str, number: int, pixels: Mapping[int, int], *, group: str = "", split: str = "train") -> TileRecord:
    """One of a row of neighbours, 100 px wide, at 0.5 um/px."""
    return TileRecord(
        slide=slide, entry="", group=group or slide, split=split, col=number, row=0, x=number * 100.0, y=0.0,  # type: ignore[arg-type]
        width=100.0, height=100.0, downsample=1.0, mpp=0.5, tissue=0.5, std=20.0, pixels=pixels,
        image=f"images/{slide}-{number}.png", mask=f"masks/{slide}-{number}.png",
    )  # fmt: skip


def write_table(root: Path, tiles: Sequence[TileRecord], **info: object) -> Path:
    """Write the table of an export; `info` adds to export.json."""
    root.mkdir(parents=True)
    write_tile_set(root, tiles, {"labels": label_map_to_builtins(LABELS), "mpp": 0.5, "tile_size_px": 100, **info})
    return root


def eight_slides() -> list[TileRecord]:
    """Slides s0 .. s7 with three tiles each: a quarter have much tumour, all have background."""
    return [
        tile(f"s{slide}", number, {0: 9000, 1: 800 if slide % 4 == 0 else 0, 2: 200})
        for slide in range(8)
        for number in range(3)
    ]
