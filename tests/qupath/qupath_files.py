"""Helpers of this room: where QuPath's own files are, and how to compare objects."""

from __future__ import annotations

import dataclasses
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qpkit.core.annotation import Annotation

VERSIONS = ("v0.2.3", "v0.3.2", "v0.4.4", "v0.5.1", "v0.6.0", "v0.7.0")


def data_files(shared: Path) -> Iterator[tuple[Path, bytes]]:
    for path in sorted(shared.rglob("data.qpdata*")):
        content = path.read_bytes()
        yield path, gzip.decompress(content) if path.suffix == ".gz" else content


def oracle(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    result: dict[str, Any] = json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)
    return result


def comparable(annotation: Annotation, *, parent: bool = False) -> tuple[object, ...]:
    """Every field, geometry bit for bit; NaN equals NaN."""
    alone = annotation if parent else dataclasses.replace(annotation, parent=None)
    nucleus = None if annotation.nucleus is None else annotation.nucleus.wkb
    return (annotation.geometry.wkb, nucleus, repr(dataclasses.replace(alone, nucleus=None)))
