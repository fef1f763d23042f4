"""Areas of derived classes, made from the polygons of others before tiles are cut: tiling cannot change them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import shapely
from shapely.geometry.base import BaseGeometry

from qpkit.core.label_rules import Derivation
from qpkit.ops.masks.strokes import arc_steps
from qpkit.ops.vectors.areas import only_areas, united

_ARC_ERROR_PX: Final = 1 / 32
"""Level px. GEOS fills dents of up to 1 % of the distance before it buffers (real outlines at 200 px: 0.15 px), so
that finer arcs would only cost time."""


class ClassAreas:
    """The whole area of every class of one slide, each put together once and only if it is asked for.

    Args:
        drawn: By class of the label map: its objects' areas, valid, slide frame.
        traces: By class: lines and points that are too thin to draw; distances are measured from them all the same.
        derivations: By class: how it follows from others; without circles.
        mpp: um per slide px; only used where a derivation states um.
        downsample: Slide px per level px; grown outlines are within 1/32 level px or 1 % of the distance.
    """

    def __init__(
        self,
        drawn: Mapping[str, Sequence[BaseGeometry]],
        traces: Mapping[str, Sequence[BaseGeometry]],
        derivations: Mapping[str, Derivation],
        *,
        mpp: float | None,
        downsample: float,
    ) -> None:
        self._drawn, self._traces, self._derivations = drawn, traces, derivations
        self._mpp, self._downsample = mpp, downsample
        self._known: dict[str, BaseGeometry] = {}

    def area(self, name: str) -> BaseGeometry:
        """The area of a class, whatever covers it in the mask; empty where nothing of it was drawn."""
        if name not in self._known:
            rule = self._derivations.get(name)
            self._known[name] = self._derive(rule) if rule else united(self._drawn.get(name, ()))
        return self._known[name]

    def _derive(self, rule: Derivation) -> BaseGeometry:
        area = self._together(rule.of)
        if rule.grow_um:
            area = self._grown(area, rule.grow_um)
        if rule.inside:
            area = only_areas(area.intersection(self._together(rule.inside)))
        if rule.around:
            traces = [trace for name in rule.around for trace in self._traces.get(name, ())]
            near = [self._grown(g, rule.within_um) for g in (self._together(rule.around), *traces)]
            area = only_areas(area.intersection(united(near)))
        if rule.outside:
            area = only_areas(area.difference(self._together(rule.outside)))
        return area

    def _together(self, names: Sequence[str]) -> BaseGeometry:
        return united([self.area(name) for name in names])

    def _grown(self, geometry: BaseGeometry, um: float) -> BaseGeometry:
        assert self._mpp is not None
        distance = um / self._mpp
        steps = arc_steps(abs(distance), self._downsample, tolerance=_ARC_ERROR_PX)
        parts = shapely.buffer(shapely.get_parts(geometry), distance, quad_segs=steps)  # far faster than all at once
        return united(parts.tolist())
