"""How rasters become objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

from qpkit.errors import ConfigError
from qpkit.settings import Flag, Range, Settings, pairs_of

_KINDS: Final[dict[str, Literal["annotation", "detection", "cell"]]] = {
    "annotations": "annotation",
    "detections": "detection",
    "cells": "cell",
}


def _kind(text: str) -> Literal["annotation", "detection", "cell"]:
    if text in _KINDS:
        return _KINDS[text]
    raise ConfigError(f"--as {text!r}: has to be {', '.join(_KINDS)}")


def _colors(pairs: Sequence[str]) -> Mapping[str, int]:
    from qpkit.formats.shared.class_names import parse_color

    colors = {}
    for name, text in pairs_of(pairs).items():
        color = parse_color(text)
        if color is None:
            raise ConfigError(f"--color {name}={text}: not a colour; write it as {name}=#ff8800")
        colors[name] = color
    return colors


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportSettings(Settings):
    """How rasters become objects.

    Args:
        kind: annotations, detections or cells: QuPath's object type; without it areas are annotations, and objects
            detections.
        min_area_um2: Smaller areas become their surroundings; they are counted.
        simplify_um: How far outlines may move in simplifying, without gaps between classes; 0 keeps every pixel corner.
        smooth_um: How far outlines may move in simplifying and in rounding corners; rounding keeps areas to 1 %.
        merge_gap_um: Background between areas of one class becomes the class where no disc of this diameter fits in.
        max_vertices: Cut objects of more vertices along a grid; 0 cuts none.
        objects: areas (polygons of equal labels), components (the same as detections with shape measurements), or
            watershed (touching nuclei or glands apart, detections with shape measurements).
        marker_um: How far apart the middles of two objects are at least, for watershed; about the radius of the
            smallest.
        fill_holes_um2: Smaller holes of background become their surroundings.
        classes: A class of the predictions under another name in the project, such as "Tumor=Tumor: Predicted"
            (repeatable).
        colors: The objects' own colour by class, such as "Tumor: Predicted=#ff8800" (repeatable); without it QuPath
            shows the class's.
        parent: Class or name of annotations below which the objects are put that lie inside; others stay below the
            root, and are counted.
        locked: Lock the objects, so that nobody moves one by accident. Locking one is no way to accept it then.
        gzip: Compress GeoJSON files; QuPath 0.4 and later read them.
        append: Leave what earlier runs put there; else what nobody has touched of it is replaced.
        restore: Put in again what a reviewer has deleted of this run.
        dry_run: Change nothing; say what would be.
    """

    kind: Annotated[Literal["annotation", "detection", "cell"] | None, Flag(name="--as", parse=_kind)] = None
    min_area_um2: Annotated[float, Range(at_least=0)] = 0.0
    simplify_um: Annotated[float, Range(at_least=0)] = 0.0
    smooth_um: Annotated[float, Range(at_least=0)] = 0.0
    merge_gap_um: Annotated[float, Range(at_least=0)] = 0.0
    max_vertices: Annotated[int, Range(at_least=0)] = 0
    objects: Literal["areas", "components", "watershed"] = "areas"
    marker_um: Annotated[float, Range(above=0)] = 2.0
    fill_holes_um2: Annotated[float, Range(at_least=0)] = 0.0
    classes: Annotated[Mapping[str, str], Flag(name="--map", parse=pairs_of, many=True, metavar="CLASS=NAME")] = field(
        default_factory=dict
    )
    colors: Annotated[Mapping[str, int], Flag(name="--color", parse=_colors, many=True, metavar="CLASS=#RRGGBB")] = (
        field(default_factory=dict)
    )
    parent: str | None = None
    locked: bool = False
    gzip: bool = False
    append: Annotated[bool, Flag(name="--append/--replace")] = False
    restore: bool = False
    dry_run: bool = False
