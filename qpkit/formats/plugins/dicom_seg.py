"""DICOM Segmentation: a tiled mask of one bit a pixel for each class, with its code and colour, in the slide's frame.

Writing draws the objects as for a label image; reading traces the areas along pixel edges, exactly.

Source: DICOM PS3.3, A.51 and C.8.20; written and read with highdicom.
"""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from shapely.affinity import affine_transform

from qpkit.core.annotation import Annotation, PathClass
from qpkit.core.labels import LabelClass
from qpkit.core.provenance import origin_of, run_of
from qpkit.errors import ConfigError, FormatError
from qpkit.files import replace_file
from qpkit.formats.format import Format, NothingHeldError
from qpkit.formats.shared.dicom_codes import (
    algorithm,
    category_code,
    class_of,
    display_color,
    label_of,
    read_color,
    type_code,
)
from qpkit.formats.shared.dicom_slides import (
    MAKER,
    DicomSlide,
    highdicom,
    is_dicom,
    read_dataset,
    slide_of,
    text_of,
    with_name,
)
from qpkit.formats.shared.drawing import Choices, Drawing, ImageFacts
from qpkit.formats.shared.drawn_labels import CANNOT_HOLD, DrawnLabels, draw_labels
from qpkit.formats.shared.label_place import PLACE_KEY, place_of, place_text
from qpkit.formats.shared.outlines import area_shape
from qpkit.ops.vectors.vectorize import vectorize

SOP_CLASS: Final = "1.2.840.10008.5.1.4.1.1.66.4"
"""Segmentation Storage (PS3.4, B.5)."""

TILE_PX: Final = 512


def write(path: Path, drawings: Sequence[Drawing], choices: Choices) -> Counter[str]:
    """Draw one image's objects as a segmentation, tiles of nothing but background left out; returns what was lost.

    Raises:
        MissingExtraError: highdicom is not installed.
        ConfigError, LabelError: As for `draw_labels`; or um per px are not known.
        NothingHeldError: Nothing is drawn.
        OutputError: The disk is full.
    """
    hd = highdicom()
    (drawing,) = drawings
    slide = slide_of(drawing.image)
    if slide.spacing is None:
        raise ConfigError("a DICOM segmentation needs um per px; state them with --mpp or --image SLIDE")
    drawn = draw_labels(drawing, choices, what="a DICOM segmentation")
    there = set(np.unique(drawn.mask).tolist())
    kept = [item for item in drawn.labels.classes if item.value in there and _is_area(item, drawn)]
    if not kept:
        message = f"{path}: no area of a class is drawn, and a DICOM segmentation is never empty"
        raise NothingHeldError(message, drawn.losses)
    numbers = np.zeros(256, dtype=np.uint8)
    numbers[[item.value for item in kept]] = range(1, len(kept) + 1)
    made = hd.seg.Segmentation(
        source_images=[slide.dataset],
        pixel_array=numbers[drawn.mask][np.newaxis],
        segmentation_type="BINARY",
        segment_descriptions=[_segment(n, item, drawing.objects) for n, item in enumerate(kept, start=1)],
        series_instance_uid=hd.UID(),
        sop_instance_uid=hd.UID(),
        content_label="QUPATH",
        content_description=text_of(drawing.image.name or "") or None,
        tile_pixel_array=True,
        tile_size=(TILE_PX, TILE_PX),
        dimension_organization_type="TILED_SPARSE",
        **_geometry(slide, drawn),
        **MAKER,
    )
    made.SpecificCharacterSet = "ISO_IR 192"
    made.ImageComments = f"{PLACE_KEY}: {place_text(drawn.place)}"
    content = io.BytesIO()
    made.save_as(content)
    replace_file(path, content.getvalue())
    return drawn.losses + slide.losses()


def _is_area(item: LabelClass, drawn: DrawnLabels) -> bool:
    return item.value not in (drawn.labels.background, drawn.labels.ignore)


def _geometry(slide: DicomSlide, drawn: DrawnLabels) -> dict[str, Any]:
    """Where the pixels lie: their size, direction, and the centre of the first one (PS3.3, C.8.12.4)."""
    hd = highdicom()
    assert slide.spacing is not None
    place = drawn.place
    half = place.downsample / 2
    along, down = (side * place.downsample for side in slide.spacing)
    x, y = slide.position(place.x + half, place.y + half)
    return {
        "pixel_measures": hd.PixelMeasuresSequence(pixel_spacing=(_short(down), _short(along)), slice_thickness=0.001),
        "plane_orientation": hd.PlaneOrientationSequence("SLIDE", slide.orientation),
        "plane_positions": [hd.PlanePositionSequence("SLIDE", (_short(x), _short(y), 0.0), (1, 1))],
    }


