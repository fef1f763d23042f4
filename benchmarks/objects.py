"""How well touching nuclei are cut apart, given their true masks: F1 at IoU 0.5 of components and of watersheds.

python benchmarks/objects.py LABELS --json FILE

LABELS are label images in which each number is one nucleus (`dsb2018-he/labels`). What is given to the watershed is
whether a pixel lies in any of them, so a score is about the cutting alone. Distances are px; um at 0.25 um/px.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Row, row, show
from numpy.typing import NDArray
from scipy import ndimage

from qpkit.ops.scores.objects import ObjectCounts, count_objects, object_overlaps
from qpkit.ops.scores.pairs import Pairs
from qpkit.ops.vectors.watershed import numbered
from qpkit.workflows.inputs.instance_images import images_in, number_strips


def cut(mask: NDArray[np.uint8], distance: int) -> NDArray[Any]:
    """The numbers of objects; 0 px stands for components."""
    if not distance:
        return np.asarray(ndimage.label(mask)[0])
    places = numbered(mask, skip={0}, distance_px=distance, width=mask.shape[1])
    return np.unique(places, return_inverse=True)[1].reshape(mask.shape)


def measure(folder: Path) -> Iterator[Row]:
    """A row for each distance."""
    images = [np.concatenate(list(number_strips(path, rows=1 << 20))) for path in images_in(folder).values()]
    base = None
    for distance in (0, 4, 6, 8, 10, 12, 16, 20):
        found = ObjectCounts()
        for image in images:
            predicted = cut((image > 0).astype(np.uint8), distance)
            found += count_objects(object_overlaps(Pairs.of(image.ravel(), predicted.ravel())))
        score = found.f1 or 0.0
        base = score if base is None else base
        name = f"watershed, {distance} px = {distance / 4:g} um" if distance else "components"
        yield row(f"{name}, F1 at IoU 0.5", score, "", against="components", ratio=score / base)
        yield row(f"{name}, objects", found.predicted, "", against="true", ratio=found.predicted / found.total)


def main() -> None:
    """Parse, measure, print the table, write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--json", type=Path, help="file for the rows")
    options = parser.parse_args()
    show(list(measure(options.labels)), options.json)


if __name__ == "__main__":
    main()
