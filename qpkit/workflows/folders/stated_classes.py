"""What the user says of mask values: NAME=VALUE, NAME=#rrggbb, NAME, or a file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qpkit.core.label_map import RESERVED
from qpkit.core.labels import LabelMap
from qpkit.errors import ConfigError, LabelError
from qpkit.formats.shared.label_table import read_label_table
from qpkit.formats.shipped_labels import shipped_labels
from qpkit.workflows.folders.settings import TABLE_SUFFIXES

_COLOR: Final = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedClasses:
    """Everything that --classes says.

    Args:
        numbers: Name by mask value; "background" and "ignore" are names, too.
        colors: Name by colour, 0xrrggbb.
        single: The class of masks that show one, or "".
        table: The label map of a file, or None.
        names_ignore: Whether that file says itself what its ignore value is.
    """

    numbers: Mapping[int, str]
    colors: Mapping[int, str]
    single: str = ""
    table: LabelMap | None = None
    names_ignore: bool = False

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order in which they were stated; those of a table are not among them."""
        return tuple(dict.fromkeys(name for name in (*self._names, self.single) if name and name not in RESERVED))

    @property
    def _names(self) -> tuple[str, ...]:
        return (*self.numbers.values(), *self.colors.values())


def parse_classes(texts: Sequence[str]) -> StatedClasses:
    """Read what --classes says.

    Raises:
        ConfigError: A value twice, no value, or what does not go together.
        LabelError: A file cannot be read.
    """
    numbers: dict[int, str] = {}
    colors: dict[int, str] = {}
    single, tables = "", []
    for text in texts:
        name, equals, values = text.partition("=")
        if not equals and (Path(text).suffix in TABLE_SUFFIXES or text in shipped_labels()):
            tables.append(Path(text))
        elif not equals:
            single = text.strip()
        else:
            for value in values.split(","):
                _add(text, name.strip(), value.strip(), numbers, colors)
    stated = StatedClasses(
        numbers=numbers,
        colors=colors,
        single=single,
        table=_table(tables[0]) if tables else None,
        names_ignore=bool(tables) and tables[0].suffix in (".toml", ""),
    )
    if len(tables) > 1 or (tables and stated.classes) or (single and len(stated.classes) > 1):
        raise ConfigError(
            f"--classes {texts[0]!r} and {texts[1]!r} do not go together: give one FILE, one NAME, or NAME=VALUE for "
            "every class; background= and ignore= go with all"
        )
    return stated


def _add(text: str, name: str, value: str, numbers: dict[int, str], colors: dict[int, str]) -> None:
    if not name:
        raise ConfigError(f"--classes {text!r}: no name before =")
    if _COLOR.fullmatch(value):
        known, key = colors, int(value[1:], 16)
    elif value.isdecimal():
        known, key = numbers, int(value)
    else:
        raise ConfigError(f"--classes {text!r}: {value!r} is neither a value from 0 nor a colour such as #ff0000")
    if known.get(key, name) != name:
        raise ConfigError(f"--classes: {value} is both {known[key]!r} and {name!r}")
    known[key] = name


def _table(path: Path) -> LabelMap:
    """The label map of a file, in which every class is one value.

    Raises:
        LabelError: It cannot be read, or has rules that masks cannot be told from.
    """
    labels = read_label_table(path)
    if labels.masks != "single" or labels.boundary or labels.erasers or any(c.derivation for c in labels.classes):
        raise LabelError(f"{path}: has rules for drawing annotations; masks need [[class]] with name and value alone")
    return labels
