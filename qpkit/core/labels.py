"""What a pixel of a mask means: the label map, read from a labels.toml or made from a project's classes."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import msgspec

from qpkit.core.annotation import PathClass
from qpkit.errors import LabelError

Unannotated = Literal["ignore", "background"]
Unlisted = Literal["skip", "ignore", "error"]


_RESERVED: Final = ("background", "ignore")
"""What the two values without a class are called."""


@dataclass(frozen=True, slots=True)
class LabelClass:
    """One value of a mask.

    Args:
        name: What reports and predictions call it.
        value: Pixel value, 0..255.
        sources: Names of the QuPath classes that are drawn with it.
        color: Signed ARGB for predictions, or None.
    """

    name: str
    value: int
    sources: tuple[str, ...]
    color: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelMap:
    """Classes in painting order (later covers earlier, as in QuPath) and what the rest of the mask means.

    Args:
        classes: In painting order.
        background: Value of an annotated pixel that no class covers.
        ignore: Value of a pixel about which nothing is known; losses and metrics leave it out.
        unannotated: What lies outside every region: "ignore" or "background".
        unlisted: Annotations of classes that are not named here: "skip" (not drawn, reported), "ignore", "error".
        regions: QuPath classes inside which everything was annotated (background where nothing else is drawn).
        ignored: QuPath classes that are drawn as `ignore`, on top of everything.

    Raises:
        LabelError: A value or a class is used twice, or a value is outside 0..255. All faults in one message.
    """

    classes: tuple[LabelClass, ...]
    background: int = 0
    ignore: int = 255
    unannotated: Unannotated = "background"
    unlisted: Unlisted = "skip"
    regions: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        faults = list(self._faults())
        if faults:
            raise LabelError("label map: " + "; ".join(faults))

    def _faults(self) -> Iterable[str]:
        values = [self.background, self.ignore, *(c.value for c in self.classes)]
        for value, count in Counter(values).items():
            if count > 1:
                yield f"value {value} is used {count} times"
            if not 0 <= value <= 255:
                yield f"value {value} does not fit a mask (0..255)"
        for name in {c.name for c in self.classes}:
            if not name.strip() or name in _RESERVED:
                yield f"a class cannot be called {name!r}"
        for name, count in Counter(c.name for c in self.classes).items():
            if count > 1:
                yield f"class {name!r} is there {count} times"
        sources = [s for c in self.classes for s in c.sources]
        for name, count in Counter([*sources, *self.regions, *self.ignored]).items():
            if count > 1:
                yield f"QuPath class {name!r} is used {count} times"

    @property
    def values(self) -> tuple[int, ...]:
        """Every value a mask can hold, in ascending order: background, classes and ignore."""
        return tuple(sorted({self.background, self.ignore, *(c.value for c in self.classes)}))

    @property
    def trained_values(self) -> tuple[int, ...]:
        """Values a model learns, ascending: background and the classes. A model's channel i means value i of this."""
        return tuple(sorted({self.background, *(c.value for c in self.classes)}))

    def name_of(self, value: int) -> str:
        """Name a mask value: a class name, "background" or "ignore"."""
        names = {self.background: "background", self.ignore: "ignore"} | {c.value: c.name for c in self.classes}
        return names[value]

    def knows(self, class_name: str) -> bool:
        """Say whether a QuPath class is named anywhere in the map."""
        return (
            class_name in self.regions
            or class_name in self.ignored
            or any(class_name in c.sources for c in self.classes)
        )


class _ClassTable(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    value: int
    source: list[str] = msgspec.field(default_factory=list, name="from")
    color: list[int] | None = None


class _LabelTable(msgspec.Struct, forbid_unknown_fields=True):
    classes: list[_ClassTable] = msgspec.field(name="class")
    background: int = 0
    ignore: int = 255
    unannotated: Unannotated = "background"
    unlisted: Unlisted = "skip"
    regions: list[str] = []
    ignored: list[str] = []


def parse_label_map(text: str, *, source: str) -> LabelMap:
    """Read the text of a labels.toml.

    Args:
        text: TOML; keys background, ignore, unannotated, unlisted, regions, ignored and tables [[class]] with name,
            value, from (default: the name itself) and color ([r, g, b], optional).
        source: File name for messages.

    Raises:
        LabelError: Not TOML, an unknown key, or a map with faults.
    """
    try:
        return label_map_from_builtins(tomllib.loads(text))
    except tomllib.TOMLDecodeError as err:
        raise LabelError(f"{source}: not valid TOML: {err}") from err
    except LabelError as err:
        raise LabelError(f"{source}: {err}") from err


def label_map_from_builtins(tables: Any) -> LabelMap:
    """Build a label map from plain dicts and lists with the keys of a labels.toml (as in export.json)."""
    try:
        table = msgspec.convert(tables, _LabelTable)
    except msgspec.ValidationError as err:
        raise LabelError(
            f"{err}; known keys are background, ignore, unannotated, unlisted, regions, ignored "
            "and [[class]] with name, value, from, color"
        ) from err
    return LabelMap(
        classes=tuple(LabelClass(c.name, c.value, tuple(c.source or [c.name]), _argb(c.color)) for c in table.classes),
        background=table.background,
        ignore=table.ignore,
        unannotated=table.unannotated,
        unlisted=table.unlisted,
        regions=tuple(table.regions),
        ignored=tuple(table.ignored),
    )


def label_map_to_builtins(labels: LabelMap) -> dict[str, Any]:
    """The inverse of label_map_from_builtins: plain values with the keys of a labels.toml."""
    classes = []
    for item in labels.classes:
        row: dict[str, Any] = {"name": item.name, "value": item.value, "from": list(item.sources)}
        if item.color is not None:
            row["color"] = list(PathClass((item.name,), item.color).rgb or ())
        classes.append(row)
    return {
        "background": labels.background,
        "ignore": labels.ignore,
        "unannotated": labels.unannotated,
        "unlisted": labels.unlisted,
        "regions": list(labels.regions),
        "ignored": list(labels.ignored),
        "class": classes,
    }


def _argb(color: Sequence[int] | None) -> int | None:
    from qpkit.core.annotation import argb

    if color is None:
        return None
    if len(color) != 3 or not all(0 <= c <= 255 for c in color):
        raise LabelError(f"color {list(color)} is not [red, green, blue] in 0..255")
    return argb(*color)


def default_label_map(classes: Sequence[PathClass]) -> LabelMap:
    """One label per class in the order given, from value 1; classes ending in '*' as in QuPath.

    QuPath calls a class whose name ends in '*' ignored: "Region*" marks where annotating took place, any other one
    ("Ignore*") what to leave out. With a "Region*" class, everything outside regions is unknown (ignore); without
    one it is background, because nothing says otherwise - the report names the choice.

    Source: PathClassTools.isIgnoredClass (name ends with "*"), same in QuPath 0.2-0.7.
    """
    names = [str(c) for c in classes]
    regions = tuple(n for n in names if n == "Region*")
    ignored = tuple(n for n in names if n.endswith("*") and n != "Region*")
    drawn = [c for c in classes if not str(c).endswith("*")]
    return LabelMap(
        classes=tuple(
            LabelClass(f"{c} (class)" if str(c) in _RESERVED else str(c), i, (str(c),), c.color)
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
