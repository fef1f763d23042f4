"""How fast label masks are drawn, against rasterio with an STRtree in the same run.

python benchmarks/masks.py --json FILE

Tiles of 512 x 512 px, one thread, everything warm. "large": 2,000 blobs of about 400 px across on 16,384 x 16,384
px, at three downsamples; "nuclei": 200,000 nuclei on 14,000 x 14,000 px, about 270 a tile. Both sides find the
shapes of a tile by an STRtree and draw them in order; the masks are compared, and are equal to the pixel.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import shapely
from measuring import Row, row, show
from numpy.typing import NDArray
from rasterio.features import rasterize
from rasterio.transform import Affine

from qpkit.core.annotation import Annotation, PathClass
from qpkit.core.geometry import slide_to_level
from qpkit.core.labels import LabelClass, LabelMap
from qpkit.core.tiles import Tile, TileGrid
from qpkit.ops.masks.rasterize import Painting

CLASSES = ("A", "B", "C")
LABELS = LabelMap(classes=tuple(LabelClass(name, value, (name,)) for value, name in enumerate(CLASSES, start=1)))
SECONDS = 3.0


def blobs(count: int, *, side: int, radius: float, vertices: int, seed: int) -> list[Annotation]:
    """Wobbly circles at random places."""
    rng = np.random.default_rng(seed)
    angle = np.linspace(0, 2 * np.pi, vertices, endpoint=False)
    wobble = radius * (
        1 + 0.15 * np.sin(3 * angle + rng.uniform(0, 6, (count, 1))) + rng.normal(0, 0.02, (count, vertices))
    )
    ring = np.stack([wobble * np.cos(angle), wobble * np.sin(angle)], axis=-1) + rng.uniform(0, side, (count, 1, 2))
    polygons = shapely.polygons(ring)
    return [Annotation(geometry=p, path_class=PathClass((CLASSES[k % 3],))) for k, p in enumerate(polygons)]


def ours(annotations: Sequence[Annotation], downsample: float) -> Callable[[Tile], NDArray[np.uint8]]:
    """Draw with a Painting."""
    return Painting(annotations, LABELS, downsample=downsample).draw


def theirs(annotations: Sequence[Annotation], downsample: float) -> Callable[[Tile], NDArray[np.uint8]]:
    """Draw with rasterio."""
    ordered = sorted(annotations, key=lambda item: CLASSES.index(str(item.path_class)))
    shapes = [slide_to_level(item.geometry, downsample) for item in ordered]
    values = [CLASSES.index(str(item.path_class)) + 1 for item in ordered]
    tree = shapely.STRtree(shapes)

    def draw(tile: Tile) -> NDArray[np.uint8]:
        mask = np.zeros((tile.height, tile.width), np.uint8)
        found = np.sort(tree.query(shapely.box(tile.x, tile.y, tile.x + tile.width, tile.y + tile.height)))
        if len(found):
            transform = Affine.translation(tile.x, tile.y)
            rasterize([(shapes[k], values[k]) for k in found], out=mask, transform=transform)
        return mask

    return draw


def rate(draw: Callable[[Tile], NDArray[np.uint8]], tiles: Sequence[Tile]) -> float:
    """Tiles per second."""
    start, count = time.perf_counter(), 0
    while (seconds := time.perf_counter() - start) < SECONDS:
        draw(tiles[count % len(tiles)])
        count += 1
    return count / seconds


def compare(name: str, annotations: Sequence[Annotation], side: int, downsample: float, goal: str) -> Row:
    """Draw the same tiles both ways."""
    grid = TileGrid(slide_width=side, slide_height=side, tile_size=512, downsample=downsample)
    tiles = list(grid)
    np.random.default_rng(0).shuffle(tiles)
    mine, other = ours(annotations, downsample), theirs(annotations, downsample)
    for tile in tiles[:20]:
        assert np.array_equal(mine(tile), other(tile)), tile
    fast, slow = rate(mine, tiles), rate(other, tiles)
    return row(f"{name}, downsample {downsample:g}", fast, "tiles/s", against="rasterio", ratio=fast / slow, goal=goal)


def main() -> None:
    """Parse, measure, print the table, write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="file for the rows")
    options = parser.parse_args()
    large = blobs(2000, side=16384, radius=200, vertices=120, seed=1)
    nuclei = blobs(200_000, side=14_000, radius=8, vertices=24, seed=2)
    rows = [compare("large", large, 16384, downsample, ">= 10 x") for downsample in (1.0, 2.7, 4.0)]
    rows.append(compare("nuclei", nuclei, 14_000, 1.0, ">= 12 x"))
    show(rows, options.json)


if __name__ == "__main__":
    main()
