"""What an export can be asked for, parsed and checked."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

from qpkit.core.labels import LabelMap, Unannotated
from qpkit.dataset.splits import FRACTIONS, SplitRule
from qpkit.dataset.stores.layers import INSTANCES, ImageFormat, context_layer
from qpkit.dataset.stores.store import StoreKind
from qpkit.errors import ConfigError
from qpkit.ops.masks.pixel_rule import PIXEL_RULES, PixelRule
from qpkit.workflows.inputs.tissue_rule import TissueRule


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
        context: How many times the tile's surroundings are shown by further layers; 1, the tile itself, comes first.
        store: Where the tiles are put.
        image_format: How pixels are encoded.
        z, t: Plane, from 0; objects of other planes are not drawn.
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
    context: tuple[int, ...] = (1,)
    store: StoreKind = "files"
    image_format: ImageFormat = ImageFormat()
    z: int = 0
    t: int = 0

    def __post_init__(self) -> None:
        if self.mpp is not None and self.downsample is not None:
            raise ConfigError("--mpp and --downsample exclude each other; give one")
        if self.z < 0 or self.t < 0:
            raise ConfigError(f"--z {self.z} --t {self.t}: planes are counted from 0")
        if self.seed < 0:
            raise ConfigError(f"--seed {self.seed}: has to be 0 or more")
        for name, value in (("--mpp", self.mpp), ("--downsample", self.downsample)):
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ConfigError(f"{name} {value}: has to be a positive number")
        self._check_context()
        if self.store == "nnunet" and self.labels and self.labels.masks == "multi-label":
            raise ConfigError('--store nnunet: nnU-Net has one class a pixel, the label map says masks = "multi-label"')
        if self.image_format.kind == "jpeg" and self.store in ("none", "nnunet"):
            raise ConfigError(f"--image-format {self.image_format}: --store {self.store} has no place for JPEG")

    def _check_context(self) -> None:
        if self.context[:1] != (1,) or any(b <= a for a, b in itertools.pairwise(self.context)):
            raise ConfigError(f"--context {','.join(map(str, self.context))}: has to rise from 1, such as 1,4")
        stride = self.tile_size - self.overlap
        for factor in self.context:
            if self.tile_size % (2 * factor) * (factor > 1) or stride % factor:
                raise ConfigError(
                    f"--context {factor}: --tile-size {self.tile_size} has to be a multiple of {2 * factor}, and tile "
                    f"size - overlap ({stride}) of {factor}, or the pixels of tile and surroundings do not line up"
                )

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of what every tile has, "image" and "mask" first."""
        shown = tuple(context_layer(layer, factor) for factor in self.context for layer in ("image", "mask"))
        return (*shown, INSTANCES) if self.labels and self.labels.instances else shown

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
            "context": list(self.context),
            "store": self.store,
            "image_format": str(self.image_format),
            "z": self.z,
            "t": self.t,
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


def parse_context(text: str) -> tuple[int, ...]:
    """Read "1,4".

    Raises:
        ConfigError: Not whole numbers.
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--context {text!r}: has to be whole numbers that rise from 1, such as 1,4") from None
