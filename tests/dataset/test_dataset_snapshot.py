"""What masks are drawn from survives a snapshot bit for bit."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from qpkit.core.annotation import Annotation
from qpkit.dataset.snapshot import read_snapshot, write_snapshot
from qpkit.errors import FormatError
from qpkit.qupath import open_project

KEPT = ("id", "kind", "shape", "plane", "geometry", "nucleus")


def seen(item: Annotation) -> list[object]:
    names = None if item.path_class is None else (item.path_class.names, item.path_class.color)
    return [names, *(getattr(item, name) for name in KEPT)]


def test_objects_of_every_version_come_back(shared: Path, tmp_path: Path) -> None:
    for version in ("v0.2.3", "v0.5.1", "v0.7.0"):
        path = shared / "fixtures/qupath" / version / "project"
        for entry in open_project(path).entries:
            objects = entry.objects()
            write_snapshot(tmp_path / "a/objects.parquet", objects)
            assert [seen(item) for item in read_snapshot(tmp_path / "a/objects.parquet")] == [seen(o) for o in objects]


def test_a_snapshot_holds_nothing_else_and_says_when_it_is_damaged(tmp_path: Path) -> None:
    fields = {field.name for field in dataclasses.fields(Annotation)}
    assert set(KEPT) <= fields
    broken = tmp_path / "objects.parquet"
    broken.write_bytes(b"no table")
    with pytest.raises(FormatError, match="export the tiles again"):
        read_snapshot(broken)
