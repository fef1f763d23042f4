"""What annotating by hand has taken so far: areas and outline per mm2, of what people drew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import shapely

from qpkit.core.geometry import has_area, mend
from qpkit.core.provenance import drawn_by_people
from qpkit.core.review import is_mark
from qpkit.workflows.inputs.slides import SlideInput
from qpkit.workflows.suggest.candidates import annotated_area
from qpkit.workflows.suggest.settings import SuggestSettings
from qpkit.workflows.suggest.worth import minutes_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Handwork:
    """What people drew.

    Args:
        mm2: Annotated, whatever it is.
        areas: Objects of classes.
        outline_mm: Of these, but for what follows the edge of a region (within 1 px); where two touch, once.
    """

    mm2: float
    areas: int
    outline_mm: float

    def minutes(self, mm2: float, settings: SuggestSettings) -> float:
        """What it takes to annotate so much more, if there is as much to draw in it as in what is annotated."""
        share = mm2 / self.mm2
        return minutes_of(self.areas * share, self.outline_mm * share, settings)


def handwork_of(items: Sequence[SlideInput]) -> Handwork | None:
    """Measure what was drawn on slides with um per px; None if nothing was.

    Objects of classes that end in a star (`Region*`, `Ignore*`) are area that was looked at, and nothing drawn in it.
    """
    mm2, areas, outline_mm = 0.0, 0, 0.0
    for item in items:
        objects, mm = item.objects(), (item.info.mpp or 0.0) / 1000
        whole = annotated_area(objects)
        drawn = [
            mend(o.geometry)[0]
            for o in drawn_by_people(objects)
            if o.kind == "annotation" and has_area(o.geometry) and not is_mark(o)
            if not (o.class_name or "").endswith("*")
        ]
        lines = shapely.union_all([shapely.boundary(shape) for shape in drawn])
        marked = [o.geometry for o in objects if (o.class_name or "").endswith("*") and has_area(o.geometry)]
        # Along the edge of a region nobody draws: there the region ends.
        edges = shapely.union_all([shapely.boundary(shape) for shape in marked]).buffer(1.0)
        mm2 += whole.area * mm**2
        areas += len(drawn)
        outline_mm += float(shapely.length(lines.difference(edges))) * mm
    return Handwork(mm2=mm2, areas=areas, outline_mm=outline_mm) if mm2 > 0 else None
