"""How fast a whole export is: against the published way, against dlup, on two processes, and on ever larger slides.

python benchmarks/export.py PROJECT --json FILE

PROJECT is a QuPath project of slides that state their um per px. dlup is installed by the script, into build/dlup.
Each measurement is a process of its own; imports are not counted on either side.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import imagecodecs
import numpy as np
import published_way
import shapely
import tifffile
from measuring import Result, Row, alone, row, show, timed
from numpy.typing import NDArray

from qpkit.core.annotation import Annotation, PathClass
from qpkit.core.labels import default_label_map
from qpkit.core.tiles import TileGrid
from qpkit.ops.masks.rasterize import Painting
from qpkit.qupath import write_geojson
from qpkit.slides import open_slide
from qpkit.workflows.export.settings import ExportSettings
from qpkit.workflows.export.tiles import export_tiles
from qpkit.workflows.inputs.slides import SlideInput, project_classes, slide_inputs

DLUP = "dlup[openslide]==0.9.4"
SIDES = (10_000, 20_000, 40_000, 80_000)
TIMES = 6
"""How often the project is exported to compare processes, so that starting one (2 s) does not decide."""

TISSUE = 16
"""Slide tiles (256 px) along the tissue of a made-up slide, whatever its size."""


def drawn(item: SlideInput) -> list[Annotation]:
    """Annotations with a class and an area: what everybody can draw."""
    return [o for o in item.objects() if o.kind == "annotation" and o.path_class and o.geometry.area > 0]


def export(inputs: Sequence[SlideInput], out: Path, classes: Sequence[PathClass], *, workers: int = 1) -> None:
    """Export at the slides' own resolution, as `qpkit export` does."""
    export_tiles(inputs, out, ExportSettings(downsample=1.0), classes=classes, workers=workers)


def publish(inputs: Sequence[SlideInput], out: Path) -> None:
    """Do the same the published way."""
    for number, item in enumerate(inputs):
        write_geojson(out / f"{number}.geojson", drawn(item))
        published_way.main(item.source.path, out / f"{number}.geojson", out / str(number))


def draw_all(item: SlideInput) -> int:
    """Make image and mask of every tile in memory; gives their number."""
    objects = drawn(item)
    classes = {str(o.path_class): o.path_class for o in objects if o.path_class}
    painting = Painting(objects, default_label_map(list(classes.values())), downsample=1.0)
    grid = TileGrid(slide_width=item.info.width, slide_height=item.info.height, tile_size=512)
    with open_slide(item.source.path) as slide:
        for tile in grid:
            slide.read(tile)
            painting.draw(tile)
    return len(grid)


