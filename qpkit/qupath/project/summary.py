"""summary.json beside a data file: counts that QuPath writes and never reads, for people and scripts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from qpkit.core.annotation import Kind, PathClass
from qpkit.files import replace_file

_TITLES: Final[Mapping[Kind, str]] = {
    "annotation": "Annotations",
    "tma_core": "TMA cores",
    "detection": "Detections",
    "tile": "Tiles",
    "cell": "Cells",
}


def write_summary(
    path: Path,
    *,
    counts: Mapping[tuple[Kind, PathClass | None], int],
    image_type: str | None,
    server: Mapping[str, Any],
    data: Path,
) -> None:
    """Bring a summary up to date; keys that qpkit does not know stay.

    Args:
        path: The summary.json, which may be missing.
        counts: How many objects the entry has of each kind and class.
        image_type: QuPath's enum name.
        server: Server metadata as in project.qpproj, for a new summary.
        data: The data file; its modification time is the timestamp.
    """
    record = loose_json(path)  # a damaged one is made anew, as nothing depends on it
    record["timestamp"] = data.stat().st_mtime_ns // 1_000_000
    if image_type is not None:
        record["imageType"] = image_type
    if "server" not in record and server:
        record["server"] = _dimensions(server)
    hierarchy = record.get("hierarchy")
    record["hierarchy"] = {**(hierarchy if isinstance(hierarchy, dict) else {}), **_counted(counts)}
    replace_file(path, msgspec.json.encode(record))


def loose_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; {} for a file that is damaged or not there."""
    try:
        record = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _dimensions(server: Mapping[str, Any]) -> dict[str, Any]:
    channels = server.get("channels")
    return {
        "width": server.get("width"),
        "height": server.get("height"),
        "sizeC": len(channels) if isinstance(channels, list) else 3,
        "sizeZ": server.get("sizeZ", 1),
        "sizeT": server.get("sizeT", 1),
    }


def _counted(objects: Mapping[tuple[Kind, PathClass | None], int]) -> dict[str, Any]:
    """Count as QuPath's ImageDataSummary does: detections, cells and tiles are all detections."""
    kinds: Counter[Kind] = Counter()
    classes: Counter[tuple[bool, str]] = Counter()
    for (kind, path_class), count in objects.items():
        kinds[kind] += count
        if kind != "tma_core":
            classes[kind == "annotation", str(path_class or "Unclassified")] += count
    return {
        "nObjects": sum(kinds.values()) + 1,  # with the root
        "objectTypeCounts": {"Root objects": 1, **{_TITLES[kind]: count for kind, count in kinds.items()}},
        "annotationClassificationCounts": {name: n for (is_annotation, name), n in classes.items() if is_annotation},
        "detectionClassificationCounts": {name: n for (is_annotation, name), n in classes.items() if not is_annotation},
    }
