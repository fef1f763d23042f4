"""The published way of making tiles from a slide and a GeoJSON file, as the BRACS lesion pipeline describes it.

python benchmarks/published_way.py SLIDE GEOJSON OUT

Every cell of a grid of 512 px is read through OpenSlide; those whose RGB standard deviation is under 12.5 are glass;
the annotations are joined with the grid in geopandas and overlaid, the pieces burnt by rasterio, and image and mask
saved as PNG. One thread, one process, nothing clever.
"""

from __future__ import annotations

import sys
from pathlib import Path

import geopandas as gpd
import numpy as np
import openslide
import shapely
from PIL import Image
from rasterio.features import rasterize
from rasterio.transform import Affine

SIDE = 512
GLASS = 12.5


def class_of(cell: object) -> str:
    """Name of a feature's class; GDAL gives nested properties as JSON text."""
    import json

    record = json.loads(cell) if isinstance(cell, str) else cell
    return str(record["name"]) if isinstance(record, dict) else ""


def main(slide_file: Path, geojson: Path, out: Path) -> int:
    """Write pairs; gives their number."""
    for name in ("images", "masks"):
        (out / name).mkdir(parents=True)
    slide = openslide.OpenSlide(slide_file)
    width, height = slide.dimensions
    frame = gpd.read_file(geojson).set_crs(None, allow_override=True)
    frame["class"] = frame["classification"].map(class_of)
    values = {name: value for value, name in enumerate(sorted(frame["class"].unique()), start=1)}
    corners = [(x, y) for y in range(0, height, SIDE) for x in range(0, width, SIDE)]
    cells = [shapely.box(x, y, x + SIDE, y + SIDE) for x, y in corners]
    grid = gpd.GeoDataFrame({"x": [x for x, _ in corners], "y": [y for _, y in corners]}, geometry=cells)
    frame["geometry"] = shapely.make_valid(frame.geometry.values)
    pieces = gpd.overlay(grid, frame[["class", "geometry"]], how="intersection", keep_geom_type=True)
    by_cell = dict(list(pieces.groupby(["x", "y"])))
    count = 0
    for x, y in corners:
        pixels = np.array(slide.read_region((x, y), 0, (SIDE, SIDE)).convert("RGB"))
        if pixels.std() < GLASS:
            continue
        mask = np.zeros((SIDE, SIDE), np.uint8)
        rows = by_cell.get((x, y))
        if rows is not None:
            shapes = [(g, values[c]) for g, c in zip(rows.geometry, rows["class"], strict=True)]
            mask = rasterize(shapes, out_shape=(SIDE, SIDE), transform=Affine.translation(x, y), dtype=np.uint8)
        Image.fromarray(pixels).save(out / "images" / f"{x}_{y}.png")
        Image.fromarray(mask).save(out / "masks" / f"{x}_{y}.png")
        count += 1
    return count


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(f"usage: python {sys.argv[0]} SLIDE GEOJSON OUT")
    print(main(*map(Path, sys.argv[1:4])))
