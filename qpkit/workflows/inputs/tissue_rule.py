"""Which tiles of a slide are glass: by their own pixels, by the thumbnail, by the user's mask or class.

Whatever the rule, the thumbnail is looked at first, so that plain glass is never decoded at full resolution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from qpkit.core.annotation import Annotation
from qpkit.core.labels import LabelClass, LabelMap
from qpkit.core.pictures import DAMAGED_IMAGE, open_large_image
from qpkit.core.tiles import SlideInfo, Tile
from qpkit.errors import ConfigError
from qpkit.ops.masks.rasterize import rasterize
from qpkit.ops.tissue import ThumbnailTissue, thumbnail_tissue, tissue_fraction

MIN_FRACTION: Final = 0.05
"""A tile stays if at least this fraction of it is tissue (otsu, mask and class)."""

_FLAT: Final = 0.5
"""A tile whose thumbnail varies by less than this fraction of the std threshold is not decoded to be measured."""

_SAME_SHAPE: Final = 0.02
_SUFFIXES: Final = (".png", ".tif", ".tiff", ".jpg")


@dataclass(frozen=True, slots=True)
class TissueRule:
    """Which tiles stay.

    Args:
        by: "std" drops tiles whose RGB standard deviation is under `threshold`; "otsu" those
            with less than 5 % tissue on the thumbnail; "mask" and "class" those with less than 5 % in the user's
            mask or inside the annotations of a class; "none" drops nothing.
        threshold: Grey levels for "std", else a fraction.
        source: File or folder of "mask", name of "class".
    """

    by: Literal["std", "otsu", "mask", "class", "none"] = "std"
    threshold: float = 12.5
    source: str = ""

    @classmethod
    def parse(cls, text: str) -> TissueRule:
        """Read "std:12.5", "otsu", "mask:PATH", "class:NAME" or "none".

        Raises:
            ConfigError: Anything else.
        """
        kind, _, rest = text.partition(":")
        if text == "otsu":
            return cls("otsu", MIN_FRACTION)
        if text == "none":
            return cls("none", 0.0)
        if kind == "mask" and rest:
            return cls("mask", MIN_FRACTION, rest)
        if kind == "class" and rest.strip():
            return cls("class", MIN_FRACTION, rest.strip())
        try:
            threshold = float(rest) if rest else 12.5
        except ValueError:
            threshold = math.nan
        if kind != "std" or not threshold >= 0:
            raise ConfigError(
                f"--tissue {text!r}: has to be std:NUMBER (grey levels, such as std:12.5), otsu, mask:PATH, "
                "class:NAME or none"
            )
        return cls("std", threshold)

    def __str__(self) -> str:
        if self.by == "std":
            return f"std:{self.threshold:g}"
        return f"{self.by}:{self.source}" if self.source else self.by

    @property
    def reads_pixels(self) -> bool:
        """Whether tiles have to be decoded to decide about them."""
        return self.by == "std"


def mask_file(rule: TissueRule, slide_name: str) -> Path:
    """Find the user's tissue mask of a slide: the file itself, or in a folder NAME.png, NAME being the slide's.

    Raises:
        ConfigError: There is none.
    """
    path = Path(rule.source)
    if path.is_file():
        return path
    stems = (slide_name, Path(slide_name).stem)
    for file in (path / f"{stem}{suffix}" for stem in stems for suffix in _SUFFIXES):
        if file.is_file():
            return file
    wanted = f"there is no {path / slide_name}.png in the folder" if path.is_dir() else "no such file or folder"
    raise ConfigError(f"--tissue {rule}: no mask for slide {slide_name!r}: {wanted}")


class Glass:
    """Says of the tiles of one slide which are glass.

    Args:
        rule: The rule.
        name: Of the slide.
        info: Its size.
        thumbnail: (h, w, 3) uint8 of the whole slide.
        objects: Of the slide; only needed by the rule "class".

    Raises:
        ConfigError: The user's mask is missing, damaged, or has another shape than the slide.

    Attributes:
        found: What the thumbnail shows.
        tissue: (h, w) bool over the whole slide: what counts as tissue.
    """

    def __init__(
        self,
        rule: TissueRule,
        *,
        name: str,
        info: SlideInfo,
        thumbnail: NDArray[np.uint8],
        objects: Sequence[Annotation] = (),
    ) -> None:
        self._rule, self._info = rule, info
        self.found: ThumbnailTissue = thumbnail_tissue(thumbnail)
        self.tissue = self.found.tissue
        if rule.by == "mask":
            self.tissue = _read_mask(mask_file(rule, name), info)
        elif rule.by == "class":
            self.tissue = _draw_class(rule.source, objects, info, thumbnail.shape[1])

    def fraction(self, tile: Tile) -> float:
        """Fraction of a tile that is tissue, 0..1."""
        return tissue_fraction(self.tissue, tile.slide_region, self._info.width, self._info.height)

    def is_glass_unread(self, tile: Tile, fraction: float) -> bool:
        """Whether a tile is glass as far as can be said without decoding it."""
        if self._rule.by == "none":
            return False
        if self._rule.by != "std":
            return fraction < self._rule.threshold
        return self.found.is_flat(tile.slide_region, self._info, below=_FLAT * self._rule.threshold)

    def is_glass(self, std: float) -> bool:
        """Whether a decoded tile is glass, from its RGB standard deviation (grey levels)."""
        return self._rule.by == "std" and std < self._rule.threshold


def _read_mask(path: Path, info: SlideInfo) -> NDArray[np.bool_]:
    try:
        with open_large_image(path) as image:
            mask = np.asarray(image.convert("L")) > 0
    except DAMAGED_IMAGE as err:
        raise ConfigError(f"{path}: tissue mask cannot be read ({err})") from err
    rows, columns = mask.shape
    if abs(columns * info.height / (rows * info.width) - 1) > _SAME_SHAPE + 1 / min(rows, columns):
        raise ConfigError(
            f"{path}: tissue mask of {columns} x {rows} px has not the shape of its slide "
            f"({info.width} x {info.height} px)"
        )
    return np.asarray(mask, dtype=np.bool_)


def _draw_class(name: str, objects: Sequence[Annotation], info: SlideInfo, columns: int) -> NDArray[np.bool_]:
    """Draw the annotations of one class over the whole slide, `columns` px wide."""
    downsample = info.width / columns
    rows = max(1, round(info.height / downsample))
    whole = Tile(col=0, row=0, x=0, y=0, width=columns, height=rows, downsample=downsample)
    chosen = [o for o in objects if o.class_name == name]
    return np.asarray(rasterize(chosen, whole, LabelMap(classes=(LabelClass(name, 1, (name,)),))) == 1)
