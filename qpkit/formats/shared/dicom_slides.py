"""The slide that DICOM annotations and segmentations refer to: that of a file, or, where it is no DICOM, a made-up one.

Every such object names the patient, study, image and frame of reference that it belongs to. A slide in another format
has none of these; then they are made of its name and size, so what is written of one slide fits together.
"""

from __future__ import annotations

import uuid
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from qpkit.errors import ConfigError, FormatError, ProjectError
from qpkit.extras import extra
from qpkit.formats.shared.drawing import ImageFacts
from qpkit.version import __version__

MADE_UP: Final = "slides that are no DICOM: patient, study and frame of reference made up"
"""What is lost, once a slide."""

MAKER: Final = {
    "manufacturer": "qpkit",
    "manufacturer_model_name": "qpkit",
    "software_versions": __version__[:64],
    "device_serial_number": "0",
    "series_number": 1,
    "instance_number": 1,
}
"""What every written object says of the program."""

_NAMESPACE: Final = uuid.UUID("0a2b8c63-6e0f-4a54-9c55-6f3f4b7d1e1a")
_SQUARE: Final = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomSlide:
    """A slide as DICOM knows it.

    Args:
        dataset: A pydicom Dataset of the whole-slide image, without pixels.
        is_made_up: Whether the slide is no DICOM.
        orientation: Direction of rows, then of columns, in the slide's coordinates.
        origin: Centre of the first pixel, mm.
        spacing: mm per level-0 px along x and along y; None where it is not known.
    """

    dataset: Any
    is_made_up: bool
    orientation: tuple[float, ...]
    origin: tuple[float, float]
    spacing: tuple[float, float] | None

    def position(self, x: float, y: float) -> tuple[float, float]:
        """Where a point of the slide lies, mm; the centre of the first pixel is at (0.5, 0.5) level-0 px."""
        assert self.spacing is not None
        along, down = (x - 0.5) * self.spacing[0], (y - 0.5) * self.spacing[1]
        first, second = (self.origin[i] + self.orientation[i] * along + self.orientation[3 + i] * down for i in (0, 1))
        return first, second

    def losses(self) -> Counter[str]:
        """What has to be told of it."""
        return Counter({MADE_UP: 1} if self.is_made_up else {})


def highdicom() -> Any:
    """Import highdicom.

    Raises:
        MissingExtraError: It is not installed.
    """
    with extra("dicom"):
        import highdicom as hd
    return hd


def is_dicom(path: Path) -> bool:
    """Say whether a file begins as DICOM files do, or a folder holds such files (PS3.10, 7.1: "DICM" at byte 128)."""
    if path.is_dir():
        return any(is_dicom(item) for item in sorted(path.glob("*.dcm"))[:1])
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def read_dataset(path: Path, *, pixels: bool = True) -> Any:
    """Read a DICOM file with pydicom.

    Raises:
        MissingExtraError, ProjectError: pydicom is not installed; there is no such file.
        FormatError: It is no DICOM, or damaged.
    """
    highdicom()
    import pydicom
    from pydicom.errors import InvalidDicomError

    if not path.is_file():
        raise ProjectError(f"{path}: there is no such file")
    try:
        return pydicom.dcmread(path, stop_before_pixels=not pixels)
    except (InvalidDicomError, OSError, EOFError, ValueError, KeyError, NotImplementedError) as err:
        raise FormatError(f"{path}: not a DICOM file that can be read ({err})") from err


def with_name(image: ImageFacts, dataset: Any) -> ImageFacts:
    """Take the image's name from a file that qpkit wrote, where nobody said another one."""
    name = dataset.get("ContentDescription")
    is_ours = dataset.get("Manufacturer") == MAKER["manufacturer"]
    return replace(image, name=str(name)) if image.name is None and is_ours and name else image


def slide_of(image: ImageFacts) -> DicomSlide:
    """The slide that an image is of.

    Raises:
        ConfigError: The image has another size than its DICOM file.
        FormatError: The DICOM file is damaged, or of no whole slide.
    """
    return _made_up(image) if image.dicom is None else _read(image.dicom, image)


