"""XML of other programs: read without trusting it, written so that every reader takes it."""

from __future__ import annotations

import contextlib
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray

from qpkit.errors import FormatError, ProjectError
from qpkit.files import replace_file

_BAD: Final = re.compile("[\x00-\x08\x0b-\x1f\ufffe\uffff\ud800-\udfff]")
"""What XML cannot hold, and the carriage return, which it turns into a line feed."""


class _Begun(Exception):  # a signal, not an error
    """The first element was reached."""


def read_bytes(path: Path) -> bytes:
    """Read a whole file.

    Raises:
        ProjectError: There is no such file, or it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as err:
        raise ProjectError(f"{path}: cannot be read ({err.strerror or err})") from err


def read_xml(path: Path, tag: str | None = None) -> ET.Element:
    """Read an XML file, whose root has to have the tag if one is stated.

    A document type declaration is refused: no annotation file needs one, and entities declared in it can grow without
    end or name other files.

    Raises:
        FormatError: Not well-formed (with line and column), with a document type declaration, or of another root.
        ProjectError: There is no such file.
    """
    content = read_bytes(path)
    try:
        _refuse_doctype(content, path)
        root = ET.fromstring(content)
    except (ET.ParseError, expat.ExpatError, ValueError, LookupError) as err:
        # Of `_refuse_doctype`: a ValueError, too.
        if isinstance(err, FormatError):
            raise
        raise FormatError(f"{path}: not well-formed XML ({err})") from err
    if tag not in (None, root.tag):
        raise FormatError(f"{path}: the root is <{root.tag}>, not <{tag}>")
    return root


def _refuse_doctype(content: bytes, path: Path) -> None:
    """Look at what stands before the first element; a document type declaration can stand nowhere else."""

    def refuse(*_: object) -> None:
        raise FormatError(f"{path}: holds a document type declaration (DOCTYPE), which is not read; take it out")

    def stop(*_: object) -> None:
        raise _Begun

    scanner = expat.ParserCreate()
    scanner.StartDoctypeDeclHandler = refuse
    scanner.StartElementHandler = stop
    with contextlib.suppress(_Begun):
        scanner.Parse(content, True)


def write_xml(path: Path, root: ET.Element) -> None:
    """Write an XML file, UTF-8, one element a line; all or nothing.

    Raises:
        OutputError: It cannot be written.
    """
    ET.indent(root)
    replace_file(path, ET.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n")


def printable(text: str) -> str:
    """Take out the characters that XML 1.0 cannot hold."""
    return _BAD.sub("", text)


def xml_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Pick the metadata that attributes of XML can hold: printable, with a key and a text that is not blank."""
    return {
        key: text
        for key, text in metadata.items()
        if key and text.strip() and printable(key) == key and printable(text) == text
    }


def number(text: str | None, where: str) -> float:
    """Read a finite number; a comma may stand for the decimal point, as Windows writes it in some countries.

    Raises:
        FormatError: Missing, no number, or not finite.
    """
    try:
        value = float((text or "").strip().replace(",", "."))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise FormatError(f"{where}: {text!r} is not a number")
    return value


def attribute(element: ET.Element, name: str, where: str) -> float:
    """Read a number from an attribute (see `number`)."""
    return number(element.get(name), f"{where}: {name} of {element.tag}")


def points_of(elements: Iterable[ET.Element], where: str) -> NDArray[np.float64]:
    """Read X and Y of many elements, (n, 2).

    Raises:
        FormatError: As for `number`, with the element's position.
    """
    listed = list(elements)
    try:
        points = np.array([(float(e.attrib["X"]), float(e.attrib["Y"])) for e in listed], dtype=np.float64)
        if np.isfinite(points).all():
            return points.reshape(-1, 2)
    except (KeyError, ValueError):
        pass  # a comma, or something that the careful way has words for
    careful = [[attribute(e, key, f"{where}, point {i}") for key in ("X", "Y")] for i, e in enumerate(listed)]
    return np.array(careful, dtype=np.float64).reshape(-1, 2)


def as_text(value: float) -> str:
    """Write a number so that it reads back bit for bit, whole ones without a point."""
    return str(int(value)) if value == int(value) else repr(float(value))
