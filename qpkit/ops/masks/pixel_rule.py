"""Where the edge of a shape falls among the pixels: by the pixel's centre, or as QuPath draws it.

`centre` is GDAL's rule and unbiased: a pixel belongs to a shape if its centre lies inside. `qupath` is what QuPath's
LabeledImageServer does, which half of the time puts a mask half an export pixel to the right and down.

Source of the QuPath rule: masks drawn by QuPath 0.5.1 (Java 17), and the lines of Java2D without anti-aliasing that
they follow; 0.7.0 drew 59 of 62 of them equally.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from qpkit.core.annotation import RoiShape
from qpkit.core.geometry import is_ellipse, is_rectangle, mend, slide_to_level, slides_to_level

PixelRule = Literal["centre", "qupath"]


_FIXED_POINT: Final = 1024
"""Java2D keeps coordinates in 1/1024 px where it does not round them."""

_KAPPA: Final = 0.5522847498307933
"""How long the arms of Java's four Bezier curves of an ellipse are, as a fraction of its half axes."""

_FLAT_WIDE: Final = 1.0
"""Px. How far Java2D lets the arms of a curve lie from its chord when it draws at "wide" downsamples."""

_FLAT_THIN: Final = 0.01
_DEEPEST: Final = 10


def is_thin(downsample: float) -> bool:
    """Whether QuPath draws at this downsample without moving vertices.

    It hangs on the last bit of a float: 1, 1.5, 2, 2.5, 3, 4, 8, 16 are thin, 1.7, 2.7, 5.3 are not.
    """
    # Java2D's limit of a thin line (SunGraphics2D.validateBasicStroke): the width squared as a float, times the scale
    # squared. QuPath sets a line as wide as the downsample.
    square = np.float32(downsample) ** 2
    return bool(float(np.float32(square)) * (1 / downsample) ** 2 <= 1.000000001)


def samples_corner(rule: PixelRule, downsample: float) -> bool:
    """Whether a pixel is judged by its left top corner instead of its centre."""
    return rule == "qupath" and is_thin(downsample)


def fills_nonzero(shape: RoiShape | None, rule: PixelRule) -> bool:
    """Whether a shape as `level_shape` gives it is filled wherever its outline goes round (see `scanline`).

    QuPath draws a PolygonROI so, and every other area by the even-odd rule. `centre` has made polygons valid.
    """
    return rule == "qupath" and shape == "polygon"


def level_shape(
    geometry: BaseGeometry, shape: RoiShape | None, *, downsample: float, rule: PixelRule
) -> tuple[BaseGeometry, bool]:
    """Move a shape to the level frame, to where its edges are drawn by a rule.

    Args:
        geometry: Slide frame.
        shape: How QuPath holds it; it draws rectangles and ellipses in their own ways.
        downsample: Slide px per level px.
        rule: With `centre` it is made valid and snapped to 1/256 px; `qupath` takes it as it is, like QuPath.

    Returns:
        (shape, was_mended).
    """
    if rule == "centre":
        mended, was_mended = mend(geometry)
        return slide_to_level(mended, downsample), was_mended
    if (shape == "rectangle" and is_rectangle(geometry)) or (shape == "ellipse" and is_ellipse(geometry)):
        corners = np.array(geometry.bounds) / downsample
        if shape == "rectangle":
            return shapely.box(*np.floor(corners + 0.25)), False
        return _ellipse(corners, thin=is_thin(downsample)), False
    move = _truncated if is_thin(downsample) else _moved
    moved: BaseGeometry = shapely.transform(geometry, lambda xy: move(xy / downsample))
    return moved, False


def level_bands(bands: NDArray[np.object_], *, downsample: float, rule: PixelRule) -> NDArray[np.object_]:
    """Move bands along outlines to the level frame, so that each has the pixels whose centres lie inside, by any rule.

    QuPath, too, strokes where the outline is and not half a pixel beside it, as it fills.

    Args:
        bands: (n,), slide frame, valid.
        downsample, rule: As for `level_shape`.

    Returns:
        (n,), in their order.
    """
    shift = 0.5 * downsample if samples_corner(rule, downsample) else 0.0
    return np.asarray(slides_to_level(bands, downsample, shift=shift), dtype=object)


def _truncated(xy: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.floor(xy * _FIXED_POINT) / _FIXED_POINT)


def _moved(xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Java2D's "stroke normalization" at wide lines: every vertex to the middle of a quarter of a pixel."""
    return np.asarray(np.floor(xy + 0.25) + 0.25)


def _ellipse(corners: NDArray[np.float64], *, thin: bool) -> shapely.Polygon:
    """Draw the ellipse in a box as Java's four Bezier curves."""
    x, y, x2, y2 = corners
    centre, half = np.array([x + x2, y + y2]) / 2, np.array([x2 - x, y2 - y]) / 2
    ends = centre + half * np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])
    arms = half * _KAPPA * np.array([(0, 1), (-1, 0), (0, -1), (1, 0)])
    drawn = ends if thin else _moved(ends)
    flat = _FLAT_THIN if thin else _FLAT_WIDE
    ring: list[NDArray[np.float64]] = []
    for k in range(4):
        start, stop = drawn[k], drawn[(k + 1) % 4]
        ring += _flattened(start, start + arms[k], stop - arms[(k + 1) % 4], stop, flat=flat, depth=0)
    points = np.array(ring)
    return shapely.Polygon(_truncated(points) if thin else points)


def _flattened(
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    c: NDArray[np.float64],
    d: NDArray[np.float64],
    *,
    flat: float,
    depth: int,
) -> list[NDArray[np.float64]]:
    """Halve a Bezier curve until its arms are within `flat` px of the chord; gives the points without the last."""
    chord = shapely.LineString([a, d])
    if depth >= _DEEPEST or max(chord.distance(shapely.Point(p)) for p in (b, c)) <= flat:
        return [a]
    ab, bc, cd = (a + b) / 2, (b + c) / 2, (c + d) / 2
    abc, bcd = (ab + bc) / 2, (bc + cd) / 2
    middle = (abc + bcd) / 2
    first = _flattened(a, ab, abc, middle, flat=flat, depth=depth + 1)
    return first + _flattened(middle, bcd, cd, d, flat=flat, depth=depth + 1)
