"""OME-Zarr 0.5 labels: a folder with the group `labels`, and in it one label image of all classes.

Writing draws the objects as for a label image; reading traces the areas along pixel edges, exactly.

Source: https://ngff.openmicroscopy.org/0.5.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from shapely.affinity import affine_transform

from qpkit.core.annotation import Annotation, PathClass, argb
from qpkit.errors import ConfigError, FormatError, OutputError, ProjectError
from qpkit.files import new_folder
from qpkit.formats.format import Format
from qpkit.formats.shared.class_names import read_class
from qpkit.formats.shared.drawing import Choices, Drawing, ImageFacts
from qpkit.formats.shared.drawn_labels import CANNOT_HOLD, DrawnLabels, draw_labels
from qpkit.formats.shared.label_place import Place
from qpkit.formats.shared.ome_labels import CHUNK, VERSION, require_zarr, write_label_image
from qpkit.formats.shared.outlines import area_shape
from qpkit.ops.vectors.sweep import trace
from qpkit.ops.vectors.vectorize import outlines_of

GROUP: Final = "labels"
NAME: Final = "classes"
"""Of the label image in the group."""

MARKER: Final = "zarr.json"
UNNAMED: Final = "values without a class called by their number"
NO_UNIT: Final = "um per px are not known: a px of the slide is one unit"

_NO_CLASS: Final = ("background", "ignore")
_MOST: Final = 255


def write(path: Path, drawings: Sequence[Drawing], choices: Choices) -> Counter[str]:
    """Draw one image's objects into a folder with the group `labels`; returns what was lost.

    Raises:
        MissingExtraError: zarr is not installed.
        ConfigError, LabelError: As for `draw_labels`.
        OutputError: The disk is full, or there is another folder of this name.
    """
    zarr = require_zarr()
    (drawing,) = drawings
    drawn = draw_labels(drawing, choices, what="an OME-Zarr label image")
    mpp = drawing.image.mpp
    place = drawn.place
    unit = 1.0 if mpp is None else mpp
    try:
        with new_folder(path, marker=MARKER) as folder:
            root = zarr.create_group(folder, zarr_format=3)
            root.attrs["ome"] = {"version": VERSION}
            group = root.create_group(GROUP)
            group.attrs["ome"] = {"version": VERSION, "labels": [NAME]}
            write_label_image(
                group.create_group(NAME),
                _strips(drawn),
                shape=(int(drawn.mask.shape[0]), int(drawn.mask.shape[1])),
                fill=drawn.labels.background,
                labels=drawn.labels,
                name=drawing.image.name or NAME,
                step_um=None if mpp is None else place.downsample * mpp,
                corner_um=(place.x * unit, place.y * unit),
            )
    except OSError as err:
        raise OutputError(f"{path}: cannot be written ({err.strerror or err}); is the disk full?") from err
    return drawn.losses + Counter({NO_UNIT: 1} if mpp is None else {})


def _strips(drawn: DrawnLabels) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    for y in range(0, len(drawn.mask), CHUNK):
        yield y, drawn.mask[y : y + CHUNK]


def read(path: Path, image: ImageFacts, choices: Choices) -> list[Drawing]:
    """Trace every label image of a folder.

    Raises:
        MissingExtraError: zarr is not installed.
        ProjectError, FormatError: There is no such folder, or it has no label images that can be read.
        ConfigError: Its px are of another size than the slide's, whose um per px are not known.
    """
    if not path.is_dir():
        raise ProjectError(f"{path}: there is no such folder")
    zarr = require_zarr()
    notes: Counter[str] = Counter()
    objects: list[Annotation] = []
    try:
        root = zarr.open_group(path, mode="r")
        for group in _label_groups(root, path):
            name = _ome(group)["multiscales"][0].get("name")
            image = image if image.name or not isinstance(name, str) else replace(image, name=name)
            objects += _objects(path, group, image, choices, notes)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OSError) as err:
        if isinstance(err, FormatError | ConfigError):
            raise
        raise FormatError(f"{path}: damaged OME-Zarr labels ({err})") from err
    return [Drawing(objects=tuple(objects), image=image, notes=+notes)]


def _ome(group: Any) -> Mapping[str, Any]:
    """The metadata of OME, which 0.4 has without a key of its own."""
    attributes = dict(group.attrs)
    found: Mapping[str, Any] = attributes.get("ome", attributes)
    return found


def _label_groups(root: Any, path: Path) -> list[Any]:
    if "image-label" in _ome(root):
        return [root]
    there = root.get(GROUP, root)
    names = _ome(there).get("labels", [])
    if not names:
        raise FormatError(f"{path}: no label images of OME-Zarr in it")
    return [there[name] for name in names]


def _objects(path: Path, group: Any, image: ImageFacts, choices: Choices, notes: Counter[str]) -> Iterator[Annotation]:
    ome = _ome(group)
    multiscale = ome["multiscales"][0]
    dataset = multiscale["datasets"][0]
    array = group[dataset["path"]]
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.integer):
        raise FormatError(f"{path}: labels of {array.ndim} axes, {array.dtype}; whole numbers in y, x are read")
    place = _place(path, multiscale, dataset, image, choices)
    classes = _classes(ome.get("image-label", {}), choices)
    strips = ((y, array[y : y + CHUNK], None) for y in range(0, array.shape[0], CHUNK))
    found = outlines_of(trace(strips, skip={0} | {v for v, named in classes.items() if named is None})).by_value()
    if len(found) > _MOST:
        raise FormatError(f"{path}: {len(found):,} values number single objects, not classes; these are not read")
    for value, polygons in found.items():
        notes[UNNAMED] += value not in classes
        path_class = classes.get(value, PathClass((str(value),)))
        for polygon in polygons:
            moved = affine_transform(polygon, [place.downsample, 0, 0, place.downsample, place.x, place.y])
            yield Annotation(geometry=moved, shape=area_shape(moved), path_class=path_class)


def _classes(said: Mapping[str, Any], choices: Choices) -> dict[int, PathClass | None]:
    """Class by value; None is background."""
    if choices.labels is not None:
        stated = choices.labels
        named = {item.value: read_class(item.name, item.color) for item in stated.classes}
        return named | dict.fromkeys((stated.background, stated.ignore))
    rgba = {item["label-value"]: item.get("rgba", ()) for item in said.get("colors", [])}
    colors = {value: argb(*color[:3]) for value, color in rgba.items() if len(color) == 4 and color[3]}
    return {
        item["label-value"]: None if item["class"] in _NO_CLASS else read_class(item["class"], colors.get(value))
        for item in said.get("properties", [])
        if "class" in item
        for value in [item["label-value"]]
    }


def _place(
    path: Path, multiscale: Mapping[str, Any], dataset: Mapping[str, Any], image: ImageFacts, choices: Choices
) -> Place:
    """Where the labels lie on the slide: what was stated, else from um and those of the slide."""
    scale, corner = [1.0, 1.0], [0.0, 0.0]
    for change in dataset["coordinateTransformations"]:
        scale = change.get("scale", scale)
        corner = change.get("translation", corner)
    in_um = all(axis.get("unit") == "micrometer" for axis in multiscale["axes"])
    if choices.downsample is None and in_um and image.mpp is None:
        raise ConfigError(f"{path}: is in um; state those of a px of the slide with --mpp or --image, or --downsample")
    unit = (image.mpp or 1.0) if in_um else 1.0
    downsample = choices.downsample or scale[-1] / unit
    if not (math.isfinite(downsample) and downsample > 0):
        raise FormatError(f"{path}: its pixels have no size")
    near = round(downsample, 6)
    x, y = choices.offset or (round(corner[-1] / unit, 6), round(corner[-2] / unit, 6))
    return Place(x, y, near)


def recognises(path: Path) -> bool:
    """Say whether a folder has label images of OME-Zarr."""
    if not path.is_dir() or not any((path / name).is_file() for name in (MARKER, ".zattrs", ".zgroup")):
        return False
    root = require_zarr().open_group(path, mode="r")
    return "image-label" in _ome(root) or "labels" in _ome(root.get(GROUP, root))


FORMAT: Final = Format(
    name="ome-zarr",
    title="OME-Zarr labels",
    order=150,
    suffixes=(".ome.zarr", ".zarr"),
    folder=True,
    recognises_file=recognises,
    ending_is_enough=False,
    read=read,
    write=write,
    cannot_hold=CANNOT_HOLD,
    needs_labels=True,
    never_replaced="choose another name, or delete it: there may be a slide in it",
    rule="a folder with the group `labels` and in it the label image `classes`, in levels, with names and colours "
    "(`image-label`), drawn as a label image; its scale is um. Read are also 0.4 and a folder that is itself a label "
    "image (`qpkit predict --ome-zarr`); a class is the property `class`. Numbered objects are not read.",
    source="NGFF 0.5; zarr, `pip install 'qpkit[zarr]'`",
)
