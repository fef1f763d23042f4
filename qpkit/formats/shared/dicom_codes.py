"""What a class is called in DICOM: a label, a code and a colour; and what is read from them.

Where the name of a class is that of a concept in DICOM's own dictionary, its SNOMED CT code is written; any other gets
a private one (scheme 99QPKIT). The full name is kept beside the label, which has 64 characters.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final

import numpy as np

from qpkit.core.annotation import PathClass, argb
from qpkit.formats.shared.class_names import read_class, written_class
from qpkit.formats.shared.dicom_slides import highdicom, text_of
from qpkit.version import __version__

SCHEME: Final = "99QPKIT"

_CONCEPTS: Final = {
    "tumor": "Neoplasm",
    "tumour": "Neoplasm",
    "neoplasm": "Neoplasm",
    "stroma": "ConnectiveTissue",
    "connective tissue": "ConnectiveTissue",
    "necrosis": "Necrosis",
    "inflammation": "Inflammation",
    "blood": "Blood",
    "tissue": "Tissue",
    "nucleus": "Nucleus",
    "cell": "Cell",
}
"""Class -> the concept's name in pydicom's `codes.SCT`, which has those of the standard (PS3.16)."""


def type_code(path_class: PathClass | None) -> Any:
    """The code of what a class is of."""
    from pydicom.sr.codedict import codes

    name = written_class(path_class)
    concept = _CONCEPTS.get(name.lower())
    if concept is not None:
        return getattr(codes.SCT, concept)
    value = name if re.fullmatch(r"[A-Za-z0-9_-]{1,16}", name) else hashlib.sha1(name.encode()).hexdigest()[:16]
    return highdicom().sr.CodedConcept(value=value, scheme_designator=SCHEME, meaning=label_of(path_class))


def category_code() -> Any:
    """The code of what all classes are: something in the tissue."""
    from pydicom.sr.codedict import codes

    return codes.SCT.Tissue


def label_of(path_class: PathClass | None) -> str:
    """The name of a class, as far as a label holds it."""
    return text_of(written_class(path_class)) or "class"


def class_of(label: str, full: str | None, color: int | None) -> PathClass | None:
    """Make a class of a label, or of the full name where that is what the label was made of."""
    name = full if full and text_of(full) == label else label
    return read_class(name, color)


def display_color(path_class: PathClass | None) -> Any:
    """The colour of a class in CIELab; None where it has none."""
    if path_class is None or path_class.rgb is None:
        return None
    return highdicom().color.CIELabColor.from_rgb(*path_class.rgb)


def read_color(item: Any) -> int | None:
    """The colour that a group or segment recommends; None where it recommends none."""
    value = item.get("RecommendedDisplayCIELabValue")
    if value is None or len(value) != 3:
        return None
    rgb = np.clip(np.round(highdicom().color.CIELabColor.from_dicom_value(tuple(value)).to_rgb()), 0, 255)
    return argb(*(int(channel) for channel in rgb))


def algorithm(run: str) -> Any:
    """What says that a model made something."""
    from pydicom.sr.codedict import codes

    return highdicom().AlgorithmIdentificationSequence(
        name=text_of(run) or "model", family=codes.DCM.ArtificialIntelligence, version=text_of(f"qpkit {__version__}")
    )
