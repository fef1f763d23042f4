"""What people mean by a folder or a pattern: the slides, projects or files in it."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from qpkit.errors import ProjectError
from qpkit.slides.opening import is_zarr

_SLIDES: Final = (
    ".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide", ".dcm", ".czi", ".vsi",
    ".png", ".jpg", ".jpeg",
)  # fmt: skip


_WILD: Final = frozenset("*?[")


def fits_pattern(text: str | None, pattern: str) -> bool:
    """Whether a text is the pattern itself, or fits it; * and ? stand for any text, None fits nothing."""
    return text is not None and (text == pattern or fnmatchcase(text, pattern))


def is_project(path: Path) -> bool:
    """Say whether a path looks like a QuPath project: a .qpproj file or a folder that holds one."""
    return path.suffix == ".qpproj" or (path.is_dir() and any(path.glob("*.qpproj")))


def expanded(paths: Sequence[Path]) -> list[Path]:
    """Replace patterns such as "slides/*.svs" by what they fit, for shells that do not; each path once.

    Raises:
        ProjectError: A pattern fits nothing, or there is no such path.
    """
    found: list[Path] = []
    for path in paths:
        if path.exists():
            found.append(path)
            continue
        anchor = Path(path.anchor)
        fitting = sorted(anchor.glob(str(path.relative_to(anchor)))) if _WILD & set(str(path)) else []
        if not fitting:
            raise ProjectError(f"{path}: there is no such file or folder")
        found += fitting
    return list(dict.fromkeys(found))


def slide_files(paths: Sequence[Path]) -> list[Path]:
    """Replace folders by the slides in them and in their subfolders, in order of their names.

    Raises:
        ProjectError: There is no such path, or no slide in a folder.
    """
    found: list[Path] = []
    for path in expanded(paths):
        if not path.is_dir() or _is_slide_folder(path):
            found.append(path)
            continue
        below = _slides_below(path)
        if not below:
            raise ProjectError(f"{path}: no slides in this folder; known are files such as {', '.join(_SLIDES[:6])}")
        found += below
    return list(dict.fromkeys(found))


def projects_or_slides(paths: Sequence[Path]) -> list[Path]:
    """Replace folders by the projects in them and in their subfolders, or where there are none by their slides.

    Raises:
        ProjectError: There is no such path, or neither in a folder.
    """
    found: list[Path] = []
    for path in expanded(paths):
        if not path.is_dir() or is_project(path) or _is_slide_folder(path):
            found.append(path)
            continue
        projects = sorted({file.parent for file in path.rglob("*.qpproj")})
        found += projects or slide_files([path])
    return list(dict.fromkeys(found))


def _is_slide_folder(path: Path) -> bool:
    return is_zarr(path) or any(path.glob("*.dcm"))


def _slides_below(folder: Path) -> list[Path]:
    found: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            found += [path] if _is_slide_folder(path) else _slides_below(path)
        elif path.suffix.lower() in _SLIDES:
            found.append(path)
    return found
