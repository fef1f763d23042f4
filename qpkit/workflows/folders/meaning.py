"""What the pixels of masks mean: as the user says, or where nothing is said as their values can only be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qpkit.core.annotation import argb
from qpkit.core.label_map import RESERVED
from qpkit.core.labels import LabelClass, LabelMap, label_map_from_builtins
from qpkit.errors import ConfigError, FormatError, listed
from qpkit.formats.shared.class_names import rgb_of
from qpkit.formats.shared.label_pixels import LabelPixels
from qpkit.workflows.folders.mask_facts import GREY, MaskFacts, codes_of, color_text, palette_code
from qpkit.workflows.folders.settings import UnlistedPixels
from qpkit.workflows.folders.stated_classes import StatedClasses

FOREGROUND: Final = "foreground"
"""What the class of masks with two values is called if nobody names it."""

IGNORED: Final = "Ignore*"
"""QuPath's class of what is left out."""

_MOST_ASSUMED: Final = 12
"""Classes that are taken for classes although nobody says so; more may be numbers of objects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskMeaning:
    """How mask pixels become label values.

    Args:
        labels: Names the label values.
        lookup: Label value by number, or by colour 0xrrggbb.
        by_color: Which of both; a palette is looked up by colour, too, then.
        unlisted: Label value of what `lookup` does not have; None refuses it.
    """

    labels: LabelMap
    lookup: Mapping[int, int]
    by_color: bool
    unlisted: int | None = None

    def decode(self, read: LabelPixels, where: object) -> NDArray[np.uint8]:
        """Give the label values of a mask, (h, w) uint8.

        Raises:
            FormatError: A pixel has a value that no class explains.
        """
        keys = self._keys(read, where)
        values = np.full(keys.shape, self.unlisted or 0, np.uint8)
        is_known = np.zeros(keys.shape, np.bool_)
        for key, value in self.lookup.items():
            hit = keys == key
            values[hit] = value
            is_known |= hit
        if self.unlisted is None and not is_known.all():
            strange, counts = np.unique(keys[~is_known], return_counts=True)
            raise self.unexplained(where, dict(zip(strange.tolist(), counts.tolist(), strict=True)))
        return values

    def _keys(self, read: LabelPixels, where: object) -> NDArray[Any]:
        if read.pixels.ndim == 3:
            codes = codes_of(read.pixels)
            if self.by_color:
                return codes
            if (codes != (codes & 255) * GREY).any():
                raise FormatError(f"{where}: has colours where the other masks have numbers")
            return codes & 255
        if not self.by_color:
            return read.pixels
        if read.palette is None:
            return read.pixels.astype(np.int64) * GREY
        table = np.array([palette_code(read, value) for value in range(int(read.pixels.max(initial=0)) + 1)])
        return np.asarray(table[read.pixels])

    def require_explained(self, facts: MaskFacts) -> None:
        """Raise FormatError if a mask has a value that no class explains."""
        strange = {k: px for k, px in facts.keys(by_color=self.by_color).items() if k not in self.lookup}
        if strange and self.unlisted is None:
            raise self.unexplained(facts.path, strange)

    def unexplained(self, where: object, strange: Mapping[int, int]) -> FormatError:
        """The error about values that no class explains, with their px."""
        value, px = max(strange.items(), key=lambda item: item[1])
        more = f" (and {len(strange) - 1:,} more)" if len(strange) > 1 else ""
        shown = color_text(value) if self.by_color else str(value)
        return FormatError(
            f"{where}: {px:,} px of {'colour' if self.by_color else 'value'} {shown}{more}, which no class explains; "
            f"say --classes NAME={shown}, ignore={shown} or --unlisted ignore"
        )

    def to_builtins(self) -> dict[str, Any]:
        """Plain values for export.json."""
        lookup = {color_text(key) if self.by_color else str(key): value for key, value in self.lookup.items()}
        return {"by_color": self.by_color, "lookup": lookup, "unlisted": self.unlisted}

    @classmethod
    def from_builtins(cls, plain: Mapping[str, Any], labels: Mapping[str, Any]) -> MaskMeaning:
        """The inverse of `to_builtins`, with the label map of export.json."""
        base = 16 if plain["by_color"] else 10
        return cls(
            labels=label_map_from_builtins(labels),
            lookup={int(key.removeprefix("#"), base): value for key, value in plain["lookup"].items()},
            by_color=plain["by_color"],
            unlisted=plain["unlisted"],
        )


def meaning_of(
    masks: Sequence[MaskFacts], stated: StatedClasses, unlisted: UnlistedPixels
) -> tuple[MaskMeaning, list[str]]:
    """Work out what masks mean, and what the user has to be told about it.

    Args:
        masks: All of them; at least one.
        stated: What the user says.
        unlisted: What values are that no class explains.

    Raises:
        ConfigError: Nothing is said, and the values may mean several things; or what is said does not fit.
        FormatError: A mask has a value that no class explains.
    """
    by_color = _by_color(masks, stated)
    notes: list[str] = []
    if stated.table is not None:
        labels, lookup = _of_table(stated.table, stated, by_color=by_color)
    elif stated.numbers.keys() | stated.colors.keys() and not stated.single and stated.classes:
        labels, lookup = _of_values(stated, by_color=by_color)
    else:
        labels, lookup, notes = _assumed(masks, stated, by_color=by_color)
    if not notes and 0 not in (stated.colors if by_color else stated.numbers):
        zero = color_text(0) if by_color else "0"
        if any(0 in mask.keys(by_color=by_color) for mask in masks):
            notes = [f"{zero} counts as background; if it means unknown, add --classes ignore={zero}"]
    left = {"error": None, "ignore": labels.ignore, "background": labels.background}[unlisted]
    if any(value == labels.ignore for value in (*lookup.values(), left)):
        labels = replace(labels, ignored=tuple(dict.fromkeys((*labels.ignored, IGNORED))))
    meaning = MaskMeaning(labels=labels, lookup=lookup, by_color=by_color, unlisted=left)
    for mask in masks:
        meaning.require_explained(mask)
    return meaning, [*notes, *_notes_on_unlisted(masks, meaning, unlisted)]


def _by_color(masks: Sequence[MaskFacts], stated: StatedClasses) -> bool:
    """Whether colours say what pixels are.

    Raises:
        ConfigError: Masks have colours, or palettes that contradict each other, and values are stated.
    """
    colored = next((mask for mask in masks if mask.is_colored), None)
    first: dict[int, tuple[int, MaskFacts]] = {}
    clash = None
    for mask in masks:
        for value, color in mask.palette.items():
            known, other = first.setdefault(value, (color, mask))
            if known != color and clash is None:
                clash = f"value {value} is {color_text(known)} in {other.path.name}, {color_text(color)} in {mask.path}"
    if any(name not in RESERVED for name in stated.numbers.values()) and not stated.colors:
        by_color = False
        if clash is not None:
            raise ConfigError(f"{clash}: the palettes differ; state classes by colour")
    else:
        by_color = bool(colored or clash or stated.colors)
    if (colored is not None or by_color) and stated.numbers:
        mask = colored or masks[0]
        code = max(mask.keys(by_color=True))
        raise ConfigError(f"{mask.path}: is read by colour; state colours, such as --classes NAME={color_text(code)}")
    return by_color


def _of_table(table: LabelMap, stated: StatedClasses, *, by_color: bool) -> tuple[LabelMap, dict[int, int]]:
    """The map of a file, less the classes that were stated to be background or ignore."""
    own = {"background": table.background, "ignore": table.ignore}
    said = {key: own[name] for key, name in (stated.colors if by_color else stated.numbers).items()}
    if by_color:
        colors = {_code(item): item.value for item in table.classes if item.color is not None}
        lookup = {0: table.background} | colors | said
    else:
        values = {item.value: item.value for item in table.classes}
        ground = {table.background: table.background} | ({table.ignore: table.ignore} if stated.names_ignore else {})
        lookup = ground | values | said
    classes = tuple(item for item in table.classes if item.value in lookup.values())
    return replace(table, classes=classes, instances=False), lookup


def _code(item: LabelClass) -> int:
    red, green, blue = rgb_of(item.color or 0)
    return (red << 16) | (green << 8) | blue


def _of_values(stated: StatedClasses, *, by_color: bool) -> tuple[LabelMap, dict[int, int]]:
    """Classes as stated, numbered from 1 in their order; 0 and black are background unless they are stated."""
    named = dict(stated.colors if by_color else stated.numbers)
    values = _values(stated.classes)
    colors = {name: key for key, name in reversed(named.items())} if by_color else {}
    labels = LabelMap(classes=tuple(_label_class(name, values[name], colors.get(name)) for name in stated.classes))
    values |= {"background": labels.background, "ignore": labels.ignore}
    lookup = {key: values[name] for key, name in named.items()}
    return labels, lookup if 0 in lookup else {0: labels.background, **lookup}


def _values(names: Sequence[str]) -> dict[str, int]:
    return {name: value for value, name in enumerate(names, start=1)}


def _label_class(name: str, value: int, color: int | None) -> LabelClass:
    rgb = None if color is None else argb(color >> 16, (color >> 8) & 255, color & 255)
    return LabelClass(name, value, (name,), rgb)


def _assumed(
    masks: Sequence[MaskFacts], stated: StatedClasses, *, by_color: bool
) -> tuple[LabelMap, dict[int, int], list[str]]:
    """A class for each value that is neither 0 (black) nor stated to be background or ignore.

    Raises:
        ConfigError: There may be another meaning.
    """
    ground = {
        key: name for key, name in (stated.colors if by_color else stated.numbers).items() if name != stated.single
    }
    there = sorted({key for mask in masks for key in mask.keys(by_color=by_color)} - {0} - set(ground))
    text = color_text if by_color else str
    shown = listed(map(text, there), most=4)
    example = next((m.path for m in masks if set(m.keys(by_color=by_color)) & set(there)), masks[0].path)
    if not there:
        raise ConfigError(f"{example}: no mask has a pixel that is not background; are these the masks?")
    deep = next((m.path for m in masks if m.is_deep), None)
    if len(there) > 1 and (deep is not None or len(there) > _MOST_ASSUMED):
        raise ConfigError(
            f"{deep or example}: {len(there):,} values, {shown}: objects by number, or classes? Say --instances CLASS, "
            "or --classes NAME=VALUE for each"
        )
    if stated.single and len(there) > 1:
        raise ConfigError(f"--classes {stated.single}: masks have {len(there)} values ({shown}); say NAME=VALUE")
    if len(there) > 1 and 255 in there and not by_color:
        others = [key for key in there if key != 255]
        raise ConfigError(
            f"{example}: value 255 beside {listed(map(text, others), most=4)}: a class, or unknown? Say --classes "
            f"NAME={others[0]}{' and so on' * (len(others) > 1)}, and --classes ignore=255 or NAME=255"
        )
    palette = {value: color for mask in masks for value, color in mask.palette.items()}
    names = [stated.single or FOREGROUND] if len(there) == 1 else [text(key) for key in there]
    classes = tuple(
        _label_class(name, value, key if by_color else palette.get(key))
        for value, (name, key) in enumerate(zip(names, there, strict=True), start=1)
    )
    labels = LabelMap(classes=classes)
    own = {"background": labels.background, "ignore": labels.ignore}
    lookup = {0: labels.background} | {key: own[name] for key, name in ground.items()}
    lookup |= {key: item.value for key, item in zip(there, classes, strict=True)}
    said = ", ".join(f"{text(key)} {item.name!r}" for key, item in zip(there, classes, strict=True))
    how = "named" if stated.single else "assumed, as nobody said what mask values mean"
    return labels, lookup, [f"{how}: {'black' if by_color else '0'} is background, {said}" + (
        "" if stated.single else "; --classes names them")]  # fmt: skip


def _notes_on_unlisted(masks: Sequence[MaskFacts], meaning: MaskMeaning, unlisted: UnlistedPixels) -> list[str]:
    """Say how many pixels have a value that no class explains."""
    px: dict[int, int] = {}
    for mask in masks:
        for key, count in mask.keys(by_color=meaning.by_color).items():
            if key not in meaning.lookup:
                px[key] = px.get(key, 0) + count
    if not px:
        return []
    text = color_text if meaning.by_color else str
    said = listed((f"{text(key)} ({count:,} px)" for key, count in sorted(px.items())), most=4)
    return [f"values that no class explains are {unlisted}: {said}"]