def _read(path: Path, image: ImageFacts) -> DicomSlide:
    """Take the largest volume of the series."""
    files = sorted(path.glob("*.dcm")) if path.is_dir() else sorted(path.parent.glob("*.dcm")) or [path]
    series = None if path.is_dir() else read_dataset(path, pixels=False).get("SeriesInstanceUID")
    found = [read_dataset(file, pixels=False) for file in files if is_dicom(file)]
    slides = [
        item
        for item in found
        if list(item.get("ImageType", []))[2:3] == ["VOLUME"] and series in (None, item.get("SeriesInstanceUID"))
    ]
    if not slides:
        raise FormatError(f"{path}: no whole-slide image (ImageType VOLUME) among these DICOM files")
    largest = max(slides, key=lambda item: int(item.TotalPixelMatrixColumns))
    size = int(largest.TotalPixelMatrixColumns), int(largest.TotalPixelMatrixRows)
    if None not in (image.width, image.height) and size != (image.width, image.height):
        raise ConfigError(
            f"{path}: the DICOM slide is {size[0]} x {size[1]} px, the objects' image {image.width} x {image.height}"
        )
    measures = largest.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    down, along = (float(value) for value in measures.PixelSpacing)
    origin = largest.TotalPixelMatrixOriginSequence[0]
    return DicomSlide(
        dataset=largest,
        is_made_up=False,
        orientation=tuple(float(value) for value in largest.ImageOrientationSlide),
        origin=(float(origin.XOffsetInSlideCoordinateSystem), float(origin.YOffsetInSlideCoordinateSystem)),
        spacing=(along, down),
    )


def _made_up(image: ImageFacts) -> DicomSlide:
    """A whole-slide image that no file is of; its UIDs follow from the image's name and size."""
    hd = highdicom()
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, VLWholeSlideMicroscopyImageStorage

    def uid(what: str) -> str:
        name = f"{image.name}/{image.width}x{image.height}/{what}"
        return f"2.25.{uuid.uuid5(_NAMESPACE, name).int}"

    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 192"
    made.SOPClassUID, made.SOPInstanceUID = VLWholeSlideMicroscopyImageStorage, uid("image")
    made.StudyInstanceUID, made.SeriesInstanceUID = uid("study"), uid("series")
    made.FrameOfReferenceUID, made.PositionReferenceIndicator = uid("frame of reference"), "SLIDE_CORNER"
    for name in (
        "PatientName",
        "PatientBirthDate",
        "PatientSex",
        "AccessionNumber",
        "StudyID",
        "StudyDate",
        "StudyTime",
    ):
        setattr(made, name, "")
    made.PatientID = made.ContainerIdentifier = text_of(image.name or "slide")
    made.Modality, made.ImageType = "SM", ["DERIVED", "PRIMARY", "VOLUME", "NONE"]
    made.ImageOrientationSlide = list(_SQUARE)
    made.NumberOfFrames = made.Rows = made.Columns = 1
    made.TotalPixelMatrixColumns, made.TotalPixelMatrixRows = image.width or 1, image.height or 1
    made.TotalPixelMatrixFocalPlanes = 1
    made.DimensionOrganizationType = "TILED_FULL"
    made.TotalPixelMatrixOriginSequence = [Dataset()]
    made.TotalPixelMatrixOriginSequence[0].XOffsetInSlideCoordinateSystem = 0.0
    made.TotalPixelMatrixOriginSequence[0].YOffsetInSlideCoordinateSystem = 0.0
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    spacing = _spacing(image)
    if spacing is not None:
        made.SharedFunctionalGroupsSequence = [Dataset()]
        made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence = hd.PixelMeasuresSequence(
            pixel_spacing=spacing[::-1], slice_thickness=0.001
        )
    return DicomSlide(dataset=made, is_made_up=True, orientation=_SQUARE, origin=(0.0, 0.0), spacing=spacing)


def _spacing(image: ImageFacts) -> tuple[float, float] | None:
    if image.pixel_size is not None:
        return image.pixel_size.x / 1000, image.pixel_size.y / 1000
    return None if image.mpp is None else (image.mpp / 1000, image.mpp / 1000)


def text_of(text: str, length: int = 64) -> str:
    """What a text element (LO, SH) can hold: no backslash, no control character, no blank at its ends (PS3.5, 6.2)."""
    plain = "".join(" " if ord(c) < 32 or c == "\x7f" else c for c in text.replace("\\", "/"))
    return plain[:length].strip(" ")
