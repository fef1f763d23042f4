"""qpkit export --with-predictions: which labels are predictions that nobody has looked at, of which run, how sure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import shapely
from numpy.typing import NDArray

from qpkit.core.annotation import Annotation
from qpkit.core.geometry import has_area
from qpkit.core.provenance import is_prediction, is_untouched, run_of
from qpkit.core.tiles import Tile
from qpkit.ops.masks.rasterize import Painting
from qpkit.predictions.ledger import PROBABILITY


class PredictedOrigins:
    """Counts where the labels of a tile come from, where predictions are drawn like annotations.

    A pixel is predicted if its label would be another one without the predictions that nobody has looked at.

    Args:
        drawn: All objects that are drawn.
        paint: Makes a painting of objects, as masks are drawn.
        ignore: The value of pixels of which nothing is known.
    """

    def __init__(
        self, drawn: Sequence[Annotation], paint: Callable[[Sequence[Annotation]], Painting], ignore: int
    ) -> None:
        self._ignore = ignore
        self._untouched = [o for o in drawn if is_prediction(o) and is_untouched(o)]
        looked_at = [o for o in drawn if not (is_prediction(o) and is_untouched(o))]
        people = [o for o in looked_at if not is_prediction(o)]
        self._looked_at = paint(looked_at) if self._untouched else None
        self._people = paint(people) if len(people) < len(looked_at) else None
        self._tree = shapely.STRtree([o.geometry if has_area(o.geometry) else None for o in self._untouched])

    def count(self, tile: Tile, mask: NDArray[np.uint8]) -> dict[str, int]:
        """Labelled pixels of a tile by origin: "human", "reviewed" (accepted or changed by a person), "predicted".

        Args:
            tile: The place.
            mask: (h, w) uint8, one value a pixel, as it is exported.
        """
        labelled, looked_at = mask != self._ignore, mask if self._looked_at is None else self._looked_at.draw(tile)
        people = looked_at if self._people is None else self._people.draw(tile)
        predicted = labelled & (looked_at != mask)
        reviewed = labelled & ~predicted & (people != looked_at)
        counts = {"reviewed": int(reviewed.sum()), "predicted": int(predicted.sum())}
        return {"human": int(labelled.sum()) - sum(counts.values()), **counts}

    def predicted_by(self, tile: Tile) -> tuple[str, float | None]:
        """The runs of untouched predictions in a tile, and their mean probability (0..1) by area; None if not known."""
        region = tile.slide_region
        box = shapely.box(region.x, region.y, region.x + region.width, region.y + region.height)
        there = [self._untouched[number] for number in sorted(self._tree.query(box, predicate="intersects").tolist())]
        runs = sorted({run for run in map(run_of, there) if run is not None})
        areas = shapely.area(shapely.intersection([o.geometry for o in there], box))
        sure = np.array([o.measurements.get(PROBABILITY, math.nan) for o in there])
        known = ~np.isnan(sure) & (areas > 0)
        return ", ".join(runs), float(np.average(sure[known], weights=areas[known])) if known.any() else None
