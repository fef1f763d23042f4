"""What a verb can be told: one frozen class, read by Python, the command line and the workflow alike.

A field stands there once, with its type, default and bounds; the class's docstring is its help.
`qpkit.cli.shared.flags` makes options of the fields, and the recipes of the trainer state bounds in the same way.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import numbers
import os
import re
import types
import typing
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self

from qpkit.errors import ConfigError, listed

_ARGUMENT = re.compile(r"(\w+(?:, \w+)*): (.*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Between which numbers a setting lies; None is without an end, and what is not finite lies nowhere.

    Args:
        at_least, at_most: Ends that belong to it.
        above, below: Ends that do not.
    """

    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    below: float | None = None

    def holds(self, value: float) -> bool:
        """Say whether a number lies in it."""
        return (
            is_number(value)
            and (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        low = self.above if self.at_least is None else self.at_least
        high = self.below if self.at_most is None else self.at_most
        if high is None:
            return f"{low:g} or more" if self.above is None else "a positive number" if low == 0 else f"above {low:g}"
        excluded = [f"{end:g}" for end in (self.above, self.below) if end is not None]
        return f"in {low or 0:g}..{high:g}" + (f", not {' or '.join(excluded)}" if excluded else "")


def is_number(value: float) -> bool:
    """Say whether a number is one to compute with: finite, and a whole one fits 64 bits."""
    return math.isfinite(value) if isinstance(value, float) else abs(value) < 1 << 63


FRACTION = Range(at_least=0, at_most=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """How a setting is said on the command line, as far as its name and type do not say it.

    Args:
        name: "--as", or "--lock/--unlock"; "" for the field's name.
        parse: Reads what the user writes; without it types with a `parse` of their own read themselves.
        shown: The default as the user would write it; "" for its text.
        metavar: What stands for the value in the help.
        many: The option may be repeated; `parse` gets all that was written.
    """

    name: str = ""
    parse: Callable[[Any], Any] | None = None
    shown: str = ""
    metavar: str | None = None
    many: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One setting.

    Args:
        name: Of the field.
        kind: Its type without None and without what is annotated.
        default: Its default.
        help: From the docstring of its class.
        range: Its bounds, or None.
        flag: How it is said on the command line.
    """

    name: str
    kind: Any
    default: Any
    help: str
    range: Range | None
    flag: Flag

    @property
    def option(self) -> str:
        """What messages call it: "--tile-size"."""
        return (self.flag.name or f"--{self.name.replace('_', '-')}").split("/")[0]

    @property
    def choices(self) -> tuple[Any, ...]:
        """What it may be, if that is a list."""
        return choices_of(self.kind)

    def read(self, said: Any) -> Any:
        """Turn what a user wrote into a value; what is no text (or list of texts) is one already.

        Raises:
            ConfigError: It cannot be read.
        """
        if not isinstance(said, str | list):
            return said
        parse = self.flag.parse or getattr(self.kind, "parse", None)
        is_text = isinstance(said, str) or all(isinstance(part, str) for part in said)
        if parse is not None and is_text:
            return parse([said] if self.flag.many and isinstance(said, str) else said)
        return tuple(said) if isinstance(said, list) else said

    def taken(self, value: Any) -> Any:
        """Turn what stands in Python into the kind that is asked for, where that is plain; else it stays.

        Text for what is no text is read as on the command line, one name is a list of one, text is a path, 4 is 4.0.

        Raises:
            ConfigError: A text cannot be read.
        """
        if isinstance(value, str) and typing.get_origin(self.kind) is not Literal and self.kind is not str:
            value = self.read(value)
        origin, parts = typing.get_origin(self.kind), set(typing.get_args(self.kind))
        if isinstance(value, str) and origin in (tuple, Sequence):
            value = (value,)
        if isinstance(value, list) and origin is tuple:
            value = tuple(value)
        if self.kind in _PLAIN:
            return _as_plain(value, self.kind)
        for plain in _PLAIN:
            if isinstance(value, tuple) and plain in parts and parts <= {plain, ...}:
                return tuple(_as_plain(part, plain) for part in value)
        return value

    def has_other_kind(self, value: Any) -> bool:
        """Say whether a value is plainly not of the kind that is asked for."""
        asked = typing.get_origin(self.kind) or self.kind
        return value is not None and isinstance(asked, type) and not _is_a(value, asked)

    def fault(self, value: Any) -> str:
        """Say what is wrong with a value; "" if nothing is."""
        if value is None:
            return ""
        if self.range is not None and not (_is_a(value, float) and self.range.holds(value)):
            return f"has to be {self.range}"
        if self.has_other_kind(value):
            asked = typing.get_origin(self.kind) or self.kind
            return f"has to be {_KINDS.get(asked, f'a {asked.__name__}')}"
        if self.choices and value not in self.choices:
            names = [str(choice) for choice in self.choices]
            return f"has to be {' or '.join(names) if len(names) < 3 else 'one of ' + ', '.join(names)}"
        return ""


_PLAIN: Final = (Path, float, int)
_KINDS: Final = {Path: "a path", float: "a number", int: "a whole number", str: "text", bool: "True or False"}


def _is_a(value: Any, kind: type) -> bool:
    """isinstance, for which a whole number is a float and True is no number."""
    if kind in (float, int):
        return isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    return isinstance(value, kind)


def _as_plain(value: Any, kind: Any) -> Any:
    """Turn text into a path, and numbers (of NumPy, too) into those of Python; what is none of it stays."""
    if kind is Path:
        return Path(value) if isinstance(value, str | os.PathLike) else value
    is_one = isinstance(value, numbers.Integral if kind is int else numbers.Real) and not isinstance(value, bool)
    return kind(value) if is_one and is_number(value) else value


class Settings:
    """Base of the settings of a verb; the class below it is a frozen dataclass with a Google docstring.

    Raises:
        ConfigError: Names every value that is out of its bounds, and everything that `faults` names.
    """

    __slots__ = ()

    def __post_init__(self) -> None:
        for field in fields_of(type(self)):
            # 4 and 4.0 are one setting: what is hashed and written must not tell them apart.
            object.__setattr__(self, field.name, field.taken(getattr(self, field.name)))
        values = [(field, getattr(self, field.name)) for field in fields_of(type(self))]
        faults = [
            f"{field.option} {repr(value)[:60]}: {fault}" for field, value in values if (fault := field.fault(value))
        ]
        if not any(field.has_other_kind(value) for field, value in values):
            faults += self.faults()
        if faults:
            raise ConfigError(listed(faults, joint="; "))

    @classmethod
    def of(cls, **said: Any) -> Self:
        """Make settings of values, or of texts as the command line takes them: `ExportSettings.of(context="1,4")`.

        Raises:
            ConfigError: A setting that there is not, a text that cannot be read, or as the class itself.
        """
        fields = {field.name: field for field in fields_of(cls)}
        unknown = [name for name in said if name not in fields]
        if unknown:
            raise ConfigError(f"{cls.__name__} has no {unknown[0]!r}; it has {', '.join(fields)}")
        return cls(**{name: fields[name].read(value) for name, value in said.items()})

    def faults(self) -> Iterable[str]:
        """Name what does not go together; single values may be out of their bounds."""
        return ()


def fields_of(kind: type) -> tuple[Field, ...]:
    """List the fields of a class of settings, in their order."""
    return _fields(kind)


@functools.cache
def _fields(kind: Hashable) -> tuple[Field, ...]:
    assert isinstance(kind, type)
    hints = typing.get_type_hints(kind, include_extras=True)
    helps = {name: said for base in reversed(kind.__mro__) for name, said in help_of(base).items()}
    found = []
    for field in dataclasses.fields(kind):
        plain, marks = _taken_apart(hints[field.name])
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        found.append(
            Field(
                name=field.name,
                kind=plain,
                default=default,
                help=helps.get(field.name, ""),
                range=next((mark for mark in marks if isinstance(mark, Range)), None),
                flag=next((mark for mark in marks if isinstance(mark, Flag)), Flag()),
            )
        )
    return tuple(found)


def choices_of(hint: Any) -> tuple[Any, ...]:
    """The words that a value can be, where its type lists them; () where it does not."""
    kind = _taken_apart(hint)[0]
    return typing.get_args(kind) if typing.get_origin(kind) is Literal else ()


def bounds_of(hint: Any) -> Range | None:
    """The bounds that a type is annotated with."""
    return next((mark for mark in _taken_apart(hint)[1] if isinstance(mark, Range)), None)


def _taken_apart(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """A type without None and annotations, and what it was annotated with."""
    if typing.get_origin(hint) is typing.Annotated:
        inner, *marks = typing.get_args(hint)
        return _taken_apart(inner)[0], tuple(marks)
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        rest = [part for part in typing.get_args(hint) if part is not type(None)]
        if len(rest) == 1:
            return rest[0], ()
    return hint, ()


def help_of(kind: type) -> Mapping[str, str]:
    """What the docstring of a class says of each argument, each as one line."""
    return dict(_arguments(inspect.getdoc(kind) or ""))


def _arguments(text: str) -> Iterator[tuple[str, str]]:
    names: tuple[str, ...] = ()
    words: list[str] = []
    _, _, section = text.partition("\nArgs:\n")
    for line in [*section.split("\n"), ""]:
        match = _ARGUMENT.fullmatch(line.strip()) if line.startswith("    ") and line[4:5] != " " else None
        if match is None and line.startswith("        "):
            words.append(line.strip())
            continue
        for name in names:
            yield name, " ".join(words)
        if match is None:
            return
        names, words = tuple(match[1].split(", ")), [match[2]]


def words_of(said: str | Sequence[str]) -> list[str]:
    """Give texts, or the one there is, as a list."""
    return [said] if isinstance(said, str) else list(said)


def pairs_of(texts: Sequence[str]) -> dict[str, str]:
    """Split options of the form KEY=VALUE.

    Raises:
        ConfigError: One of them is not.
    """
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"{text!r}: has to be KEY=VALUE")
        found[key.strip()] = value.strip()
    return found


Where = typing.Annotated[Mapping[str, str], Flag(parse=pairs_of, many=True, metavar="KEY=VALUE")]
"""Metadata that entries of a project have to have."""
