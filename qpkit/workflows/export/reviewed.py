"""qpkit export --reviewed: what reviewers said becomes labels; what nobody looked at stays unknown.

docs/review.md has the rules. The project is compared with its ledgers as `qpkit review` does it, so a rejected place
is one of which the review says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qpkit.core.annotation import Annotation, PathClass, Plane
from qpkit.core.geometry import has_area
from qpkit.core.labels import LabelClass, LabelMap
from qpkit.core.provenance import is_prediction, is_proposal, is_untouched
from qpkit.core.review import REVIEWED_CLASS, UNSURE_CLASS, is_reviewed_region, is_unsure
from qpkit.core.tiles import Tile
from qpkit.files import sha256
from qpkit.ops.masks.paint_order import on_plane
from qpkit.ops.masks.pixel_rule import PixelRule
from qpkit.ops.masks.rasterize import Painting
from qpkit.ops.scores.shape_fates import areas_of
from qpkit.predictions.ledger import FOLDER
from qpkit.workflows.inputs.slides import SlideInput
from qpkit.workflows.review.entry import reviewed_area

_REGION: Final = "Region*"
_REJECTED: Final = LabelMap(classes=(LabelClass("rejected", 1, ("rejected",)),))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewedObjects:
    """The objects of a slide after a review.

    Args:
        draw: All that is drawn: truth, what is unsure (of class `Unsure*`), where it was reviewed (`Reviewed*`).
        unknown: Predictions that are no truth: outside of what was reviewed, or unsure.
        human: Of what is drawn, what people drew.
        proposed: Of what is drawn, clusters that somebody has named.
    """

    draw: list[Annotation]
    unknown: list[Annotation]
    human: list[Annotation]
    proposed: list[Annotation]


def reviewed_objects(objects: Sequence[Annotation], item: SlideInput, plane: Plane) -> ReviewedObjects:
    """Sort the objects of a slide.

    Args:
        objects: That masks are made of.
        item: Their slide; its metadata may say that all of it was reviewed.
        plane: Regions of other planes do not count.
    """
    on_it = [o for o in item.objects() if on_plane(o.plane, plane)]
    area = reviewed_area(on_it, item.metadata, (item.info.width, item.info.height))
    region = (
        Annotation(geometry=area, path_class=PathClass((REVIEWED_CLASS,)), plane=plane) if area is not None else None
    )
    draw, unknown, human = [], [], []
    for one in objects:
        if is_unsure(one):
            draw.append(replace(one, path_class=PathClass((UNSURE_CLASS,))))
            unknown += [one] if is_prediction(one) else []
        elif not is_prediction(one):
            # A region that says by its key that it was reviewed may be a Region*, too.
            human += [one] if not is_reviewed_region(one) or one.class_name == _REGION else []
        elif not is_untouched(one):
            draw.append(one)
        else:
            inside = None if region is None or not on_plane(one.plane, plane) else _inside(one, region)
            (draw if inside else unknown).append(inside or one)
    proposed = [one for one in draw if is_proposal(one)]
    draw += [*human, *([region] if region is not None else [])]
    return ReviewedObjects(draw=draw, unknown=unknown, human=human, proposed=proposed)


def _inside(item: Annotation, region: Annotation) -> Annotation | None:
    """The part of an object in the region; None if there is none."""
    shape = areas_of([item.geometry])[0].intersection(region.geometry)
    return replace(item, geometry=shape, shape=None) if has_area(shape) else None


def reviewed_labels(labels: LabelMap) -> LabelMap:
    """The label map of an export of reviewed objects: unknown outside of regions, `Unsure*` is ignored."""
    named = {source for item in labels.order for source in item.sources}
    ignored = [name for name in (*labels.ignored, UNSURE_CLASS) if name != REVIEWED_CLASS and name not in named]
    regions = [name for name in (*labels.regions, REVIEWED_CLASS) if name not in named]
    return replace(
        labels,
        unannotated="ignore",
        regions=tuple(dict.fromkeys(regions)),
        ignored=tuple(name for name in dict.fromkeys(ignored) if name not in regions),
    )


def ledger_hashes(item: SlideInput) -> dict[str, str]:
    """Tell ledgers apart: they decide what was removed."""
    if item.entry is None:
        return {}
    folder = item.entry.project_path.parent / FOLDER
    return {path.name: sha256(path) for path in sorted(folder.glob("*.parquet"))}


class Origins:
    """Counts where the labels of a tile come from.

    Args:
        found: Of `reviewed_objects`.
        item: The slide.
        rejected: Its deleted predictions, as they were.
        labels: Of the export.
        downsample: Slide px per tile px.
        plane, pixel_rule: As for Painting.
    """

    def __init__(
        self,
        found: ReviewedObjects,
        item: SlideInput,
        rejected: Sequence[Annotation],
        labels: LabelMap,
        *,
        downsample: float,
        plane: Plane,
        pixel_rule: PixelRule,
    ) -> None:
        size = item.info.width, item.info.height
        self._labels = labels
        self._human, self._proposed = (
            Painting(
                own, labels, downsample=downsample, plane=plane, slide_size=size, pixel_rule=pixel_rule,
                mpp=item.info.mpp,
            )
            for own in (found.human, found.proposed)
        )  # fmt: skip
        self._has_proposals = bool(found.proposed)
        self._rejected = Painting(rejected, _REJECTED, downsample=downsample, plane=plane, pixel_rule=pixel_rule)

    def count(self, tile: Tile, mask: NDArray[np.uint8]) -> dict[str, int]:
        """Pixels by where their label comes from.

        Args:
            tile: The place.
            mask: (h, w) uint8, one value a pixel, as it is exported.

        Returns:
            "human": labelled px (not ignore) that what people drew labels, whatever else lies there; "reviewed": the
            other labelled px; "proposed": of these, where a named cluster lies, if the slide has any; "rejected": of
            all labelled px, background where a reviewer deleted a prediction.
        """
        labelled = mask != self._labels.ignore
        drawn = labelled & (self._human.draw(tile) != self._labels.ignore)
        background = mask == self._labels.background
        rejected = background & (self._rejected.draw(tile) == 1) if background.any() else background
        human = int(drawn.sum())
        counts = {"human": human, "reviewed": int(labelled.sum()) - human, "rejected": int(rejected.sum())}
        if self._has_proposals:
            proposed = labelled & ~drawn & (self._proposed.draw(tile, unannotated="ignore") != self._labels.ignore)
            counts["proposed"] = int(proposed.sum())
        return counts
