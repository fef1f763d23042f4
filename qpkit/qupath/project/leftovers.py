"""What lies in a project's folder and belongs to no entry: files of killed writers, data of removed images."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

OLD_SECONDS: Final = 3600.0
"""A temporary file that was not written to for so long has no writer any more.

The process id in its name says nothing: it may be of another machine that shares the folder."""

_OURS: Final = re.compile(r"\.(?P<name>.+)\.\d+\.tmp")
_QUPATHS: Final = re.compile(r".*\.qpproj\.tmp")


@dataclass(frozen=True, slots=True)
class Leftover:
    """A temporary file.

    Args:
        path: Of the file.
        age: Seconds since it was written to last.
        is_ours: qpkit made it, so it is part of a file that was never complete; otherwise QuPath did.
    """

    path: Path
    age: float
    is_ours: bool

    @property
    def is_dead(self) -> bool:
        """Whether it can go."""
        return self.is_ours and self.age > OLD_SECONDS


def find_leftovers(folder: Path, *, now: float) -> list[Leftover]:
    """List temporary files in a project's folder, its data folders and its classifiers.

    Args:
        folder: Of the project.
        now: Seconds since 1970.
    """
    places = [folder, folder / "classifiers", *_data_folders(folder)]
    found = []
    for place in places:
        for path in sorted(place.glob("*.tmp")) if place.is_dir() else ():
            ours = _OURS.fullmatch(path.name) is not None
            if path.is_file() and (ours or _QUPATHS.fullmatch(path.name)):
                found.append(Leftover(path, now - path.stat().st_mtime, ours))
    return found


def find_orphans(folder: Path, ids: Collection[int]) -> list[Path]:
    """List data folders of no entry; QuPath leaves them when an image is removed without its data."""
    return [item for item in _data_folders(folder) if int(item.name) not in ids and (item / "data.qpdata").is_file()]


def _data_folders(folder: Path) -> list[Path]:
    data = folder / "data"
    items = data.iterdir() if data.is_dir() else ()
    return sorted(
        (item for item in items if re.fullmatch(r"[0-9]+", item.name) and item.is_dir()),
        key=lambda item: int(item.name),
    )
