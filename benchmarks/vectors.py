"""How fast label rasters become polygons and objects in QuPath, against GDAL and GEOS in the same run.

python benchmarks/vectors.py --json FILE [--predictions DIR] [--side 20480] [--only trace nuclei]

Tracing on one core is compared with rasterio.features.shapes and shapely, ours and theirs valid: "noise" is three
random labels, "blobs" and "fine" are smoothed noise at two scales, DIR's first raster comes on top. Two more ways that
people take stand beside it: one shape for each label by unary_union (not of more polygons than it can do in minutes),
and, where OpenCV is installed, cv2.findContours (8-connected, through the middles of pixels, rings and no polygons).
Then the sweep alone, on all cores against one. Simplifying is compared with shapely.coverage_simplify of the same
polygons, at the same tolerance (a distance for us, the root of an area there). "project" is a raster of --side px, two
classes of smoothed noise made in tiles of 2,048 px, from GeoTIFF to the .qpdata of a new project, in a process of its
own. The same with 5 M vertices, with a slide of 100,000 px of which a tenth is tissue, and with 3,000 nuclei in every
2,048 px as objects.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import rasterio
import shapely
import tifffile
from measuring import Row, alone, row, show, timed
from numpy.typing import NDArray
from rasterio.features import rasterize, shapes
from scipy import ndimage

from qpkit.core.geometry import polygons_of
from qpkit.core.labels import LabelClass, LabelMap
from qpkit.ops.vectors.sweep import trace
from qpkit.ops.vectors.vectorize import outlines_of
from qpkit.predictions import PredictionSet, SlidePrediction, create_raster, read_predictions, write_predictions
from qpkit.qupath import add_image, create_project, open_project
from qpkit.workflows.imports.project import import_predictions
from qpkit.workflows.imports.settings import ImportSettings

Made = TypeVar("Made")

TILE = 2048
LABELS = LabelMap(classes=(LabelClass("Tumor", 1, ("Tumor",)), LabelClass("Stroma", 2, ("Stroma",))))
SKIP = {0, 255}
MOST_UNITED = 200_000
"""Polygons; 5 times as many took more than ten minutes."""


def smooth(side: int, sigma: float, seed: int) -> NDArray[np.uint8]:
    """Two classes on background, from smoothed noise."""
    noise = np.random.default_rng(seed).standard_normal((side, side), dtype=np.float32)
    found = ndimage.gaussian_filter(noise, sigma, mode="wrap")
    found /= found.std()
    return ((found > 0.5) + 2 * (found < -0.7)).astype(np.uint8)


def ours(labels: NDArray[np.uint8], tolerance: float = 0.0) -> NDArray[np.object_]:
    """Strip by strip, as import-predictions does."""
    strips = ((y, labels[y : y + 1024], None) for y in range(0, len(labels), 1024))
    return outlines_of(trace(strips, skip=SKIP), tolerance=tolerance).polygons


def theirs(labels: NDArray[np.uint8]) -> dict[int, list[shapely.Polygon]]:
    """GDAL's outlines as valid polygons, by label."""
    found: dict[int, list[shapely.Polygon]] = {}
    for outline, value in shapes(labels, mask=~np.isin(labels, list(SKIP)), connectivity=4):
        shell, *holes = outline["coordinates"]
        polygon = shapely.Polygon(shell, holes)
        parts = [polygon] if polygon.is_valid else polygons_of(shapely.make_valid(polygon, method="structure"))
        found.setdefault(int(value), []).extend(parts)
    return found


