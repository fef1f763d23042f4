"""The ground truth of one slide as pixels: labels, and numbers of objects."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qpkit.core.labels import LabelMap
from qpkit.core.tiles import Tile
from qpkit.ops.masks.paint_order import Instance
from qpkit.ops.masks.rasterize import Painting
from qpkit.ops.tissue import tissue_mask, tissue_of_tile
from qpkit.slides import open_source
from qpkit.workflows.evaluate.truth import GroundTruth
from qpkit.workflows.inputs.slides import SlideInput


class DrawnTruth:
    """Draws what people annotated, and counts what nobody did.

    Args:
        item: The slide.
        rules: How annotations become truth.
        truth: The objects.
        name: Of the slide, for notes.
        downsample: Slide px per px.
        only_tissue: Whether glass that nobody annotated is unknown.

    Attributes:
        unannotated_px, glass_px: Of what was drawn, the pixels that nobody annotated and that count as background, and
            those left out as glass.
        not_judged_px: Pixels that were annotated where nothing was predicted.
    """

    def __init__(
        self,
        item: SlideInput,
        rules: LabelMap,
        truth: GroundTruth,
        *,
        name: str,
        downsample: float,
        only_tissue: bool,
    ) -> None:
        self._name = name
        self._size = item.info.width, item.info.height
        self._rules = rules
        self._painting = Painting(
            truth.objects,
            rules,
            downsample=downsample,
            slide_size=self._size,
            mpp=item.info.mpp,
            unknown=truth.unknown,
            over_regions=True,
        )
        self.unannotated_px = self.glass_px = self.not_judged_px = self._overlap_px = 0
        self._tissue_notes: tuple[str, ...] = ()
        self._tissue: NDArray[np.bool_] | None = None
        if only_tissue and rules.unannotated == "background":
            with open_source(item.source) as pixels:
                self._tissue = tissue_mask(pixels.thumbnail())
            if not self._tissue.any():
                self._tissue = None
                self._tissue_notes = (f"{name}: no tissue could be told from glass: glass counts as background",)

    @property
    def instances(self) -> tuple[Instance, ...]:
        """The objects that `numbers` numbers, from 1 on."""
        return self._painting.instances

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user has to know of what was drawn so far."""
        if not self._overlap_px:
            return self._tissue_notes
        overlap = f"true objects overlap on {self._overlap_px:,} px; each counts for the object that is drawn last"
        return (*self._tissue_notes, f"{self._name}: {overlap}")

    def numbers(self, tile: Tile) -> NDArray[np.uint32]:
        """Draw the objects by number: (h, w); where several lie, the one that is drawn last."""
        numbers, overlap_px = self._painting.draw_instances(tile)
        self._overlap_px += overlap_px
        return numbers

    def draw(self, tile: Tile, judged: NDArray[np.bool_] | None = None) -> NDArray[np.uint8]:
        """Draw the label mask of a tile: (h, w).

        Args:
            tile: The place.
            judged: (h, w), where something was predicted: elsewhere nothing counts; None for everywhere.
        """
        ignore = self._rules.ignore
        truth = self._painting.draw(tile)
        unannotated = np.zeros(truth.shape, np.bool_)
        if self._rules.unannotated == "background":
            # The two drawings differ only where nothing was drawn, not even what is unknown.
            unannotated = truth != self._painting.draw(tile, unannotated="ignore")
        if judged is not None:
            self.not_judged_px += int(np.count_nonzero(~judged & ~unannotated & (truth != ignore)))
            truth[~judged] = ignore
            unannotated &= judged
        if self._tissue is not None:
            glass = unannotated & ~tissue_of_tile(self._tissue, tile, *self._size)
            truth[glass] = ignore
            unannotated &= ~glass
            self.glass_px += int(np.count_nonzero(glass))
        self.unannotated_px += int(np.count_nonzero(unannotated))
        return truth
