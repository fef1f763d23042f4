"""Label rasters to polygons: strip by strip, in integer level pixels, holes kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.features import rasterize as gdal_rasterize
from rasterio.features import shapes
from rasterio.transform import Affine

from qpkit.core.geometry import polygons_of

Pieces = Mapping[int, Sequence[shapely.Polygon]]
"""Polygons by label value; level frame, integer coordinates."""


def vectorize(labels: NDArray[np.uint8], *, skip: Collection[int], x: int = 0, y: int = 0) -> Pieces:
    """Trace the 4-connected areas of a label raster.

    Args:
        labels: (h, w) uint8.
        skip: Values that are not traced (background, ignore).
        x, y: Level px of labels[0, 0].

    Returns:
        Valid polygons whose vertices are pixel corners; drawing them again gives the raster back, pixel for pixel.
    """
    wanted = np.isin(labels, list(skip), invert=True)
    pieces: dict[int, list[shapely.Polygon]] = defaultdict(list)
    for outline, value in shapes(labels, mask=wanted, connectivity=4, transform=Affine.translation(x, y)):
        shell, *holes = outline["coordinates"]
        pieces[int(value)] += _valid(shapely.Polygon(shell, holes))
    return pieces


def _valid(polygon: shapely.Polygon) -> list[shapely.Polygon]:
    """GDAL's rings may touch themselves in a corner; the same area with rings as the standard wants them."""
    if polygon.is_valid:
        return [polygon]
    return polygons_of(shapely.make_valid(polygon, method="structure", keep_collapsed=False))


def mean_inside(
    polygons: Sequence[shapely.Polygon], strips: Iterable[tuple[int, NDArray[np.uint8]]]
) -> NDArray[np.float64]:
    """Average a raster inside each polygon, reading it strip by strip.

    Args:
        polygons: Level frame, integer coordinates, not overlapping.
        strips: (y, (h, w) uint8) pairs that cover the raster from column 0 on.

    Returns:
        One mean per polygon in the raster's units; NaN for a polygon without a pixel.
    """
    sums, counts = np.zeros(len(polygons) + 1), np.zeros(len(polygons) + 1)
    tree = shapely.STRtree(polygons)
    for y, values in strips:
        height, width = values.shape
        touched = tree.query(shapely.box(0, y, width, y + height))
        if not len(touched):
            continue
        numbered = [(polygons[i], int(i) + 1) for i in touched]  # 0 is no polygon
        owner = gdal_rasterize(
            numbered, out_shape=values.shape, transform=Affine.translation(0, y), dtype="int32"
        ).ravel()
        sums += np.bincount(owner, weights=values.ravel(), minlength=len(sums))
        counts += np.bincount(owner, minlength=len(counts))
    return np.asarray(np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)[1:])
