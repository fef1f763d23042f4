"""What is wrong with a project.qpproj that qpkit opens but some QuPath does not. Looks at the JSON only.

Source: qupath.lib.projects.DefaultProject, v0.2.3 to v0.7.0, and what the versions made of such files.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, Final
from urllib.parse import quote

from qpkit.errors import FormatError
from qpkit.qupath.project.images.uris import file_path, file_uri

_TIMES: Final = ("createTimestamp", "modifyTimestamp")
_SAFE: Final = "/:@!$&'()*+,;=~%#?"
_DRIVE: Final = re.compile(r"[A-Za-z]:[\\/]|\\\\")


@dataclass(frozen=True, slots=True)
class RecordFault:
    """One fault.

    Args:
        entry: Id of the entry, or None for the project.
        what: What is wrong and what it does.
        fix: How `mended_record` mends it; "" if it cannot.
    """

    entry: int | None
    what: str
    fix: str


def record_faults(record: Mapping[str, Any]) -> list[RecordFault]:
    """List the faults of a project that opens."""
    found = [
        RecordFault(None, f"{key} is missing; QuPath does not load the project", f"write {key} 0")
        for key in _TIMES
        if not _is_number(record.get(key))
    ]
    for image in record.get("images", []):
        found += _image_faults(image)
    return found


def _image_faults(image: Mapping[str, Any]) -> list[RecordFault]:
    number, found = image["entryID"], []
    if not isinstance(image.get("metadata"), dict):
        found.append(RecordFault(number, "has no metadata; QuPath 0.5 and older fail on it", "write empty metadata"))
    inner = _innermost(image["serverBuilder"])
    if inner.get("uri") is not None and not isinstance(inner.get("args"), list):
        found.append(RecordFault(number, "its server has no args; some QuPath fail on it", "write an empty list"))
    uri = inner.get("uri")
    if isinstance(uri, str) and not _is_uri(uri):
        good = good_uri(uri)
        fix = f"write {good}" if good is not None else ""
        found.append(RecordFault(number, f"{uri!r} is no URI; QuPath does not load the project", fix))
    return found


def repeated_ids(record: Mapping[str, Any]) -> dict[int, int]:
    """Entry ids that several images have, and how many; works on a project that does not open."""
    images = [image for image in record.get("images", []) if isinstance(image, dict)]
    ids = Counter(image["entryID"] for image in images if isinstance(image.get("entryID"), int))
    return {number: count for number, count in ids.items() if count > 1}


def mended_record(record: Mapping[str, Any], entries: Sequence[int]) -> dict[str, Any]:
    """Mend what `record_faults` found: always the project, of the images only those with these ids."""
    made = dict(record)
    for key in _TIMES:
        if not _is_number(record.get(key)):
            made[key] = 0
    made["images"] = [
        _mended_image(image) if image["entryID"] in entries else image for image in record.get("images", [])
    ]
    return made


def _mended_image(image: Mapping[str, Any]) -> dict[str, Any]:
    metadata = image.get("metadata")
    builder = _mended_builder(image["serverBuilder"])
    return {**image, "serverBuilder": builder, "metadata": metadata if isinstance(metadata, dict) else {}}


def _mended_builder(builder: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(builder.get("builder"), dict):
        return {**builder, "builder": _mended_builder(builder["builder"])}
    made = dict(builder)
    uri = made.get("uri")
    if uri is not None and not isinstance(made.get("args"), list):
        made["args"] = []
    if isinstance(uri, str) and not _is_uri(uri):
        made["uri"] = good_uri(uri) or uri
    return made


def good_uri(text: str) -> str | None:
    """Write what was meant as a URI: blanks and backslashes encoded, a plain absolute path with "file:"; or None."""
    path = PureWindowsPath(text) if _DRIVE.match(text) else PurePosixPath(text)
    if path.is_absolute():
        return file_uri(path)
    # What is encoded already stays ("%" is safe); a lone "%" is not.
    encoded = re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", quote(text.replace("\\", "/"), safe=_SAFE))
    return encoded if _is_uri(encoded) else None


def _innermost(builder: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = builder.get("builder")
    return _innermost(inner) if isinstance(inner, dict) else builder


def _is_uri(text: str) -> bool:
    try:
        file_path(text)
    except FormatError:
        return False
    return True


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
