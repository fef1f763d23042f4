"""What an export can be asked for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from qpkit.core.annotation import Plane
from qpkit.core.labels import LabelMap, Unannotated
from qpkit.dataset.splits import FRACTIONS, SplitRule, parse_fractions
from qpkit.dataset.stores.layers import INSTANCES, ImageFormat, context_layer
from qpkit.dataset.stores.store import StoreKind
from qpkit.errors import ConfigError
from qpkit.ops.masks.pixel_rule import PixelRule
from qpkit.settings import Flag, Range, Settings
from qpkit.workflows.inputs.label_maps import read_label_map
from qpkit.workflows.inputs.tissue_rule import TissueRule


def parse_context(text: str) -> tuple[int, ...]:
    """Read "1,4".

    Raises:
        ConfigError: Not whole numbers.
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--context {text!r}: has to be whole numbers that rise from 1, such as 1,4") from None


def _read_labels(text: str) -> LabelMap:
    return read_label_map(Path(text))


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSettings(Settings):
    """Everything that decides what an export contains.

    Args:
        mpp: um per px of the tiles. Default: the finest that all slides have.
        downsample: Slide px per tile px, instead of --mpp.
        tile_size: Tile px.
        overlap: Tile px shared by neighbours.
        labels: labels.toml, or a shipped map such as tiger-stroma. Default: one label per class.
        unannotated: ignore or background: what lies outside every region. Default: as the label map says.
        tissue: std:NUMBER, otsu, mask:FILE|FOLDER, class:NAME or none: which tiles are glass.
        only_annotated: Drop tiles that no annotation reaches.
        split: slide, patient:KEY, metadata:KEY or tile (leaks): what is kept together.
        fractions: train:val:test, for splits that are drawn.
        seed: Of the split.
        with_predictions: Draw what qpkit imported into the project, too.
        reviewed: Learn from a review of imported predictions: inside Reviewed* regions what is there is truth, what was
            deleted is background; all else that nobody labelled is unknown.
        removed: background or ignore: with --reviewed, what becomes of predictions that were deleted, cut back or made
            another class outside of all regions. It takes a label map of a single class; with several it is ignore.
        pixel_rule: centre (unbiased), or qupath: as QuPath's own exporter draws.
        context: 1,4: also show 4 times the surroundings of every tile (2,4,8 ...).
        store: files, shards (WebDataset tar), none (slides are read in training) or nnunet.
        image_format: png, or jpeg:QUALITY for the pixels (masks stay PNG).
        z: Focal plane, from 0; objects of other planes are not drawn.
        t: Time point, from 0.
    """

    mpp: Annotated[float | None, Range(above=0)] = None
    downsample: Annotated[float | None, Range(above=0)] = None
    tile_size: Annotated[int, Range(at_least=1)] = 512
    overlap: Annotated[int, Range(at_least=0)] = 0
    labels: Annotated[LabelMap | None, Flag(parse=_read_labels, metavar="FILE")] = None
    unannotated: Unannotated | None = None
    tissue: TissueRule = TissueRule()
    only_annotated: bool = False
    split: SplitRule = SplitRule()
    fractions: Annotated[tuple[float, float, float], Flag(parse=parse_fractions, shown="8:1:1")] = FRACTIONS
    seed: Annotated[int, Range(at_least=0)] = 0
    with_predictions: bool = False
    reviewed: bool = False
    removed: Unannotated = "background"
    pixel_rule: PixelRule = "centre"
    context: Annotated[tuple[int, ...], Flag(parse=parse_context, shown="1")] = (1,)
    store: StoreKind = "files"
    image_format: ImageFormat = ImageFormat()
    z: Annotated[int, Range(at_least=0)] = 0
    t: Annotated[int, Range(at_least=0)] = 0

    def faults(self) -> Iterator[str]:
        """Name what does not go together."""
        if self.mpp is not None and self.downsample is not None:
            yield "--mpp and --downsample exclude each other; give one"
        yield from self._context_faults()
        if self.reviewed and self.with_predictions:
            yield "--reviewed and --with-predictions exclude each other; give one"
        if self.removed != "background" and not self.reviewed:
            yield "--removed: only --reviewed looks at what reviewers removed; give it, too"
        if self.reviewed and self.unannotated == "background":
            yield "--reviewed: what nobody looked at is unknown; leave out --unannotated background"
        if self.store == "nnunet" and self.labels and self.labels.masks == "multi-label":
            yield '--store nnunet: nnU-Net has one class a pixel, the label map says masks = "multi-label"'
        if self.image_format.kind == "jpeg" and self.store in ("none", "nnunet"):
            yield f"--image-format {self.image_format}: --store {self.store} has no place for JPEG"

    def _context_faults(self) -> Iterator[str]:
        if self.context[:1] != (1,) or any(b <= a for a, b in itertools.pairwise(self.context)):
            yield f"--context {','.join(map(str, self.context))}: has to rise from 1, such as 1,4"
            return
        stride = self.tile_size - self.overlap
        for factor in self.context:
            # Factor 1 is the tile itself, of any size.
            if self.tile_size % (2 * factor) * (factor > 1) or stride % factor:
                yield (
                    f"--context {factor}: --tile-size {self.tile_size} has to be a multiple of {2 * factor}, and tile "
                    f"size - overlap ({stride}) of {factor}, or the pixels of tile and surroundings do not line up"
                )

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of what every tile has, "image" and "mask" first."""
        shown = tuple(context_layer(layer, factor) for factor in self.context for layer in ("image", "mask"))
        return (*shown, INSTANCES) if self.labels and self.labels.instances else shown

    @property
    def plane(self) -> Plane:
        """Which objects are drawn."""
        return Plane(z=self.z, t=self.t)

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
            # Only where it is used: exports of before keep their hashes.
            **({"reviewed": True, "removed": self.removed} if self.reviewed else {}),
        }
