"""Label images (PNG, TIFF): one number, palette entry or colour for each pixel, as TIGER, BCSS and others publish them.

Reading traces the areas along pixel edges, exactly; writing draws them (a pixel belongs to a shape if its centre lies
inside, later classes cover earlier ones) and puts the labels beside the image.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import shapely
import tifffile
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from shapely.affinity import affine_transform

from qpkit.core.annotation import Annotation, argb
from qpkit.core.labels import LabelClass, LabelMap, label_colors
from qpkit.errors import ConfigError, FormatError, ProjectError, listed
from qpkit.files import replace_file
from qpkit.formats.format import Format
from qpkit.formats.shared.class_names import read_class, rgb_of
from qpkit.formats.shared.drawing import Choices, Drawing, ImageFacts
from qpkit.formats.shared.drawn_labels import CANNOT_HOLD, draw_labels
from qpkit.formats.shared.label_pixels import TIFF_SUFFIXES, read_label_pixels
from qpkit.formats.shared.label_place import PLACE_KEY, Place, place_of, place_text
from qpkit.formats.shared.label_table import label_table_text, read_label_table, sidecar
from qpkit.formats.shared.outlines import area_shape
from qpkit.ops.vectors.vectorize import vectorize

NUMBERED: Final = "palette entries without a name called by their number"

_NO_VALUE: Final = 0


def read(path: Path, image: ImageFacts, choices: Choices) -> list[Drawing]:
    """Trace a label image.

    The labels are those given, those beside the image, or the entries of its own palette. Values that they do not name
    are left out and listed.

    Raises:
        FormatError: Not an image of labels.
        ConfigError: There are no labels, or the place is not known.
        ProjectError: There is no such file.
    """
    if not path.is_file():
        raise ProjectError(f"{path}: there is no such file")
    found = read_label_pixels(path)
    pixels, palette, written = found.pixels, found.palette, found.written
    notes: Counter[str] = Counter()
    if choices.instances is not None:
        return [_read_instances(path, pixels, written, image, choices, choices.instances, notes)]
    labels = choices.labels or (read_label_table(sidecar(path)) if sidecar(path).is_file() else None)
    if labels is None:
        labels = _palette_labels(pixels, palette, path)
        notes[NUMBERED] += len(labels.classes)
    values = _values_of_colors(pixels, labels, notes) if pixels.ndim == 3 else _known(pixels, labels, path, notes)
    _count_ignored(values, labels, notes)
    # What stands beside the image says itself what is ignored, and an image of nothing else is one that qpkit wrote.
    if choices.labels is not None and any(notes.values()) and not _shows_class(values, labels):
        left_out = listed(f"{what}: {count:,}" for what, count in notes.items() if count)
        raise FormatError(f"{path}: no pixel has a class: {left_out}; is it the right label map?")
    height, width = values.shape
    place = place_of(path, width=width, height=height, image=image, choices=choices, written=written, notes=notes)
    skip = {labels.background, labels.ignore}
    areas = vectorize(values, skip=skip)
    objects = [_object(polygon, labels, value, place) for value, found in areas.items() for polygon in found]
    return [Drawing(objects=tuple(objects), image=image, notes=+notes)]


def _read_instances(
    path: Path,
    pixels: NDArray[Any],
    written: str,
    image: ImageFacts,
    choices: Choices,
    classes: Mapping[int, str],
    notes: Counter[str],
) -> Drawing:
    """One detection for each number but 0, in one piece or several.

    Raises:
        FormatError: Colours, or numbers below 0.
    """
    if pixels.ndim == 3 or pixels.min(initial=0) < 0 or pixels.max(initial=0) >= 1 << 31:
        raise FormatError(f"{path}: numbers of objects are whole, 0 to 2^31 - 1, one a pixel")
    height, width = pixels.shape
    place = place_of(path, width=width, height=height, image=image, choices=choices, written=written, notes=notes)
    objects = []
    for number, parts in vectorize(pixels, skip={0}).items():
        area = affine_transform(
            parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts),
            [place.downsample, 0, 0, place.downsample, place.x, place.y],
        )
        name = classes.get(number, classes.get(-1))
        notes["objects whose number the table does not have, without a class"] += name is None
        notes["objects in several pieces"] += len(parts) > 1
        objects.append(
            Annotation(
                geometry=area,
                shape=area_shape(area),
                path_class=None if name is None else read_class(name, None),
                kind="detection",
            )
        )
    return Drawing(objects=tuple(objects), image=image, notes=+notes)


def _count_ignored(values: NDArray[np.uint8], labels: LabelMap, notes: Counter[str]) -> None:
    ignored = int(np.count_nonzero(values == labels.ignore))
    if ignored:
        notes[f"pixels of value {labels.ignore}, which the labels call ignore, left out"] += ignored


def _shows_class(values: NDArray[np.uint8], labels: LabelMap) -> bool:
    return bool(np.isin(values, [item.value for item in labels.classes]).any())


def _object(polygon: shapely.Polygon, labels: LabelMap, value: int, place: Place) -> Annotation:
    moved = affine_transform(polygon, [place.downsample, 0, 0, place.downsample, place.x, place.y])
    color = next((item.color for item in labels.classes if item.value == value), None)
    return Annotation(geometry=moved, shape=area_shape(moved), path_class=read_class(labels.name_of(value), color))


def _palette_labels(pixels: NDArray[Any], palette: list[int] | None, path: Path) -> LabelMap:
    if palette is None:
        raise ConfigError(
            f"{path}: say what its values mean with --labels FILE (a labels.toml, or a CSV or TSV table of classes); "
            "if each number is an object: --instances CLASS"
        )
    rgb = [tuple(palette[i : i + 3]) for i in range(0, len(palette), 3)]
    found = [int(value) for value in np.unique(pixels) if value != _NO_VALUE]
    classes = [LabelClass(str(v), v, (str(v),), argb(*rgb[v]) if v < len(rgb) else None) for v in found]
    # A value for ignore that no pixel has.
    free = next((value for value in range(255, 0, -1) if value not in found), 255)
    return LabelMap(classes=tuple(classes), ignore=free)


def _known(pixels: NDArray[Any], labels: LabelMap, path: Path, notes: Counter[str]) -> NDArray[np.uint8]:
    """Values that the labels name; the others become background and are listed with their pixels."""
    if pixels.min(initial=0) < 0 or pixels.max(initial=0) > 255:
        raise FormatError(
            f"{path}: values up to {pixels.max()} number single objects, not classes (a label image has 0..255); read "
            "them with --instances CLASS, or a table of numbers and classes"
        )
    values = pixels.astype(np.uint8)
    counts = np.bincount(values.ravel(), minlength=256)
    strange = [int(v) for v in np.flatnonzero(counts) if int(v) not in labels.values]
    for value in strange:
        notes[f"pixels of value {value}, which the labels do not name, left out"] += int(counts[value])
    values[np.isin(values, strange)] = labels.background
    return values


def _values_of_colors(pixels: NDArray[Any], labels: LabelMap, notes: Counter[str]) -> NDArray[np.uint8]:
    """Label values of a colour image; black is background, other colours that the labels do not have are listed."""
    codes = (pixels[..., 0].astype(np.int64) << 16) | (pixels[..., 1].astype(np.int64) << 8) | pixels[..., 2]
    own = {item.value: rgb_of(item.color) for item in labels.classes if item.color is not None}
    meaning = {0: labels.background} | {(r << 16) | (g << 8) | b: value for value, (r, g, b) in own.items()}
    values = np.full(codes.shape, labels.background, dtype=np.uint8)
    found, counts = np.unique(codes, return_counts=True)
    for code, count in zip(found.tolist(), counts.tolist(), strict=True):
        if code in meaning:
            values[codes == code] = meaning[code]
        else:
            notes[f"pixels of colour #{code:06x}, which the labels do not name, left out"] += count
    return values


def write(path: Path, drawings: Sequence[Drawing], choices: Choices) -> Counter[str]:
    """Draw one image's objects as PNG (with a palette) or TIFF, and the labels beside it; returns what was lost.

    Raises:
        ConfigError: The image's size or the labels are not known.
        LabelError: An object's class is not in labels with unlisted = "error".
    """
    (drawing,) = drawings
    drawn = draw_labels(drawing, choices, what="a label image")
    _save(path, drawn.mask, drawn.labels, drawn.place)
    replace_file(sidecar(path), label_table_text(drawn.labels).encode())
    return drawn.losses


def _save(path: Path, mask: NDArray[np.uint8], labels: LabelMap, place: Place) -> None:
    made = io.BytesIO()
    colors = {labels.background: (0, 0, 0), labels.ignore: (128, 128, 128)} | label_colors(labels)
    table = [channel for value in range(256) for channel in colors.get(value, (0, 0, 0))]
    if path.suffix.lower() in TIFF_SUFFIXES:
        map16 = (np.array(table, dtype=np.uint16).reshape(256, 3).T * 257).copy()
        tifffile.imwrite(
            made,
            mask,
            photometric="palette",
            colormap=map16,
            compression="deflate",
            tile=(256, 256),
            metadata=None,
            description=f"{PLACE_KEY}: {place_text(place)}",
        )
    else:
        image = Image.fromarray(mask)
        image.putpalette(table)
        info = PngInfo()
        info.add_text(PLACE_KEY, place_text(place))
        image.save(made, format="PNG", pnginfo=info)
    replace_file(path, made.getvalue())


FORMAT: Final = Format(
    name="labels",
    title="label image",
    order=120,
    suffixes=(".png", *TIFF_SUFFIXES),
    read=read,
    write=write,
    cannot_hold=CANNOT_HOLD,
    needs_labels=True,
    beside=sidecar,
    rule="read exactly, along pixel edges; drawn by the pixel-centre rule, later classes of the label map cover "
    "earlier ones. Values or colours that the labels do not name are listed with their pixels.",
    source="below",
)
