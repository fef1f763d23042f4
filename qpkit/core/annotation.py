"""What a pathologist drew: an object with a shape, a class and a plane. Slide frame, level-0 pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Final, Literal

from shapely.geometry.base import BaseGeometry

Kind = Literal["annotation", "detection", "cell", "tile", "tma_core"]
"""QuPath's object types, in its own words."""

RoiShape = Literal["rectangle", "ellipse", "line", "polygon", "polyline", "points", "geometry"]
"""How QuPath holds the shape; a rectangle and an ellipse can be edited as such."""


@dataclass(frozen=True, slots=True)
class Plane:
    """Where in a stack an object lies. c is a channel or -1 for all, as in QuPath's ImagePlane."""

    c: int = -1
    z: int = 0
    t: int = 0


DEFAULT_PLANE = Plane()
"""Where everything on an ordinary RGB slide lies."""


@dataclass(frozen=True, slots=True)
class PathClass:
    """A class as QuPath knows it; "Tumor: Positive" has two names.

    Args:
        names: From the base class to the most derived one; at least one, none blank. Text is taken as `parse` does.
        color: Signed 32-bit ARGB as QuPath stores it, or None where the file has none.
    """

    names: tuple[str, ...]
    color: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.names, str):  # else its letters would be the names
            object.__setattr__(self, "names", PathClass.parse(self.names).names)
        if not self.names or not all(name.strip() for name in self.names):
            raise ValueError(f"a class needs names that are not blank, got {self.names!r}")

    def __str__(self) -> str:
        return ": ".join(self.names)

    @classmethod
    def parse(cls, text: str, color: int | None = None) -> PathClass:
        """Read "Tumor: Positive" as QuPath's PathClass.fromString does (split at ':', blanks trimmed)."""
        return cls(tuple(part.strip() for part in text.split(":") if part.strip()), color)

    @property
    def rgb(self) -> tuple[int, int, int] | None:
        """Red, green, blue in 0..255, or None without a colour."""
        if self.color is None:
            return None
        return (self.color >> 16) & 255, (self.color >> 8) & 255, self.color & 255


def argb(red: int, green: int, blue: int) -> int:
    """Pack red, green, blue (0..255) into QuPath's signed 32-bit ARGB with full opacity."""
    return ((255 << 24) | (red << 16) | (green << 8) | blue) - (1 << 32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """One object of a QuPath hierarchy (annotation, detection, cell, tile or TMA core).

    Args:
        geometry: Slide frame, exactly as stored (may be invalid; rings closed), but areas of GeoJSON that cross
            themselves come as valid ones. Ellipses come as polygons.
        shape: How QuPath holds the geometry, or None where the source does not say.
        path_class: None for an unclassified object.
        kind: QuPath's object type.
        id: UUID string; None where the file has none (QuPath before 0.4).
        plane: Channel, z and t.
        name: What the user called it.
        color: The object's own colour (signed ARGB), not its class's.
        measurements: In the file's order; may be NaN or infinite.
        metadata: Free text by key; QuPath's reserved "Object ID" is not in it.
        parent: Position of the parent in the list that the object came with; None below the root.
        locked: Whether QuPath's user locked it.
        nucleus: Slide frame; only for cells.
        is_missing: Only for TMA cores.
    """

    geometry: BaseGeometry
    shape: RoiShape | None = None
    path_class: PathClass | None = None
    kind: Kind = "annotation"
    id: str | None = None
    plane: Plane = Plane()
    name: str | None = None
    color: int | None = None
    measurements: Mapping[str, float] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    parent: int | None = None
    locked: bool = False
    nucleus: BaseGeometry | None = None
    is_missing: bool = False

    @property
    def class_name(self) -> str | None:
        """The full class name, "Tumor: Positive"; None if unclassified."""
        return None if self.path_class is None else str(self.path_class)

    def comparable(self) -> tuple[object, ...]:
        """Return what is equal where every field is, NaN to NaN; the annotations themselves are not equal then."""
        nucleus = None if self.nucleus is None else self.nucleus.wkb
        # NaN is equal in text alone, and so is the order of keys.
        return (self.geometry.wkb, nucleus, repr(dict(self.measurements)), tuple(self.metadata.items()), _REST(self))


_REST: Final = attrgetter(
    *[item.name for item in fields(Annotation) if item.name not in ("geometry", "nucleus", "measurements", "metadata")]
)
