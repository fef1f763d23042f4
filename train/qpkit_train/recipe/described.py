"""Every setting of a recipe with its type, default, bounds and meaning, as the sections and their parts define them."""

from __future__ import annotations

import functools
import inspect
import json
import textwrap
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from qpkit.settings import bounds_of, choices_of, help_of
from qpkit_train.augment.transforms import transforms
from qpkit_train.losses.terms import loss_terms
from qpkit_train.recipe.load import read_recipe_file
from qpkit_train.recipe.settings import LossTerms, Recipe
from qpkit_train.section import Section

_WIDTH: Final = 110


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting.

    Args:
        section: Its table, "" for those above all tables.
        name: In its table.
        default: As TOML; "required" without one.
        allowed: Bounds or choices in words, "" where the type says it all.
        is_choice: Whether these are the words that there are.
        kind: The type in TOML's words: number, whole number, text, true or false, list, table.
        help: What it means.
    """

    section: str
    name: str
    default: str
    allowed: str
    is_choice: bool
    kind: str
    help: str

    @property
    def key(self) -> str:
        """As `--set` takes it, "optim.lr"."""
        return f"{self.section}.{self.name}" if self.section else self.name


@functools.cache
def recipe_settings() -> tuple[Setting, ...]:
    """List all settings, table by table in the order of a recipe."""
    sections = {f.name: f.type for f in msgspec.structs.fields(Recipe) if _is_section(f.type)}
    found = list(settings_of(Recipe))
    for name, kind in sections.items():
        for part in _parts(name, kind):
            found += settings_of(part, section=name)
    return tuple(found)


def settings_of(kind: type[Section], *, section: str = "") -> Iterator[Setting]:
    """List the settings of a table, or of a part of one; tables below it are left out."""
    helps = help_of(kind)
    for field in msgspec.structs.fields(kind):
        if _is_section(field.type):
            continue
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        yield Setting(
            section=section,
            name=field.name,
            default="required" if default is msgspec.NODEFAULT else toml_value(default),
            allowed=", ".join(map(str, choices_of(field.type))) or str(bounds_of(field.type) or ""),
            is_choice=bool(choices_of(field.type)),
            kind=_kind(field.type),
            help=helps[field.name],
        )


def recipe_text(name_or_path: str) -> str:
    """A recipe as a TOML file to start from: what it sets, and as comments all that it leaves at the default.

    Args:
        name_or_path: As for `load_recipe`; the text reads as the same recipe.

    Raises:
        ConfigError: As for `load_recipe`.
    """
    tables = read_recipe_file(name_or_path)
    lines: list[str] = []
    section = ""
    for setting in recipe_settings():
        if setting.section != section:
            section = setting.section
            lines += [f"[{section}]", ""]
        own: Mapping[str, Any] = tables.get(section, {}) if section else tables
        about = f"{setting.help} ({', '.join(filter(None, (setting.kind, setting.allowed)))})"
        lines += textwrap.wrap(about, _WIDTH, initial_indent="# ", subsequent_indent="# ")
        if setting.name in own:
            lines += [f"{setting.name} = {toml_value(own[setting.name])}", ""]
        elif setting.key in tables.get("plan", {}).get("decides", ()):
            lines += [f"# {setting.name} is worked out from the tiles (plan.decides), unless it is said here.", ""]
        else:
            lines += [f"# {setting.name} = {setting.default}", ""]
    return "\n".join(lines)


def toml_value(value: Any) -> str:
    """A value as one writes it in a recipe."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        parts = (f"{json.dumps(key, ensure_ascii=False)} = {toml_value(part)}" for key, part in value.items())
        return f"{{{', '.join(parts)}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, int | float):
        return repr(value)
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _is_section(kind: Any) -> bool:
    return inspect.isclass(kind) and issubclass(kind, Section)


def _parts(name: str, kind: type[Section]) -> list[type[Section]]:
    """The classes whose docstrings say what the settings of a table mean."""
    if name == "augment":
        return [*transforms()]
    return [LossTerms, *loss_terms().values()] if name == "loss" else [kind]


def _kind(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Annotated:
        return _kind(typing.get_args(hint)[0])
    words = {bool: "true or false", int: "whole number", float: "number", str: "text", list: "list", dict: "table"}
    if typing.get_origin(hint) is typing.Literal:
        return "text"
    parts = [hint] if hint in words or typing.get_origin(hint) in words else typing.get_args(hint)
    return " or ".join(dict.fromkeys(words.get(typing.get_origin(part) or part, "text") for part in parts))
