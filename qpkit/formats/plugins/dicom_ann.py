"""DICOM Microscopy Bulk Simple Annotations: groups of polygons, lines and points, one class a group.

Coordinates are px of the total pixel matrix in double precision, (0, 0) at the corner of the first pixel, so they are
those of QuPath. Ellipses and boxes are written as polygons: wsidicom 0.36 refuses files that hold others.

Source: DICOM PS3.3, C.37.1.2; written and read with highdicom.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import shapely
from numpy.typing import NDArray

from qpkit.core.annotation import Annotation, PathClass, RoiShape
from qpkit.core.geometry import ellipse
from qpkit.core.provenance import origin_of, run_of
from qpkit.errors import FormatError
from qpkit.files import replace_file
from qpkit.formats.format import Format, NothingHeldError
from qpkit.formats.shared.cannot_hold import ONLY_QUPATH, cannot_hold, count_losses
from qpkit.formats.shared.class_names import RESERVED, UNCLASSIFIED
from qpkit.formats.shared.dicom_codes import (
    algorithm,
    category_code,
    class_of,
    display_color,
    label_of,
    read_color,
    type_code,
)
from qpkit.formats.shared.dicom_slides import MAKER, highdicom, is_dicom, read_dataset, slide_of, text_of, with_name
from qpkit.formats.shared.drawing import Choices, Drawing, ImageFacts
from qpkit.formats.shared.outlines import area_shape, is_box, open_ring, pieces

CANNOT_HOLD: Final = cannot_hold(
    "odd class name",
    "own colour",
    "opacity",
    "name",
    "control characters",
    "id",
    *ONLY_QUPATH,
    "metadata",
    "no shape",
    "parts",
    "many points",
    "mixed shapes",
    "holes",
    "ellipse",
    "rectangle",
)

TOO_FEW: Final = "shapes of too few points, or of points that are not finite, left out"
TURNED: Final = "turned ellipses read as polygons"
OTHER_PLANES: Final = "groups of one z plane or optical path read as of the whole slide"

SOP_CLASS: Final = "1.2.840.10008.5.1.4.1.1.91.1"
"""Microscopy Bulk Simple Annotations Storage (PS3.4, B.5)."""

Points = NDArray[np.float64]
_Made = Literal["MANUAL", "AUTOMATIC", "SEMIAUTOMATIC"]
_MADE: Final[dict[str, _Made]] = {
    "drawn": "MANUAL",
    "untouched": "AUTOMATIC",
    "accepted": "AUTOMATIC",
    "edited": "SEMIAUTOMATIC",
}
_LEAST: Final = {"POLYGON": 3, "POLYLINE": 2}

_Group = tuple[PathClass | None, str, _Made, str]
"""Class, graphic type, how it was made, and by which run."""


def write(path: Path, drawings: Sequence[Drawing], _: Choices) -> Counter[str]:
    """Write one image's objects; returns what was lost.

    Raises:
        MissingExtraError: highdicom is not installed.
        ConfigError, FormatError: As for `slide_of`.
        NothingHeldError: None of the objects can be held.
        OutputError: The disk is full.
    """
    hd = highdicom()
    (drawing,) = drawings
    slide = slide_of(drawing.image)
    losses = count_losses(drawing.objects, CANNOT_HOLD) + slide.losses()
    losses[RESERVED] += sum(item.class_name == UNCLASSIFIED for item in drawing.objects)
    groups = _grouped(drawing.objects, losses)
    if not groups:
        message = f"{path}: none of the objects can be held by DICOM annotations, which are never empty"
        raise NothingHeldError(message, +losses)
    made = hd.ann.MicroscopyBulkSimpleAnnotations(
        source_images=[slide.dataset],
        annotation_coordinate_type="2D",
        annotation_groups=[_group(n, *what) for n, what in enumerate(groups.items(), start=1)],
        series_instance_uid=hd.UID(),
        sop_instance_uid=hd.UID(),
        content_label="QUPATH",
        content_description=text_of(drawing.image.name or "") or None,
        specific_character_set="ISO_IR 192",
        **MAKER,
    )
    content = io.BytesIO()
    made.save_as(content)
    replace_file(path, content.getvalue())
    return +losses


def _grouped(objects: Sequence[Annotation], losses: Counter[str]) -> dict[_Group, list[Points]]:
    groups: dict[_Group, list[Points]] = {}
    for item in objects:
        made, run = _MADE[origin_of(item)], run_of(item) or ""
        for geometry, shape in pieces(item, split_points=True):
            graphic, points = _graphic(geometry, shape)
            if len(points) < _LEAST.get(graphic, 1) or not np.isfinite(points).all():
                losses[TOO_FEW] += 1
                continue
            groups.setdefault((item.path_class, graphic, made, run), []).append(points)
    return groups


def _graphic(geometry: shapely.Geometry, shape: RoiShape) -> tuple[str, Points]:
    """The type of graphic and its points, (n, 2) in slide px, a ring not closed."""
    if isinstance(geometry, shapely.Polygon):
        ring = open_ring(geometry)
        while len(ring) > 1 and np.array_equal(ring[0], ring[-1]):
            ring = ring[:-1]
        return "POLYGON", ring
    points = np.asarray(shapely.get_coordinates(geometry))
    return "POINT" if shape == "points" else "POLYLINE", points


def _group(number: int, what: _Group, graphics: list[Points]) -> Any:
    path_class, graphic, made, run = what
    hd = highdicom()
    return hd.ann.AnnotationGroup(
        number=number,
        uid=hd.UID(),
        label=label_of(path_class),
        description=None if path_class is None else str(path_class),
        annotated_property_category=category_code(),
        annotated_property_type=type_code(path_class),
        graphic_type=graphic,
        graphic_data=[np.asarray(points, dtype=np.float64) for points in graphics],
        algorithm_type=made,
        algorithm_identification=None if made == "MANUAL" else algorithm(run),
        display_color=display_color(path_class),
    )


def read(path: Path, image: ImageFacts, _: Choices) -> list[Drawing]:
    """Read a file of annotations in px of the whole image.

    Raises:
        MissingExtraError: highdicom is not installed.
        ProjectError, FormatError: The file cannot be read, or has coordinates in mm or of single frames.
    """
    dataset = read_dataset(path)
    if dataset.get("SOPClassUID") != SOP_CLASS:
        raise FormatError(f"{path}: a DICOM file of {dataset.get('Modality', 'no modality')}, no bulk annotations")
    if dataset.get("AnnotationCoordinateType") != "2D" or dataset.get("PixelOriginInterpretation") == "FRAME":
        raise FormatError(f"{path}: its coordinates are no px of the whole image (2D, VOLUME); others are not read")
    notes: Counter[str] = Counter()
    try:
        found = highdicom().ann.MicroscopyBulkSimpleAnnotations.from_dataset(dataset, copy=False)
        objects = [item for group in found.get_annotation_groups() for item in _objects(group, notes)]
    except (ValueError, AttributeError, KeyError, IndexError, TypeError) as err:
        raise FormatError(f"{path}: damaged DICOM annotations ({err})") from err
    return [Drawing(objects=tuple(objects), image=with_name(image, dataset), notes=+notes)]


def _objects(group: Any, notes: Counter[str]) -> Iterator[Annotation]:
    path_class = class_of(group.label, group.get("AnnotationGroupDescription"), read_color(group))
    names, values, _ = group.get_measurements()
    graphic = group.graphic_type.value
    planes = group.get("AnnotationAppliesToAllZPlanes", "YES"), group.get("AnnotationAppliesToAllOpticalPaths", "YES")
    notes[OTHER_PLANES] += "NO" in planes
    for points, measured in zip(group.get_graphic_data("2D"), values, strict=True):
        geometry, shape = _shape(graphic, np.asarray(points, dtype=np.float64))
        notes[TURNED] += graphic == "ELLIPSE" and shape != "ellipse"
        pairs = zip((name.meaning for name in names), measured.tolist(), strict=True)
        yield Annotation(
            geometry=geometry,
            shape=shape,
            path_class=path_class,
            measurements={name: value for name, value in pairs if not np.isnan(value)},
        )


def _shape(graphic: str, points: Points) -> tuple[shapely.Geometry, RoiShape]:
    if graphic == "POINT":
        return shapely.Point(points[0]), "points"
    if graphic == "POLYLINE":
        return shapely.LineString(points), "line" if len(points) == 2 else "polyline"
    if graphic == "ELLIPSE":
        return _read_ellipse(points)
    made = shapely.Polygon(points)
    return made, "rectangle" if graphic == "RECTANGLE" and is_box(made) else "polygon"


def _read_ellipse(ends: Points) -> tuple[shapely.Polygon, RoiShape]:
    """An ellipse from the ends of its two axes."""
    (first, second), (third, fourth) = ends[:2], ends[2:]
    if (first == second).any() and (third == fourth).any():
        return ellipse(*ends.min(axis=0), *ends.max(axis=0)), "ellipse"
    circle = shapely.get_coordinates(ellipse(-1, -1, 1, 1))
    axes = np.array([second - first, fourth - third]) / 2
    made = shapely.Polygon(circle @ axes + ends.mean(axis=0))
    return made, area_shape(made)


def _recognises(path: Path) -> bool:
    return is_dicom(path) and read_dataset(path, pixels=False).get("SOPClassUID") == SOP_CLASS


FORMAT: Final = Format(
    name="dicom-ann",
    title="DICOM annotations (ANN)",
    order=130,
    suffixes=(".dcm",),
    recognises_file=_recognises,
    ending_is_enough=False,
    read=read,
    write=write,
    cannot_hold=CANNOT_HOLD,
    rule="Microscopy Bulk Simple Annotations: px of the whole image in double precision. A group holds one class and "
    "one kind of shape; its label is the class (64 characters; the description has all of it), its code that of SNOMED "
    "CT where DICOM's dictionary has the class, its colour the class's. What a model made is AUTOMATIC, or "
    "SEMIAUTOMATIC once edited. Ellipses, boxes and measurements of others are read. Coordinates in mm (3D) are "
    "refused.",
    source="DICOM PS3.3 C.37; highdicom, `pip install 'qpkit[dicom]'`",
)
