"""QuPath's .qpdata as a `Format`, like everybody else's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from qpkit.files import replace_file
from qpkit.formats.format import Format
from qpkit.formats.shared.cannot_hold import cannot_hold, count_losses
from qpkit.formats.shared.drawing import Choices, Drawing, ImageFacts
from qpkit.formats.shared.xml_files import read_bytes
from qpkit.qupath import QpData, new_qpdata
from qpkit.workflows.convert.qupath_shapes import count_float_losses, split

CANNOT_HOLD: Final = cannot_hold("mixed shapes")


def read(path: Path, image: ImageFacts, _: Choices) -> list[Drawing]:
    """Read a .qpdata file.

    Raises:
        FormatError, ProjectError: As for `QpData.parse`, or there is no such file.
    """
    data = QpData.parse(read_bytes(path), source=str(path))
    metadata = (data.server or {}).get("metadata") or {}
    known = ImageFacts.stated(*(metadata.get(key) for key in ("name", "width", "height")))
    return [Drawing(objects=tuple(data.objects()), image=image.filled(known))]


def write(path: Path, drawings: Sequence[Drawing], _: Choices) -> Counter[str]:
    """Write one image's objects into a new .qpdata; returns what was lost, with the outlines that were rounded."""
    (drawing,) = drawings
    data = new_qpdata(image_type="UNSET", objects=split(drawing.objects), nested=True, source=str(path))
    replace_file(path, data.to_bytes())
    return count_losses(drawing.objects, CANNOT_HOLD) + count_float_losses(drawing.objects)


FORMAT: Final = Format(
    name="qpdata",
    title="QuPath data",
    order=10,
    suffixes=(".qpdata",),
    read=read,
    write=write,
    cannot_hold=CANNOT_HOLD,
    never_replaced="convert into its project",
)
