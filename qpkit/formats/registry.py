"""Which formats there are, and which one a file is of. Knows none of them by name: each says itself what it is."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Final, TypeVar

from qpkit.errors import ConfigError, listed
from qpkit.formats import plugins
from qpkit.formats.format import Format
from qpkit.formats.shared.json_files import read_json
from qpkit.formats.shared.xml_files import read_xml

_Content = TypeVar("_Content")


def formats_in(folder: ModuleType) -> tuple[Format, ...]:
    """Import every module of a folder of plug-ins and list their FORMAT, in the order that they state."""
    names = [f"{folder.__name__}.{found.name}" for found in pkgutil.iter_modules(folder.__path__)]
    return in_order(*(importlib.import_module(name).FORMAT for name in names))


def in_order(*formats: Format) -> tuple[Format, ...]:
    """Sort formats by the order that they state; no two may have one name or one place."""
    for what in ("name", "order"):
        values = [getattr(item, what) for item in formats]
        assert len(set(values)) == len(values), f"two formats have the same {what}: {sorted(values)}"
    return tuple(sorted(formats, key=lambda item: item.order))


FORMATS: Final[tuple[Format, ...]] = formats_in(plugins)
"""Everybody else's formats; QuPath's own are in qpkit.workflows.convert."""


def named(name: str, formats: Sequence[Format]) -> Format:
    """Find a format by its name.

    Raises:
        ConfigError: There is none of that name; the message lists them.
    """
    found = next((item for item in formats if item.name == name.lower()), None)
    if found is None:
        raise ConfigError(f"no format is called {name!r}; there are {', '.join(item.name for item in formats)}")
    return found


def format_of(path: Path, formats: Sequence[Format], *, reading: bool) -> Format:
    """Tell the format of a file by its ending and, where that does not say it and the file is read, by its content.

    Raises:
        ConfigError: It cannot be told; the message says how to state it.
        FormatError: It is not well-formed XML or JSON.
    """
    name = path.name.lower()
    fitting = [item for item in formats if name.endswith(item.suffixes)]
    option = "--from" if reading else "--to"
    if not fitting:
        known = ", ".join(sorted({suffix for item in formats for suffix in item.suffixes}))
        raise ConfigError(f"{path}: the ending says no format ({known}); state it with {option} NAME")
    if reading and (len(fitting) > 1 or not fitting[0].ending_is_enough):
        if any(item.recognises_xml is not None for item in fitting):
            root = read_xml(path)
            return _recognised(path, root, [(i, i.recognises_xml) for i in formats], f" (root <{root.tag}>)")
        if any(item.recognises_json is not None for item in fitting):
            return _recognised(path, read_json(path), [(i, i.recognises_json) for i in formats], "")
        binary = [item for item in fitting if item.recognises_file is not None]
        for item in binary:
            if item.recognises_file is not None and item.recognises_file(path):
                return item
        if binary:
            either = " or ".join(item.name for item in binary)
            raise ConfigError(f"{path}: its content says no format; state it with --from {either}")
    if len(fitting) > 1:
        names = listed(item.name for item in fitting)
        raise ConfigError(f"{path}: the ending may be {names}; state which with {option} NAME")
    return fitting[0]


def _recognised(
    path: Path, content: _Content, asked: Iterable[tuple[Format, Callable[[_Content, Path], bool] | None]], said: str
) -> Format:
    """Ask every format that is XML, or JSON: a file may be of another one than its ending says."""
    able = [(item, recognises) for item, recognises in asked if recognises is not None]
    for item, recognises in able:
        if recognises(content, path):
            return item
    *names, last = (item.name for item, _ in able)
    either = f"{', '.join(names)} or {last}" if names else last
    raise ConfigError(f"{path}: its content says no format{said}; state it with --from {either}")
