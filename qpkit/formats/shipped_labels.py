"""Label maps that come with qpkit, for data sets that others have published; taken by name where a file is expected."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from qpkit.errors import LabelError, did_you_mean

_FOLDER: Final = Path(__file__).parent / "label_maps"


def shipped_labels() -> list[str]:
    """Name the label maps that come with qpkit, in alphabetical order."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def labels_file(path: Path) -> Path:
    """Find the file that the user means: the path itself, or the shipped label map of that name.

    Raises:
        LabelError: It has no suffix, is no file, and no label map is called like it.
    """
    if path.suffix or path.exists() or len(path.parts) > 1:
        return path
    known = shipped_labels()
    if path.name in known:
        return _FOLDER / f"{path.name}.toml"
    hint = did_you_mean(path.name, known)
    raise LabelError(f"{path}: no such file; {hint}label maps that come with qpkit: {', '.join(known)}")
