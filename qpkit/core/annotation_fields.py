"""Some annotations field by field, as they are made and written; single ones are made when somebody asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qpkit.core.annotation import Annotation, Kind, PathClass, RoiShape


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotationFields:
    """Each field of some annotations, (n,); they lie in the default plane.

    Args:
        geometries: shapely objects, slide frame.
        shapes, path_classes, ids, names, colors: As an `Annotation` has them.
        measurements: By name; NaN where it was not measured.
        metadata: By key.
        kind, locked: Of all of them.
    """

    geometries: NDArray[np.object_]
    shapes: Sequence[RoiShape | None]
    path_classes: Sequence[PathClass | None]
    ids: Sequence[str]
    names: Sequence[str]
    colors: Sequence[int | None]
    measurements: Mapping[str, NDArray[np.float64]]
    metadata: Mapping[str, Sequence[str]]
    kind: Kind
    locked: bool

    def annotations(self, places: Iterable[int] | None = None) -> list[Annotation]:
        """Those in these places; None: all of them."""
        numbers = {name: (column.tolist(), np.isnan(column).tolist()) for name, column in self.measurements.items()}
        return [
            Annotation(
                geometry=self.geometries[place],
                shape=self.shapes[place],
                path_class=self.path_classes[place],
                kind=self.kind,
                id=self.ids[place],
                name=self.names[place],
                color=self.colors[place],
                measurements={name: xs[place] for name, (xs, is_nan) in numbers.items() if not is_nan[place]},
                metadata={key: texts[place] for key, texts in self.metadata.items()},
                locked=self.locked,
            )
            for place in (range(len(self.ids)) if places is None else places)
        ]
