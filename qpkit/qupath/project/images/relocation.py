r"""Where images went: "OLD=NEW" for paths of any system as text, and files found again by their names."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Final

from qpkit.errors import ConfigError, FormatError, ProjectError
from qpkit.qupath.project.images.uris import file_path

_WINDOWS: Final = re.compile(r"[A-Za-z]:|\\\\|//")


@dataclass(frozen=True, slots=True)
class Relocation:
    """Paths that begin with `old` begin with `new` now; both absolute, of any system."""

    old: PurePath
    new: PurePath

    def apply(self, path: PurePath) -> PurePath | None:
        """The new place of a path; None if it does not begin with `old` (whole names; Windows ignores case).

        What is in `new` already stays there, also where `new` is inside `old`.
        """
        if type(self.new) is type(path) and self.new.is_relative_to(self.old) and path.is_relative_to(self.new):
            return None
        if type(path) is not type(self.old) or not path.is_relative_to(self.old):
            return None
        return self.new.joinpath(*path.relative_to(self.old).parts)


def parse_relocation(text: str) -> Relocation:
    r"""Read "OLD=NEW", split at the first "=".

    Each side is a path or a file URI: "/mnt/old=/data/new", "D:\slides=/data/slides", "file:///Z:/a=\\server\b".

    Raises:
        ConfigError: No "=", a side that is missing, or an OLD that is not absolute.
    """
    old, equals, new = text.partition("=")
    if not equals or not old.strip() or not new.strip():
        raise ConfigError(f"--relocate {text!r}: has to be OLD=NEW, two folders (or files)")
    return Relocation(_absolute(old.strip(), text), _absolute(new.strip(), text, here=True))


def _absolute(text: str, whole: str, *, here: bool = False) -> PurePath:
    if text[:5].lower() == "file:":
        try:
            path = file_path(text)
        except FormatError as err:
            raise ConfigError(f"--relocate {whole!r}: {err}") from err
        assert path is not None
        return path
    path = PureWindowsPath(text) if _WINDOWS.match(text) else PurePosixPath(text)
    if here and not path.is_absolute() and not _WINDOWS.match(text):
        return own_path(Path(text).absolute())
    if not path.is_absolute():
        raise ConfigError(f"--relocate {whole!r}: {text} is not absolute; give the whole path as the project has it")
    return path


def own_path(path: Path) -> PurePath:
    """A path of this system as text."""
    return PureWindowsPath(path) if os.name == "nt" else PurePosixPath(path)


def is_of_this_system(path: PurePath) -> bool:
    """Whether a path could exist on this machine at all."""
    return isinstance(path, PureWindowsPath) == (os.name == "nt")


def find_by_name(folders: Sequence[Path], names: Collection[str]) -> dict[str, list[Path]]:
    """Walk over folders once and list the files of each name; upper and lower case count only if both are there.

    Raises:
        ProjectError: A folder is not there.
    """
    wanted: dict[str, list[str]] = defaultdict(list)
    for name in names:
        wanted[name.lower()].append(name)
    alike: dict[str, set[Path]] = defaultdict(set)
    for folder in folders:
        if not folder.is_dir():
            raise ProjectError(f"--search {folder}: there is no such folder")
        for place, _, files in os.walk(folder.absolute()):
            for file in files:
                if file.lower() in wanted:
                    alike[file.lower()].add(Path(place, file))
    found = {}
    for lower, places in alike.items():
        for name in wanted[lower]:
            found[name] = sorted(path for path in places if path.name == name) or sorted(places)
    return found
