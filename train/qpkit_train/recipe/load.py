"""Read a recipe: TOML, overridden with `--set optim.lr=3e-4`. Imports no torch."""

from __future__ import annotations

import copy
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from qpkit.errors import ConfigError, listed, or_else
from qpkit.files import AnyPath
from qpkit.settings import choices_of, words_of
from qpkit_train.recipe.rules import recipe_faults
from qpkit_train.recipe.settings import PLANNED, Recipe

FORMER_NAMES: Final = {"loss": {"ohem_share": "ohem_fraction"}}
"""Settings that were called otherwise before, by section; recipes and runs of then still open."""

_UNKNOWN: Final = "unknown setting "

RECIPES: Final = Path(__file__).parent / "shipped"


def list_recipes() -> list[str]:
    """Name the recipes that come with qpkit, in alphabetical order."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def load_recipe(name_or_path: AnyPath, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply overrides.

    Args:
        name_or_path: One of list_recipes(), or the path of a .toml file.
        overrides: "section.key=value" each; the value is TOML, or plain text if it is not.

    Raises:
        ConfigError: No such recipe, not TOML, or unknown or wrong settings: all of them in one message.
    """
    tables = read_recipe_file(name_or_path)
    faults = [fault for text in words_of(overrides) if (fault := _override(tables, text))]
    return _parse(tables, source=str(_find(name_or_path)), overrides=overrides, faults=faults)


def read_recipe_file(name_or_path: AnyPath) -> dict[str, Any]:
    """Read the tables of a recipe as its file has them, for `load_recipe`.

    Raises:
        ConfigError: No such recipe, or not TOML.
    """
    path = _find(name_or_path)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as err:
        raise ConfigError(f"{path}: not valid TOML: {err}") from err


def recipe_from_builtins(tables: Mapping[str, Any], *, source: str, overrides: Sequence[str] = ()) -> Recipe:
    """Build a recipe from plain tables, as run.json keeps them.

    Args:
        tables: Left as they are.
        source: Named by errors.
        overrides: As in load_recipe.

    Raises:
        ConfigError: Unknown or wrong settings, all in one message that starts with `source`.
    """
    own = copy.deepcopy(dict(tables))
    faults = [fault for text in words_of(overrides) if (fault := _override(own, text))]
    return _parse(own, source=source, overrides=overrides, faults=faults)


def _find(name_or_path: AnyPath) -> Path:
    name_or_path = os.fspath(name_or_path)
    if name_or_path in list_recipes():
        return RECIPES / f"{name_or_path}.toml"
    path = Path(name_or_path)
    if path.is_file():
        return path
    raise ConfigError(f"{name_or_path}: no such recipe or file; {or_else(name_or_path, list_recipes())}")


def _override(tables: dict[str, Any], text: str) -> str | None:
    """Set one value in place; say what is wrong with the text, if anything is."""
    key, equals, value = text.partition("=")
    *sections, last = key.strip().split(".")
    if not equals or not last or not all(sections):
        return f"--set {text!r} is not section.key=value"
    table = tables
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            return f"--set {text!r}: {section} is a value, not a table"
    table[last] = _toml_value(value.strip())
    return None


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except ValueError:  # no TOML, or a number of thousands of digits
        return text


def _with_present_names(tables: Mapping[str, Any]) -> dict[str, Any]:
    """The same tables, settings that had another name before under the one that they have now."""
    found = dict(tables)
    for section, names in FORMER_NAMES.items():
        if isinstance(table := found.get(section), Mapping):
            found[section] = {names.get(key, key): value for key, value in table.items()}
    return found


def _parse(tables: Mapping[str, Any], *, source: str, overrides: Sequence[str], faults: list[str]) -> Recipe:
    tables = _with_present_names(tables)
    faults = [*faults, *_type_faults(tables, Recipe, prefix="")]
    if not faults:
        recipe = _with_what_is_said(msgspec.convert(tables, Recipe), tables)
        faults = list(recipe_faults(recipe))
        if not faults:
            return recipe
    said = {text.partition("=")[0].strip() for text in words_of(overrides)}
    own = [fault for fault in faults if fault.startswith("--set ")]
    own += [f"--set {fault}" for fault in faults if _about(fault) in said]
    others = [fault for fault in faults if fault not in own and _about(fault) not in said]
    raise ConfigError(listed(own + ([f"{source}: {others[0]}", *others[1:]] if others else []), joint="; "))


def _with_what_is_said(recipe: Recipe, tables: Mapping[str, Any]) -> Recipe:
    """The recipe whose plan leaves alone what the tables name."""
    left = [name for name in recipe.plan.decides if name not in PLANNED or not _names(tables, name)]
    return msgspec.structs.replace(recipe, plan=msgspec.structs.replace(recipe.plan, decides=left))


def _names(tables: Any, setting: str) -> bool:
    """Whether tables have a setting, "section.key"."""
    for part in setting.split("."):
        if not isinstance(tables, Mapping) or part not in tables:
            return False
        tables = tables[part]
    return True


def _about(fault: str) -> str:
    """The setting that a fault is about, which it begins with."""
    return fault.removeprefix(_UNKNOWN).partition(" ")[0].rstrip(",")


def _type_faults(tables: Mapping[str, Any], kind: type[msgspec.Struct], prefix: str) -> Iterator[str]:
    """Name every unknown key and every value of a wrong type; msgspec alone stops at the first."""
    fields = _fields(kind)
    for key, value in tables.items():
        if key not in fields:
            yield f"{_UNKNOWN}{prefix}{key}{_meant(key, prefix, fields)}"
        elif isinstance(wanted := fields[key].type, type) and issubclass(wanted, msgspec.Struct):
            if isinstance(value, Mapping):
                yield from _type_faults(value, wanted, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key} = {value!r} has to be a table"
        else:
            try:
                msgspec.convert(value, fields[key].type)
            except msgspec.ValidationError as err:
                choices = listed(choices_of(fields[key].type), most=12)
                why = str(err) if choices == "none" else f"has to be one of {choices}"
                yield f"{prefix}{key} = {repr(value)[:60]}: {why}"
    for name, field in fields.items():
        if field.required and name not in tables:
            yield f"{prefix}{name} is missing"


def _meant(key: str, prefix: str, fields: Mapping[str, Any]) -> str:
    """What a setting may have been meant to be, in its own table or by its name in another."""
    tables = {name: field.type for name, field in _fields(Recipe).items()}
    elsewhere = [f"{name}.{key}" for name, kind in tables.items() if key in _fields(kind)]
    hint = f"did you mean {elsewhere[0]!r}?" if elsewhere and not prefix else or_else(key, fields)
    # A list of all would be long: qpkit recipes --settings has it.
    return f", {hint}" if hint.startswith("did you mean") else ""


def _fields(kind: Any) -> dict[str, Any]:
    is_table = isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    return {field.name: field for field in msgspec.structs.fields(kind)} if is_table else {}