def one(name: str, source: Path) -> Result:
    """Do one measurement in this process."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        if source.suffix == ".tif":
            inputs, classes = slide_inputs([source], annotations=source.with_suffix(".geojson")), []
        else:
            times = TIMES if "core" in name else 1
            inputs, classes = slide_inputs([source] * times), project_classes([source])
        if name == "published":
            return timed(lambda: publish(inputs, out))
        if name == "tiles":
            return timed(lambda: draw_all(inputs[0]), times=2)
        chosen = inputs[:1] if name == "export one" else inputs
        if name == "one core" and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        return timed(lambda: export(chosen, out / "tiles", classes, workers=2 if name == "two cores" else 1))


def textured(seed: int) -> NDArray[np.uint8]:
    """(256, 256, 3) of something pink with grain."""
    grain = np.random.default_rng(seed).normal(0, 25, (64, 64, 1)).repeat(4, 0).repeat(4, 1)
    return (np.array([205, 140, 185]) + grain).clip(0, 255).astype(np.uint8)


def jpeg_tiles(across: int, tissue: int) -> Iterator[bytes]:
    """Encoded tiles of a square slide, row by row: tissue in the middle, glass around."""
    glass = imagecodecs.jpeg8_encode(np.full((256, 256, 3), 242, np.uint8), level=85, subsampling="444")
    kinds = [imagecodecs.jpeg8_encode(textured(seed), level=85, subsampling="444") for seed in range(8)]
    first = (across - tissue) // 2
    for r in range(across):
        for c in range(across):
            is_tissue = first <= r < first + tissue and first <= c < first + tissue
            yield kinds[(r + c) % 8] if is_tissue else glass


def make_slide(path: Path, side: int) -> None:
    """Write a pyramid with as much tissue as any other, and its annotations."""
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for level in range(4):
            px = max(1, side // 4**level)
            tiff.write(
                jpeg_tiles(-(-px // 256), max(1, TISSUE // 4**level)),
                shape=(px, px, 3),
                dtype=np.uint8,
                tile=(256, 256),
                photometric="ycbcr",
                subsampling=(1, 1),
                compression="jpeg",
                subfiletype=0 if level == 0 else 1,
                resolution=(20_000 / 4**level, 20_000 / 4**level),
                resolutionunit="CENTIMETER",
            )
    middle = side / 2
    lesions = [shapely.Point(middle + 700 * i, middle + 600 * j).buffer(200) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    write_geojson(
        path.with_suffix(".geojson"), [Annotation(geometry=g, path_class=PathClass(("Tumor",))) for g in lesions]
    )


def dlup_rate(item: SlideInput, work: Path) -> float:
    """Tiles per second of dlup, in its own environment."""
    home = Path("build/dlup")
    if not home.is_dir():
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        subprocess.run([home / "bin/pip", "install", "-q", DLUP], check=True)
    write_geojson(work / "dlup.geojson", drawn(item))
    command = [home / "bin/python", Path(__file__).with_name("dlup_tiles.py"), item.source.path, work / "dlup.geojson"]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(found.stdout.splitlines()[-1])["tiles_per_second"])


def measure(project: Path, work: Path) -> Iterator[Row]:
    """All rows."""
    item = slide_inputs([project])[0]
    grid = TileGrid(slide_width=item.info.width, slide_height=item.info.height, tile_size=512)
    mine = len(grid) / alone(__file__, "tiles", str(project))["seconds"]
    theirs = dlup_rate(item, work)
    yield row("image and mask in memory", mine, "tiles/s", against="dlup 0.9.4", ratio=mine / theirs, goal="> 1 x")
    whole, slow = alone(__file__, "export", str(project)), alone(__file__, "published", str(project))
    ratio = slow["seconds"] / whole["seconds"]
    yield row("whole export", whole["seconds"], "s", against="the published way", ratio=ratio, goal=">= 6 x")
    single, two = alone(__file__, "one core", str(project)), alone(__file__, "two cores", str(project))
    yield row("six times, 1 process on 1 core", single["seconds"], "s")
    ratio = single["seconds"] / two["seconds"]
    yield row("six times, 2 processes", two["seconds"], "s", against="1 on 1 core", ratio=ratio, goal=">= 1.7 x")
    single = alone(__file__, "export one", str(project))
    yield row("memory, one slide", single["peak_mb"], "MB")
    yield row("memory, all slides", whole["peak_mb"], "MB", goal="constant")
    for side in SIDES:
        slide = work / f"{side}.tif"
        make_slide(slide, side)
        found = alone(__file__, "export", str(slide))
        yield row(f"slide of {side:,} px", found["seconds"], "s")
        yield row(f"slide of {side:,} px, memory", found["peak_mb"], "MB")
        slide.unlink()


def main() -> None:
    """Parse, measure, print the table, write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path, nargs="?", help="QuPath project (required)")
    parser.add_argument("--json", type=Path, help="file for the rows")
    parser.add_argument("--one", nargs=2, metavar=("NAME", "SOURCE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.one[0], Path(options.one[1]))))
        return
    if options.project is None:
        parser.error("the following arguments are required: project")
    with tempfile.TemporaryDirectory() as work:
        show(list(measure(options.project.resolve(), Path(work))), options.json)


if __name__ == "__main__":
    main()
