"""What an export can be asked for, parsed and checked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from qpkit.core.labels import LabelMap, Unannotated
from qpkit.dataset.splits import FRACTIONS, SplitRule
from qpkit.errors import ConfigError
from qpkit.ops.pixel_rule import PIXEL_RULES, PixelRule

OTSU_MIN_SHARE = 0.05
"""With --tissue otsu a tile stays if at least this share of it is tissue."""


@dataclass(frozen=True, slots=True)
class TissueRule:
    """Which tiles are glass: "std" drops tiles whose RGB standard deviation is under `threshold` (systems.md 1:
    12.5), "otsu" those with less than 5 % tissue on the thumbnail, "none" drops nothing."""

    by: Literal["std", "otsu", "none"] = "std"
    threshold: float = 12.5

    @classmethod
    def parse(cls, text: str) -> TissueRule:
        """Read "std:12.5", "otsu" or "none".

        Raises:
            ConfigError: Anything else.
        """
        if text == "otsu":
            return cls("otsu", OTSU_MIN_SHARE)
        if text == "none":
            return cls("none", 0.0)
        kind, _, number = text.partition(":")
        try:
            threshold = float(number) if number else 12.5
        except ValueError:
            threshold = math.nan
        if kind != "std" or not threshold >= 0:
            raise ConfigError(f"--tissue {text!r}: has to be std:NUMBER (grey levels, such as std:12.5), otsu or none")
        return cls("std", threshold)

    def __str__(self) -> str:
        return f"std:{self.threshold:g}" if self.by == "std" else self.by

    def keeps(self, std: float, tissue: float) -> bool:
        """Say whether a tile stays, from its RGB standard deviation (grey levels) and its tissue share (0..1)."""
        if self.by == "none":
            return True
        return std >= self.threshold if self.by == "std" else tissue >= self.threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSettings:
    """Everything that decides what an export contains.

    Args:
        mpp: um per px of the tiles; None takes the finest that all slides have. Not with `downsample`.
        downsample: Slide px per tile px instead.
        tile_size, overlap: Tile px.
        labels: None gives every class of the project a label.
        unannotated: Overrides the label map's rule.
        tissue: Which tiles are glass.
        only_annotated: Drop tiles in which no object says anything.
        split: How tiles are shared out.
        fractions: train, val, test, for splits that are drawn.
        seed: Of the split.
        with_predictions: Draw objects that qpkit itself imported, too.
        pixel_rule: Which pixels a shape has: by their centres, or as QuPath's own exporter draws.
    """

    mpp: float | None = None
    downsample: float | None = None
    tile_size: int = 512
    overlap: int = 0
    labels: LabelMap | None = None
    unannotated: Unannotated | None = None
    tissue: TissueRule = TissueRule()
    only_annotated: bool = False
    split: SplitRule = SplitRule()
    fractions: tuple[float, float, float] = FRACTIONS
    seed: int = 0
    with_predictions: bool = False
    pixel_rule: PixelRule = "centre"

    def __post_init__(self) -> None:
        if self.mpp is not None and self.downsample is not None:
            raise ConfigError("--mpp and --downsample exclude each other; give one")
        if self.seed < 0:
            raise ConfigError(f"--seed {self.seed}: has to be 0 or more")
        for name, value in (("--mpp", self.mpp), ("--downsample", self.downsample)):
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ConfigError(f"{name} {value}: has to be a positive number")

    def to_builtins(self) -> dict[str, Any]:
        """Plain values for export.json (the label map stands there by itself)."""
        return {
            "mpp": self.mpp,
            "downsample": self.downsample,
            "tile_size_px": self.tile_size,
            "overlap_px": self.overlap,
            "tissue": str(self.tissue),
            "only_annotated": self.only_annotated,
            "split": str(self.split),
            "fractions": list(self.fractions),
            "seed": self.seed,
            "with_predictions": self.with_predictions,
            "pixel_rule": self.pixel_rule,
        }


def parse_unannotated(text: str) -> Unannotated:
    """Read "ignore" or "background".

    Raises:
        ConfigError: Anything else.
    """
    if text == "ignore":
        return "ignore"
    if text == "background":
        return "background"
    raise ConfigError(f"--unannotated {text!r}: has to be ignore or background")


def parse_pixel_rule(text: str) -> PixelRule:
    """Read "centre" or "qupath".

    Raises:
        ConfigError: Anything else.
    """
    for rule in PIXEL_RULES:
        if text == rule:
            return rule
    raise ConfigError(f"--pixel-rule {text!r}: has to be {' or '.join(PIXEL_RULES)}")
