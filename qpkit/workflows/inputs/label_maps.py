"""The label map that the user names: a labels.toml, or one that comes with qpkit."""

from __future__ import annotations

from pathlib import Path

from qpkit.core.labels import LabelMap, parse_label_map
from qpkit.errors import LabelError
from qpkit.formats.shipped_labels import labels_file


def read_label_map(path: Path) -> LabelMap:
    """Read a labels.toml, or one that comes with qpkit, by name.

    Raises:
        LabelError: The file is missing, not TOML, or has faults; the message names the file.
    """
    path = labels_file(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise LabelError(f"{path}: label map cannot be read ({err})") from err
    return parse_label_map(text, source=str(path))