def _short(value: float) -> float:
    """As many digits as a decimal string of DICOM has room for (16 characters)."""
    return float(f"{value:.10g}")


def _segment(number: int, item: LabelClass, objects: Sequence[Annotation]) -> Any:
    path_class = PathClass.parse(item.name, item.color)
    own = [o for o in objects if o.class_name in item.sources]
    predicted = [o for o in own if origin_of(o) in ("untouched", "accepted")]
    made = "MANUAL" if not predicted else "AUTOMATIC" if len(predicted) == len(own) else "SEMIAUTOMATIC"
    hd = highdicom()
    segment = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=label_of(path_class),
        segmented_property_category=category_code(),
        segmented_property_type=type_code(path_class),
        algorithm_type=made,
        algorithm_identification=None if made == "MANUAL" else algorithm(run_of(predicted[0]) or ""),
        display_color=display_color(path_class),
    )
    segment.SegmentDescription = str(path_class)
    return segment


def read(path: Path, image: ImageFacts, choices: Choices) -> list[Drawing]:
    """Trace a tiled segmentation of one bit a pixel, or of one label a pixel.

    Raises:
        MissingExtraError: highdicom is not installed.
        ProjectError, FormatError: The file cannot be read, or is no tiled segmentation.
        ConfigError: The file has px of another size than the slide, whose um per px are not known.
    """
    dataset = read_dataset(path)
    if dataset.get("Modality") != "SEG" or "TotalPixelMatrixColumns" not in dataset:
        raise FormatError(f"{path}: a DICOM file of {dataset.get('Modality', 'no modality')}, no tiled segmentation")
    if dataset.get("SegmentationType") == "FRACTIONAL":
        raise FormatError(f"{path}: a segmentation of fractions; only classes (BINARY, LABELMAP) are read")
    notes: Counter[str] = Counter()
    width, height = int(dataset.TotalPixelMatrixColumns), int(dataset.TotalPixelMatrixRows)
    written = str(dataset.get("ImageComments", ""))
    stated = choices if written.startswith(PLACE_KEY) else _sized(path, dataset, image, choices)
    place = place_of(path, width=width, height=height, image=image, choices=stated, written=written, notes=notes)
    objects = []
    try:
        seg = highdicom().seg.Segmentation.from_dataset(dataset, copy=False)
        for number in seg.segment_numbers:
            described = seg.get_segment_description(number)
            full = described.get("SegmentDescription")
            path_class = class_of(described.segment_label, full, read_color(described))
            mask = seg.get_total_pixel_matrix(segment_numbers=[number])[..., 0].astype(np.uint8)
            for polygon in vectorize(mask, skip={0}).get(1, []):
                moved = affine_transform(polygon, [place.downsample, 0, 0, place.downsample, place.x, place.y])
                objects.append(Annotation(geometry=moved, shape=area_shape(moved), path_class=path_class))
    except (ValueError, AttributeError, KeyError, IndexError, TypeError, RuntimeError) as err:
        raise FormatError(f"{path}: damaged DICOM segmentation ({err})") from err
    return [Drawing(objects=tuple(objects), image=with_name(image, dataset), notes=+notes)]


def _sized(path: Path, dataset: Any, image: ImageFacts, choices: Choices) -> Choices:
    """Work out the downsample from the size of pixels, where the user did not state it and the slide's is known."""
    if choices.downsample is not None or image.mpp is None:
        return choices
    try:
        measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        ratio = float(measures.PixelSpacing[1]) * 1000 / image.mpp
    except (AttributeError, IndexError, KeyError) as err:
        raise ConfigError(f"{path}: says no size of its pixels; state --downsample") from err
    if not (math.isfinite(ratio) and ratio > 0):
        raise FormatError(f"{path}: its pixels have no size")
    whole = round(ratio)
    near = whole and abs(ratio / whole - 1) < 0.01
    return replace(choices, downsample=float(whole) if near else ratio)


def _recognises(path: Path) -> bool:
    return is_dicom(path) and read_dataset(path, pixels=False).get("Modality") == "SEG"


FORMAT: Final = Format(
    name="dicom-seg",
    title="DICOM segmentation (SEG)",
    order=140,
    suffixes=(".dcm",),
    recognises_file=_recognises,
    ending_is_enough=False,
    read=read,
    write=write,
    cannot_hold=CANNOT_HOLD,
    needs_labels=True,
    rule="a segment of one bit a pixel for each class (BINARY, TILED_SPARSE, tiles of 512 px), drawn as a label image; "
    "codes and colours as in DICOM annotations. Pixel spacing, orientation and origin are the slide's, at "
    "`--downsample`. Needs um/px. LABELMAP is read too, FRACTIONAL refused.",
    source="DICOM PS3.3 A.51; highdicom, `pip install 'qpkit[dicom]'`",
)
