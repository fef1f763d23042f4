"""Make a new .qpdata, in the one layout that QuPath 0.2.3 to 0.7.0 read."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from qpkit.core.annotation import Annotation
from qpkit.qupath.java.emitter import Emitter
from qpkit.qupath.qpdata.file import QpData
from qpkit.qupath.qpdata.hierarchy import ROOT
from qpkit.qupath.qpdata.image_data import FILE_END, HEADER, HIERARCHY, IMAGE_TYPE, STAINS, WORKFLOW
from qpkit.qupath.qpdata.java_classes import END, NULL, Vocabulary, block
from qpkit.qupath.qpdata.object_writer import ObjectWriter

_NAMESPACE: Final = uuid.UUID("c0a3d1b2-7d0e-5a43-9b1f-5f2e6c8d9a07")


def new_qpdata(
    *,
    image_type: str,
    server: Mapping[str, Any] | None = None,
    objects: Sequence[Annotation] = (),
    nested: bool = False,
    stains: str | None = None,
    properties: Mapping[str, str] | None = None,
    qupath_version: str = "0.5.1",
    source: str = "new data.qpdata",
) -> QpData:
    """Make a data file in the layout that v0.3 to v0.7 write (v0.2.3 reads it inside a project too).

    Args:
        image_type: QuPath's enum name, "BRIGHTFIELD_H_E".
        server: The image's server builder as in project.qpproj, or None.
        objects: Added flat under the root.
        nested: Keep their hierarchy instead (see `QpData.add`).
        stains: QuPath's stain string, or None.
        properties: Text properties of the image.
        qupath_version: Written into the server record.
        source: For messages.

    Raises:
        FormatError: Two objects have one id.
        GeometryError: A shape cannot be stored.
    """
    record = {"dataVersion": 3, "qupathVersion": qupath_version, **({"server": server} if server is not None else {})}
    # No random id: the same arguments give the same bytes.
    root_id = str(uuid.uuid5(_NAMESPACE, f"root {image_type} {properties} {server}"))
    header = (HEADER + "3").encode("ascii")
    emitter = Emitter()
    words = Vocabulary(emitter)
    words.block(struct.pack(">H", len(header)) + header)
    words.text(msgspec.json.encode(record).decode("utf-8"))
    # Without the Locale that QuPath writes first; every version reads a file without it.
    words.enum(IMAGE_TYPE, image_type)
    if stains is None:
        words.raw(NULL)
    else:
        words.begin(STAINS)
        words.block(struct.pack(">i", 1))
        words.text(stains)
        words.raw(END)
    words.begin(WORKFLOW)
    words.raw(block(struct.pack(">ii", 1, 0)) + END)
    words.begin(HIERARCHY)
    words.begin(ROOT)
    words.raw(NULL + NULL)  # no name, no colour
    ObjectWriter(words).metadata({}, root_id)
    words.raw(NULL + block(struct.pack(">i", 0)) + END + NULL)  # no measurements, no children; no TMA grid
    words.hash_map(properties or {})
    words.text(FILE_END)
    made = QpData(emitter.content(), source=source)
    made.add(objects, nested=nested)
    return made
