"""Draw a small study: four pyramidal slides of H&E-like tissue with sparse lesions, and a QuPath project about them.

    python samples/make_samples.py samples/study

Everything is drawn from one seed, so every machine makes the same pixels and the same project. The lesions ("Tumor")
are nests of large dark nuclei; clusters of small round nuclei ("Immune cells") are there to be confused with them.
Patients A and B are for training, C for validation, D for testing (metadata "Patient" and "Split").
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from skimage.filters import gaussian

from qpkit.core.annotation import Annotation, PathClass, argb
from qpkit.core.geometry import ellipse, polygons_of, round_for_qupath
from qpkit.qupath import add_image, create_project

WIDTH, HEIGHT = 2816, 2048
MPP = 0.5
LEVELS = 3
TIMESTAMP_MS = 1_767_225_600_000
"""Written as creation time, so that the project is the same whenever it is made."""

LABELS = """\
# Tumor against everything else; immune cells are background that looks like tumour.
background = 0
ignore = 255
unannotated = "background"
ignored = ["Ignore*"]

[[class]]
name = "Tumor"
value = 1
from = ["Tumor"]
"""

TUMOR = PathClass(("Tumor",), argb(200, 0, 0))
IMMUNE = PathClass(("Immune cells",), argb(160, 90, 160))
IGNORE = PathClass(("Ignore*",), argb(180, 180, 180))

PINK = np.array([226, 163, 194], dtype=np.float32)
LESION = np.array([196, 132, 184], dtype=np.float32)
GLASS = np.array([241, 239, 242], dtype=np.float32)


@dataclass(frozen=True)
class Case:
    """One slide of the study: who, for what, how many lesions and immune clusters."""

    patient: str
    split: str
    lesions: int
    clusters: int


CASES = (Case("A", "train", 4, 4), Case("B", "train", 4, 3), Case("C", "val", 3, 3), Case("D", "test", 3, 4))


def blob(rng: np.random.Generator, x: float, y: float, radius: float, *, roughness: float = 0.16) -> shapely.Polygon:
    """A closed shape around (x, y), px: a circle with random waves."""
    angle = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    waves = sum(rng.normal(0, roughness / k) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in range(2, 8))
    distance = radius * (1 + waves)
    ring = np.stack([x + distance * np.cos(angle), y + distance * np.sin(angle)], axis=1)
    return polygons_of(round_for_qupath(shapely.Polygon(ring).buffer(0)))[0]


def place(
    rng: np.random.Generator, tissue: shapely.Polygon, taken: list[shapely.Polygon], radius: float
) -> shapely.Polygon:
    """A blob inside the tissue that keeps away from those that are there."""
    x0, y0, x1, y1 = tissue.bounds
    while True:
        shape = blob(rng, rng.uniform(x0, x1), rng.uniform(y0, y1), radius)
        if tissue.contains(shape.buffer(12)) and not any(shape.distance(other) < 40 for other in taken):
            return shape


def draw_mask(shape: shapely.Polygon, width: int, height: int) -> NDArray[np.float32]:
    """(height, width) float32 0..1 with soft edges; holes stay out."""
    image = Image.new("L", (width, height))
    pen = ImageDraw.Draw(image)
    pen.polygon([tuple(p) for p in shape.exterior.coords], fill=255)
    for hole in shape.interiors:
        pen.polygon([tuple(p) for p in hole.coords], fill=0)
    return np.asarray(gaussian(np.asarray(image, dtype=np.float32) / 255, 1.5), dtype=np.float32)


def scatter(
    rng: np.random.Generator, pen: ImageDraw.ImageDraw, shape: shapely.Polygon, *, spacing: float, radius: float
) -> None:
    """Draw nuclei inside a shape: one per spacing x spacing px on average, `radius` px large on average."""
    x0, y0, x1, y1 = shape.bounds
    count = int((x1 - x0) * (y1 - y0) / spacing**2)
    points = np.stack([rng.uniform(x0, x1, count), rng.uniform(y0, y1, count)], axis=1)
    inside = shapely.contains_xy(shape, points)
    for x, y in points[inside]:
        a, b = radius * rng.uniform(0.75, 1.25), radius * rng.uniform(0.6, 1.0)
        shade = int(rng.integers(-18, 18))
        pen.ellipse((x - a, y - b, x + a, y + b), fill=(92 + shade, 58 + shade, 132 + shade))


def draw_slide(
    rng: np.random.Generator,
    tissue: shapely.Polygon,
    lesions: list[shapely.Polygon],
    clusters: list[shapely.Polygon],
    *,
    width: int,
    height: int,
) -> NDArray[np.uint8]:
    """(height, width, 3) uint8."""
    fibres = gaussian(rng.normal(size=(height, width)).astype(np.float32), (2, 9))
    clouds = gaussian(rng.normal(size=(height // 8, width // 8)).astype(np.float32), 5)
    clouds = np.kron(clouds / clouds.std(), np.ones((8, 8), dtype=np.float32))
    base = PINK + (fibres / fibres.std() * 7 + clouds * 6)[..., np.newaxis]
    lesion_fraction = np.max([draw_mask(s, width, height) for s in lesions], axis=0)[..., np.newaxis]
    base = base * (1 - lesion_fraction) + (LESION + fibres[..., np.newaxis] / fibres.std() * 5) * lesion_fraction
    canvas = Image.fromarray(np.clip(base, 0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(canvas)
    scatter(rng, pen, tissue, spacing=30, radius=4.0)
    for shape in lesions:
        scatter(rng, pen, shape, spacing=13, radius=6.0)
    for shape in clusters:
        scatter(rng, pen, shape, spacing=9, radius=3.0)
    on_tissue = draw_mask(tissue, width, height)[..., np.newaxis]
    glass = GLASS + rng.normal(0, 0.8, size=(height, width, 1)).astype(np.float32)
    pixels = np.asarray(canvas, dtype=np.float32) * on_tissue + glass * (1 - on_tissue)
    return np.clip(gaussian(pixels, 0.7, channel_axis=-1), 0, 255).astype(np.uint8)


def write_pyramid(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write a tiled JPEG TIFF with halved levels and its um per px."""
    options = {
        "tile": (256, 256),
        "compression": "jpeg",
        "compressionargs": {"level": 75},
        "photometric": "rgb",
        "resolutionunit": "CENTIMETER",
        "software": "qpkit samples",
    }
    with tifffile.TiffWriter(path) as tiff:
        for level in range(LEVELS):
            per_cm = 1e4 / (MPP * 2**level)
            tiff.write(pixels, resolution=(per_cm, per_cm), subfiletype=1 if level else 0, metadata=None, **options)
            rows, columns = pixels.shape[0] // 2 * 2, pixels.shape[1] // 2 * 2
            halves = pixels[:rows, :columns].reshape(rows // 2, 2, columns // 2, 2, 3)
            pixels = halves.mean(axis=(1, 3)).round().astype(np.uint8)


def with_hole(shape: shapely.Polygon) -> shapely.Polygon:
    """Cut a round lumen out of a lesion's middle."""
    centre = shape.representative_point()
    lumen = ellipse(centre.x - 22, centre.y - 22, centre.x + 22, centre.y + 22, vertices=48)
    return polygons_of(round_for_qupath(shape.difference(lumen)))[0]


def objects_of(
    case: Case, lesions: list[shapely.Polygon], clusters: list[shapely.Polygon], tissue: shapely.Polygon
) -> list[Annotation]:
    """What the pathologist drew: every lesion and cluster, and a box to leave out at the tissue's edge."""
    x, y = (float(round(v)) for v in tissue.exterior.coords[0])
    box = shapely.box(x - 60, y - 40, x + 20, y + 40)
    drawn = [(TUMOR, lesion, "lesion") for lesion in lesions] + [(IMMUNE, c, "cluster") for c in clusters]
    found = [
        Annotation(
            geometry=shape,
            shape="geometry" if shape.interiors else "polygon",
            path_class=path_class,
            id=_uuid(case, number),
            name=f"{word} {number}",
        )
        for number, (path_class, shape, word) in enumerate(drawn, start=1)
    ]
    found.append(Annotation(geometry=box, shape="rectangle", path_class=IGNORE, id=_uuid(case, 0), name="fold"))
    return found


def _uuid(case: Case, number: int) -> str:
    return f"00000000-0000-4000-8000-{ord(case.patient):06x}{number:06x}"


def make(folder: Path, *, cases: Sequence[Case] = CASES, times: int = 1) -> None:
    """Make the study in `folder`, which must not hold one yet: slides/*.tif, labels.toml, a QuPath project.

    Args:
        folder: To make.
        cases: One slide each.
        times: How many times as wide and high slides and tissue are; lesions and nuclei stay as they are.
    """
    width, height = times * WIDTH, times * HEIGHT
    project = create_project(folder, timestamp_ms=TIMESTAMP_MS, classes=[TUMOR, IMMUNE, IGNORE])
    (folder / "slides").mkdir()
    (folder / "labels.toml").write_text(LABELS, encoding="utf-8")
    for number, case in enumerate(cases):
        rng = np.random.default_rng((2026, number))
        tissue = blob(rng, width / 2, height / 2, 830 * times, roughness=0.1)
        lesions: list[shapely.Polygon] = []
        for _ in range(case.lesions):
            lesions.append(place(rng, tissue, lesions, rng.uniform(70, 135)))
        clusters: list[shapely.Polygon] = []
        for _ in range(case.clusters):
            clusters.append(place(rng, tissue, lesions + clusters, rng.uniform(45, 80)))
        lesions[0] = with_hole(lesions[0])
        path = folder / "slides" / f"patient_{case.patient}.tif"
        write_pyramid(path, draw_slide(rng, tissue, lesions, clusters, width=width, height=height))
        add_image(
            project,
            path,
            width=width,
            height=height,
            mpp=MPP,
            levels=[(2.0**level, width >> level, height >> level) for level in range(LEVELS)],
            metadata={"Patient": case.patient, "Split": case.split},
            objects=objects_of(case, lesions, clusters, tissue),
        )


if __name__ == "__main__":
    make(Path(sys.argv[1] if len(sys.argv) > 1 else "samples/study"))
