"""Read a recipe: TOML, overridden with `--set optim.lr=3e-4`. Imports no torch."""

from __future__ import annotations

import copy
import difflib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from qpkit.errors import ConfigError, did_you_mean
from qpkit_train.recipe.rules import recipe_faults
from qpkit_train.recipe.settings import Recipe

FORMER_NAMES: Final = {"loss": {"ohem_share": "ohem_fraction"}}
"""Settings that were called otherwise before, by section; recipes and runs of then still open."""

RECIPES: Final = Path(__file__).parent / "shipped"


def list_recipes() -> list[str]:
    """Name the recipes that come with qpkit, in alphabetical order."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply overrides.

    Args:
        name_or_path: One of list_recipes(), or the path of a .toml file.
        overrides: "section.key=value" each; the value is TOML, or plain text if it is not.

    Raises:
        ConfigError: No such recipe, not TOML, or unknown or wrong settings: all of them in one message.
    """
    path = _find(name_or_path)
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as err:
        raise ConfigError(f"{path}: not valid TOML: {err}") from err
    faults = [fault for text in overrides if (fault := _override(tables, text))]
    return _parse(tables, source=str(path), faults=faults)


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
    faults = [fault for text in overrides if (fault := _override(own, text))]
    return _parse(own, source=source, faults=faults)


def _find(name_or_path: str) -> Path:
    if name_or_path in list_recipes():
        return RECIPES / f"{name_or_path}.toml"
    path = Path(name_or_path)
    if path.is_file():
        return path
    known = list_recipes()
    hint = did_you_mean(name_or_path, known)
    raise ConfigError(f"{name_or_path}: no such recipe or file; {hint}recipes that come with qpkit: {', '.join(known)}")


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


def _parse(tables: Mapping[str, Any], *, source: str, faults: list[str]) -> Recipe:
    tables = _with_present_names(tables)
    faults = [*faults, *_type_faults(tables, Recipe, prefix="")]
    if not faults:
        recipe = msgspec.convert(tables, Recipe)
        faults = list(recipe_faults(recipe))
        if not faults:
            return recipe
    raise ConfigError(f"{source}: " + "; ".join(faults))


def _type_faults(tables: Mapping[str, Any], kind: type[msgspec.Struct], prefix: str) -> Iterator[str]:
    """Name every unknown key and every value of a wrong type; msgspec alone stops at the first."""
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    for key, value in tables.items():
        if key not in fields:
            close = difflib.get_close_matches(key, fields, n=1)
            hint = f", did you mean {close[0]!r}?" if close else f" (known: {', '.join(fields)})"
            yield f"unknown setting {prefix}{key}{hint}"
        elif isinstance(wanted := fields[key].type, type) and issubclass(wanted, msgspec.Struct):
            if isinstance(value, Mapping):
                yield from _type_faults(value, wanted, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key} = {value!r} has to be a table"
        else:
            try:
                msgspec.convert(value, fields[key].type)
            except msgspec.ValidationError as err:
                yield f"{prefix}{key} = {repr(value)[:60]}: {err}"
    for name, field in fields.items():
        if field.required and name not in tables:
            yield f"{prefix}{name} is missing"
