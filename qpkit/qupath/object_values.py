"""What QuPath's objects are made of, whichever file holds them: a ROI, and the metadata key of an id."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import shapely
from shapely.geometry.base import BaseGeometry

from qpkit.core.annotation import DEFAULT_PLANE, Plane, RoiShape

OBJECT_ID: Final = "Object ID"
"""Metadata key under which v0.4+ keep an object's UUID."""


@dataclass(frozen=True, slots=True)
class Roi:
    """A ROI: slide-frame geometry exactly as stored, how QuPath holds it, and its plane."""

    geometry: BaseGeometry
    shape: RoiShape | None
    plane: Plane = DEFAULT_PLANE


NO_ROI: Final = Roi(shapely.Polygon(), None)
"""An object without a ROI (v0.2.3 and others can write one)."""
