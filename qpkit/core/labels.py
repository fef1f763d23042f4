"""What a pixel of a mask means: the label map, read from a labels.toml or made from a project's classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from qpkit.core.annotation import PathClass
from qpkit.core.label_file import label_map_from_builtins, label_map_to_builtins, parse_label_map
from qpkit.core.label_map import RESERVED, LabelClass, LabelMap, Unannotated, Unlisted
from qpkit.core.label_rules import Boundary, Derivation, Eraser
from qpkit.core.review import MARKS, is_unnamed

__all__ = [
    "Boundary",
    "Derivation",
    "Eraser",
    "LabelClass",
    "LabelMap",
    "Unannotated",
    "Unlisted",
    "default_label_map",
    "label_colors",
    "label_map_from_builtins",
    "label_map_to_builtins",
    "parse_label_map",
    "with_colors",
]


def default_label_map(classes: Sequence[PathClass]) -> LabelMap:
    """One label per class in the order given, from value 1; classes ending in '*' as in QuPath.

    QuPath calls a class whose name ends in '*' ignored: "Region*" marks where annotating took place, any other one
    ("Ignore*") what to leave out. With a "Region*" class, everything outside regions is unknown (ignore); without
    one it is background, because nothing says otherwise - the report names the choice. Marks of a review and proposals
    that nobody has named are no classes.

    Source: PathClassTools.isIgnoredClass (name ends with "*"), same in QuPath 0.2-0.7.
    """
    classes = [c for c in classes if str(c) not in MARKS and not is_unnamed(str(c))]  # no tissue
    names = [str(c) for c in classes]
    regions = tuple(n for n in names if n == "Region*")
    ignored = tuple(n for n in names if n.endswith("*") and n != "Region*")
    drawn = [c for c in classes if not str(c).endswith("*")]
    return LabelMap(
        classes=tuple(
            LabelClass(f"{c} (class)" if str(c) in RESERVED else str(c), i, (str(c),), c.color)
            for i, c in enumerate(drawn, start=1)
        ),
        unannotated="ignore" if regions else "background",
        regions=regions,
        ignored=ignored,
    )


_PALETTE: Final = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0))
"""Colours of classes without one of their own: Okabe and Ito's, told apart by colour-blind readers."""


def label_colors(labels: LabelMap) -> dict[int, tuple[int, int, int]]:
    """RGB by value: each class's own colour, or one of a fixed list."""
    colors: dict[int, tuple[int, int, int]] = {}
    for number, item in enumerate(labels.classes):
        own = PathClass((item.name,), item.color).rgb
        colors[item.value] = own or _PALETTE[number % len(_PALETTE)]
    return colors


def with_colors(labels: LabelMap, classes: Iterable[PathClass]) -> LabelMap:
    """Give label classes without a colour the colour of their first QuPath class that has one."""
    known = {str(c): c.color for c in classes if c.color is not None}

    def colored(item: LabelClass) -> LabelClass:
        if item.color is not None:
            return item
        return replace(item, color=next((known[s] for s in (item.name, *item.sources) if s in known), None))

    return replace(labels, classes=tuple(colored(c) for c in labels.classes))
