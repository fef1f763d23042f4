"""The label map that the user names: a labels.toml, or one that comes with qpkit."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from qpkit.core.label_rules import THE_REST, UNCLASSIFIED
from qpkit.core.labels import LabelMap, parse_label_map
from qpkit.errors import LabelError, listed, or_else
from qpkit.files import AnyPath
from qpkit.formats.shipped_labels import labels_file


def read_label_map(path: AnyPath) -> LabelMap:
    """Read a labels.toml, or one that comes with qpkit, by name.

    Raises:
        LabelError: The file is missing, not TOML, or has faults; the message names the file.
    """
    path = labels_file(Path(path))
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise LabelError(f"{path}: label map cannot be read ({err})") from err
    return parse_label_map(text, source=str(path))


def require_known_classes(labels: LabelMap, known: Collection[str]) -> None:
    """Raise if a class of the map is drawn from QuPath classes of which none is known, or an area's name is misspelt.

    A class may say `optional = true`. Regions and ignored classes that are nowhere are fine unless they look like one
    that is there.

    Args:
        labels: A map that the user wrote.
        known: Names of the QuPath classes of all objects, and of the class list.

    Raises:
        LabelError: Names all that are missing, and what may have been meant.
    """
    faults = []
    for item in labels.order:
        named = [source for source in item.sources if source not in (THE_REST, UNCLASSIFIED)]
        if named and len(named) == len(item.sources) and not item.optional and not set(known) & set(named):
            faults.append(f"no object has class {named[0]!r}, {or_else(named[0], sorted(known))}")
    for name in (*labels.regions, *labels.ignored):
        hint = or_else(name, sorted(known))
        if name not in known and hint.startswith("did you mean"):
            faults.append(f"no object has class {name!r}, {hint}")
    if faults:
        raise LabelError(
            f"label map: {listed(faults, joint='; ', most=3)}; optional = true in a [[class]] lets it be missing"
        )