@contextlib.contextmanager
def on_cores(cores: set[int]) -> Iterator[None]:
    """Use these cores alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _seconds(work: Callable[[], Made]) -> tuple[float, Made]:
    start = time.perf_counter()
    made = work()
    return time.perf_counter() - start, made


def tracing(name: str, labels: NDArray[np.uint8]) -> Iterator[Row]:
    """Both ways; the polygons have to be as many, and of the same area."""
    fast, mine = min((_seconds(lambda: ours(labels)) for _ in range(3)), key=lambda pair: pair[0])
    slow, by_label = _seconds(lambda: theirs(labels))
    other = [polygon for polygons in by_label.values() for polygon in polygons]
    assert len(mine) == len(other) and shapely.area(mine).sum() == shapely.area(other).sum()
    yield row(f"trace {name}, vertices", int(shapely.get_num_coordinates(mine).sum()), "")
    yield row(f"trace {name}", fast, "s", against="GDAL + shapely", ratio=slow / fast, goal=">= 10 x")
    if len(other) < MOST_UNITED:
        united, _ = _seconds(lambda: [shapely.unary_union(polygons) for polygons in by_label.values()])
        yield row(f"trace {name}, united", fast, "s", against="GDAL + unary_union", ratio=(slow + united) / fast)
    with contextlib.suppress(ImportError):
        contours, _ = _seconds(lambda: contours_of(labels))
        yield row(f"trace {name}, rings", fast, "s", against="cv2.findContours", ratio=contours / fast)


def contours_of(labels: NDArray[np.uint8]) -> list[Any]:
    """OpenCV's rings of each label, without their straight parts."""
    import cv2

    found: list[Any] = []
    for value in set(np.unique(labels).tolist()) - SKIP:
        rings, _ = cv2.findContours((labels == value).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        found += rings
    return found


def sweeping(name: str, labels: NDArray[np.uint8]) -> Iterator[Row]:
    """Raster to arcs, on all cores and on one."""
    cores, times = os.sched_getaffinity(0), []
    for some in (cores, set(list(cores)[:1])):
        with on_cores(some):
            times.append(timed(lambda: trace([(0, labels, None)], skip=SKIP), times=7)["seconds"])
    goal = ">= 1.7 x" if len(cores) == 2 else ""
    yield row(
        f"sweep {name}, {len(cores)} cores", times[0], "s", against="one core", ratio=times[1] / times[0], goal=goal
    )


def simplifying(name: str, labels: NDArray[np.uint8], tolerance: float) -> Iterator[Row]:
    """Both ways, from the raster and from the polygons; ours includes the tracing."""
    fast, mine = min((_seconds(lambda: ours(labels, tolerance)) for _ in range(3)), key=lambda pair: pair[0])
    found = outlines_of(trace([(0, labels, None)], skip=SKIP))
    polygons = list(found.polygons)
    slow, other = _seconds(lambda: shapely.coverage_simplify(shapely.segmentize(polygons, 1.0), tolerance))
    count, count_other = (int(shapely.get_num_coordinates(each).sum()) for each in (mine, other))
    differ, differ_other = (int((drawn(each, found.values, labels) != labels).sum()) for each in (mine, other))
    against = "coverage_simplify"
    yield row(f"simplify {name}", fast, "s", against=against, ratio=slow / fast)
    yield row(f"simplify {name}, vertices", count, "", against=against, ratio=count_other / count)
    yield row(f"simplify {name}, pixels that differ", differ, "px", against=against, ratio=differ_other / differ)


def drawn(polygons: Sequence[shapely.Polygon], values: NDArray[np.int64], like: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The polygons as a raster of that size."""
    shapes = zip(polygons, values.tolist(), strict=True)
    made: NDArray[np.uint8] = rasterize(shapes, out_shape=like.shape, dtype="uint8")
    return made


def nuclei(side: int, seed: int) -> NDArray[np.uint8]:
    """3,000 discs of 10 to 20 px in 2,048 px, of which some touch."""
    rng = np.random.default_rng(seed)
    made = np.zeros((side, side), np.uint8)
    rows, columns = np.mgrid[-10:11, -10:11]
    for _ in range(3000 * side * side // TILE**2):
        radius, (y, x) = rng.integers(5, 11), rng.integers(11, side - 11, 2)
        made[y - 10 : y + 11, x - 10 : x + 11][rows**2 + columns**2 <= radius**2] = 1
    return made


def made_project(root: Path, side: int, drawn: Callable[[int, int], NDArray[np.uint8]], share: float = 1.0) -> None:
    """A project that says it has a large image, and its prediction, in `root`.

    `drawn` gives tiles for (side, seed); they fill a square in the middle, a share of the slide.
    """
    image = root / "slide.tif"
    blank = np.full((64, 64, 3), 240, np.uint8)
    tifffile.imwrite(image, blank, photometric="rgb", resolution=(20_000, 20_000), resolutionunit="CENTIMETER")
    add_image(create_project(root / "project", classes=()), image, width=side, height=side, mpp=0.5)
    predictions = root / "predictions"
    size = {"width": side, "height": side, "downsample": 1.0, "mpp": 0.5}
    predictions.mkdir()
    count = round(side // TILE * share**0.5)
    first = (side // TILE - count) // 2
    with create_raster(predictions / "labels.tif", **size) as raster:
        for number in range(count**2):
            y, x = divmod(number, count)
            raster.write(drawn(TILE, number), x=(first + x) * TILE, y=(first + y) * TILE)
    slide = SlidePrediction(name="slide.tif", image=str(image), entry="1", labels="labels.tif", **size)
    write_predictions(
        PredictionSet(root=predictions, run="run", model="none", label_map=LABELS, slides=(slide,), info={})
    )


def one(name: str, predictions: str, project: str, *options: str) -> None:
    """Import once and print seconds and memory."""
    settings = ImportSettings(**json.loads(options[0]))
    found = timed(
        lambda: import_predictions(read_predictions(Path(predictions)), open_project(Path(project)), settings)
    )
    print(json.dumps(found))


def whole(name: str, predictions: Path, project: Path, settings: dict[str, Any], goal: str) -> Iterator[Row]:
    """From a raster to the project."""
    found = alone(__file__, name, str(predictions), str(project), json.dumps(settings))
    yield row(name, found["seconds"], "s", goal=goal.partition(",")[0])
    yield row(f"{name}, memory", found["peak_mb"], "MB", goal=goal.partition(",")[2].strip())


Rasters = dict[str, NDArray[np.uint8]]


def rasters_of(predictions: Path | None) -> Rasters:
    """What is traced, by name."""
    made = {
        "noise": np.random.default_rng(0).integers(0, 3, (TILE, TILE)).astype(np.uint8),
        "blobs": smooth(2 * TILE, 12, 1),
        "fine": smooth(2 * TILE, 2, 2),
    }
    if predictions:
        found = read_predictions(predictions)
        with rasterio.open(predictions / found.slides[0].labels) as dataset:
            made[predictions.name] = dataset.read(1)
    return made


def traced(predictions: Path | None) -> Iterator[Row]:
    """Rasters to arcs and to polygons."""
    ours(smooth(64, 2, 0), 1.0)  # compiled
    for name, labels in rasters_of(predictions).items():
        yield from sweeping(name, labels)
        with on_cores(set(list(os.sched_getaffinity(0))[:1])):
            yield from tracing(name, labels)


def simplified() -> Iterator[Row]:
    """Rasters to simplified polygons."""
    rasters = rasters_of(None)
    ours(smooth(64, 2, 0), 1.0)  # compiled
    for name in ("blobs", "fine"):
        yield from simplifying(name, rasters[name], 2.0)


def made_slides(side: int) -> Iterator[Row]:
    """Slides of smoothed noise, from raster to project."""
    for name, width, sigma, share, goal in (
        (f"project, {side} px", side, 16, 1.0, "<= 30 s, <= 1,500 MB"),
        ("project, 5 M vertices", side * 6 // 10, 15, 1.0, "< 6 s, "),
        ("slide of {} px, 10 % tissue", 100_000 * side // 20_480, 16, 0.1, "<= 120 s, <= 3,000 MB"),
    ):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            made_project(root, width, partial(_tile, sigma=sigma, repeat=share < 1), share)
            yield from whole(name.format(width), root / "predictions", root / "project", {}, goal)


def _tile(side: int, seed: int, *, sigma: float, repeat: bool) -> NDArray[np.uint8]:
    return smooth(side, sigma, seed % 8 if repeat else seed)


def made_nuclei(side: int) -> Iterator[Row]:
    """Nuclei as objects, from raster to project."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        made_project(root, side, nuclei)
        for kind in ("components", "watershed"):
            shutil.copytree(root / "project", root / kind)  # into one without objects
            goal = "<= 120 s, <= 2,000 MB"
            yield from whole(f"{kind}, {side} px", root / "predictions", root / kind, {"objects": kind}, goal)


def given_slide(predictions: Path | None, project: Path | None) -> Iterator[Row]:
    """The slide that was given, from raster to project."""
    if predictions is None or project is None:
        return
    for name, settings in (("simplified", {"min_area_um2": 200, "simplify_um": 1}), ("as it is", {})):
        with tempfile.TemporaryDirectory() as folder:
            copy = shutil.copytree(project, Path(folder) / "project")
            yield from whole(f"{predictions.name}, {name}", predictions, copy, settings, "<= 15 s, <= 1,000 MB")


def main() -> None:
    """Parse, measure, print the table, write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="file for the rows")
    parser.add_argument("--predictions", type=Path, help="predictions folder to try, too")
    parser.add_argument("--project", type=Path, help="its project: objects are put into copies of it")
    parser.add_argument("--side", type=int, default=20_480)
    parser.add_argument("--only", nargs="+", choices=("trace", "simplify", "slides", "nuclei", "given"))
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(*options.one)
        return
    parts = {
        "trace": lambda: traced(options.predictions),
        "simplify": simplified,
        "slides": lambda: made_slides(options.side),
        "nuclei": lambda: made_nuclei(options.side * 13 // 10),
        "given": lambda: given_slide(options.predictions, options.project),
    }
    show([each for name in options.only or parts for each in parts[name]()], options.json)


if __name__ == "__main__":
    main()
