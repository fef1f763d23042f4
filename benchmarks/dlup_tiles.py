"""Tiles of image and mask in memory by dlup; runs in an environment of its own (see export.py).

python benchmarks/dlup_tiles.py SLIDE GEOJSON
"""

from __future__ import annotations

import json
import sys
import time
import warnings

import numpy as np

warnings.simplefilter("ignore")

if len(sys.argv) != 3:
    sys.exit(f"usage: python {sys.argv[0]} SLIDE GEOJSON")

from dlup.annotations import SlideAnnotations  # noqa: E402
from dlup.data.dataset import AnnotationConfig, ImageConfig, SlideDataset, TilingConfig  # noqa: E402
from dlup.utils.backends import ImageBackend  # noqa: E402


def rate(slide: str, geojson: str, backend: ImageBackend) -> float:
    """Tiles per second over the whole grid at the slide's own resolution."""
    annotations = SlideAnnotations.from_geojson(geojson)
    annotations.reindex_polygons({name: i for i, name in enumerate(sorted(annotations.available_classes), start=1)})
    tiles = SlideDataset.from_standard_tiling(
        slide,
        TilingConfig(mpp=None, tile_size=(512, 512)),
        annotation_config=AnnotationConfig(annotations=annotations),
        image_config=ImageConfig(backend=backend),
    )
    start = time.perf_counter()
    for tile in tiles:
        np.asarray(tile.image)
        tile.annotations.polygons.to_mask().numpy()
    return len(tiles) / (time.perf_counter() - start)


if __name__ == "__main__":
    backends = (ImageBackend.FastSlideSlide, ImageBackend.OpenSlideSlide)
    print(json.dumps({"tiles_per_second": max(rate(*sys.argv[1:3], backend) for backend in backends)}))
