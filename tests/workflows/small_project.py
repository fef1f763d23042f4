"""A QuPath project of slides of a few hundred px, made in no time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import shapely
import tifffile

from qpkit.core.annotation import Annotation, PathClass
from qpkit.qupath import Project, add_image, create_project, open_project
from qpkit.qupath.project.edits import relocated_record, write_project

WIDTH, HEIGHT, MPP = 320, 256, 0.5

CLASSES = (PathClass(("Tumor",), -3670016), PathClass(("Stroma",), -16744448))
TUMOR, STROMA = (
    Annotation(geometry=shapely.box(20, 20, 120, 100), path_class=CLASSES[0]),
    Annotation(geometry=shapely.box(150, 60, 300, 240), path_class=CLASSES[1]),
)


def write_slide(path: Path, *, seed: int = 0, width: int = WIDTH, height: int = HEIGHT, mpp: float = MPP) -> Path:
    """A tiled TIFF of noise on pink: tissue everywhere."""
    noise = np.random.default_rng(seed).normal((190, 120, 170), 25, (height, width, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(
        path, noise.clip(0, 255).astype(np.uint8), tile=(64, 64), photometric="rgb", compression="zlib", metadata=None,
        resolution=(1e4 / mpp, 1e4 / mpp), resolutionunit="CENTIMETER",
    )  # fmt: skip
    return path


def small_project(folder: Path, objects: Sequence[Sequence[Annotation]] = ((TUMOR, STROMA), (TUMOR,))) -> Project:
    """A project with a slide for each list of objects: a.tif, b.tif ... in `slides` beside it."""
    project = create_project(folder / "project", classes=CLASSES)
    for number, own in enumerate(objects):
        name = f"{chr(ord('a') + number)}.tif"
        slide = write_slide(folder / "slides" / name, seed=number)
        split = ("train", "val", "test")[number % 3]
        add_image(
            project, slide, width=WIDTH, height=HEIGHT, mpp=MPP, objects=own, metadata={"Split": split, "Patient": name}
        )
    return open_project(project.path)


def set_image_uris(project: Project, new_uris: Mapping[int, str]) -> int:
    """Say where the images of entries are now; gives how many entries are different."""
    record = relocated_record(project, new_uris)
    changed: int = sum(new != old for new, old in zip(record["images"], project.record.get("images", []), strict=True))
    if changed:
        write_project(project, record)
    return changed
