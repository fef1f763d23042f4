"""One row of tiles.parquet as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

Split = Literal["train", "val", "test"]

SPLITS: Final[tuple[Split, Split, Split]] = ("train", "val", "test")


ORIGINS: Final = ("human", "reviewed", "rejected", "predicted", "proposed")
"""Where labels come from, as `TileRecord.origins` has it; columns are called human_px and so on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TileRecord:
    """One row of the table.

    Args:
        slide: Name of the slide, unique in the table.
        entry: Id of the QuPath entry, or "" for a slide without a project.
        group: What the split keeps together (slide, patient ...).
        split: "train", "val" or "test".
        col, row: Place in the slide's grid.
        x, y, width, height: The tile in slide px; whole tiles, so the last ones reach past the slide's edge.
        downsample: Slide px per tile px.
        mpp: um per tile px (NaN if the export was asked for a downsample and the slide has no mpp).
        tissue: Fraction of the tile that the slide's thumbnail shows as tissue, 0..1.
        std: Standard deviation over the tile's RGB values, grey levels; NaN where no pixel was read.
        pixels: Mask pixels by value; values that the label map does not have are absent.
        image, mask: Paths relative to the table's folder, '/' between parts; names of members where there is a
            `shard`; "" where tiles are drawn when they are read.
        others: The same for further layers by name: "image_x4", "mask_x4" (context), "instances".
        shard: Path of the tar file that holds all layers, or "".
        places: (offset, length) of each layer in the shard, bytes.
        origins: After a review (`qpkit export --reviewed`) mask pixels by where their label comes from: "human" and
            "reviewed", together all that are not ignore, and "rejected", the background where a prediction was
            deleted; "proposed" are those of "reviewed" that began as a cluster without labels and that somebody has
            named. Where predictions were drawn (`--with-predictions`) "predicted" are those that nobody has looked
            at. Empty for other tables.
        predicted_by: The runs of these, separated by ", ".
        predicted_probability: Their mean probability, 0..1; None if it is not known.
    """

    slide: str
    entry: str
    group: str
    split: Split
    col: int
    row: int
    x: float
    y: float
    width: float
    height: float
    downsample: float
    mpp: float
    tissue: float
    std: float
    pixels: Mapping[int, int]
    image: str
    mask: str
    others: Mapping[str, str] = field(default_factory=dict)
    shard: str = ""
    places: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    origins: Mapping[str, int] = field(default_factory=dict)
    predicted_by: str = ""
    predicted_probability: float | None = None

    @property
    def key(self) -> str:
        """Which tile of the table it is, whatever store it lies in."""
        return f"{self.slide} c{self.col} r{self.row}"

    def path_of(self, layer: str) -> str:
        """Path or member name of a layer.

        Raises:
            KeyError: The tile has no such layer.
        """
        return {"image": self.image, "mask": self.mask, **self.others}[layer]
