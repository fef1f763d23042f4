"""Rewrite the tables in README.md and docs/*.md that are made from the code: what stands between <!-- NAME --> and
<!-- /NAME -->.

python docs/make_tables.py            rewrites them in place
python docs/make_tables.py --check    only says which are out of date (exit code 1)
"""

from __future__ import annotations

import argparse
import functools
import importlib
import inspect
import re
import sys
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import typer

import qpkit
from qpkit.cli import app
from qpkit.cli.shared.verbs import verbs
from qpkit.formats.tables import markdown_table
from qpkit.settings import Field, Range, Settings, fields_of
from qpkit.workflows.convert.formats import formats_markdown, idle_markdown, rules_markdown
from qpkit_train.augment.transforms import transforms
from qpkit_train.losses.terms import loss_terms
from qpkit_train.models.foundation import FOUNDATIONS
from qpkit_train.recipe.described import settings_of as settings_of_section
from qpkit_train.recipe.described import toml_value
from qpkit_train.recipe.load import list_recipes, load_recipe
from qpkit_train.recipe.settings import LossTerms, Recipe
from qpkit_train.section import Section

PAGES: Final = Path(__file__).parent

_PYTHON: Final = "in Python"


def pages() -> list[Path]:
    """The pages that may hold tables."""
    return [PAGES.parent / "README.md", *sorted(PAGES.glob("*.md"))]


def verbs_markdown(page: str) -> str:
    """Table of the commands, each with a link to its section of docs/cli.md.

    Args:
        page: How that page is reached; "" from itself.
    """
    return markdown_table(
        ("command", "does"),
        [(f"[`qpkit {name}`]({page}#qpkit-{name})", _plain(line)) for name, line in verbs().items()],
    )


def options_markdown(verb: str) -> str:
    """Table of the arguments and options of a command; of each of its commands, if it has some."""
    group: Any = typer.main.get_command(app)
    command = group.get_command(None, verb)
    if hasattr(command, "commands"):
        parts = [f"`qpkit {verb} {name}`\n\n{_options_of(below, {})}" for name, below in command.commands.items()]
        return "\n\n".join(parts)
    return _options_of(command, settings_of(verb))


def settings_of(verb: str) -> dict[str, tuple[str, Field]]:
    """What the settings of a command say of each option, and how Python calls it, by name of the parameter."""
    module = importlib.import_module(f"qpkit.cli.verbs.{verb.replace('-', '_')}")
    kinds = {
        name: kind
        for name, kind in typing.get_type_hints(module.command).items()
        if inspect.isclass(kind) and issubclass(kind, Settings)
    }
    return {field.name: (f"{name}.{field.name}", field) for name, kind in kinds.items() for field in fields_of(kind)}


def _options_of(command: Any, settings: Mapping[str, tuple[str, Field]]) -> str:
    rows = []
    for parameter in command.params:
        if "completion" in parameter.name:  # of the shell
            continue
        said, field = settings.get(parameter.name, ("", None))
        rows.append(
            (
                _option(parameter),
                _default(parameter),
                _bounds(field.range, () if field.flag.parse else field.choices) if field else _limits(parameter),
                _plain(parameter.help or ""),
                f"`{said}`" if said else "",
            )
        )
    columns = ("option", "default", "allowed values", "what it does", _PYTHON)
    return _without_empty(columns, rows)


def _option(parameter: Any) -> str:
    """ "`-o`, `--out FILE`", or the name of an argument."""
    if parameter.param_type_name == "argument":
        return _code(parameter.metavar or parameter.name.upper())
    names = sorted(parameter.opts, key=len)
    values = f" {parameter.metavar}" if parameter.metavar else ""
    shown = [*names[:-1], names[-1] + values, *parameter.secondary_opts]
    return ", ".join(map(_code, shown))


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    value = parameter.default
    if parameter.secondary_opts and value is not None:
        return _code((parameter.opts if value else parameter.secondary_opts)[0])
    if isinstance(value, bool):
        return "on" if value else "off"
    return "" if value is None or value in ("", []) else _code(f"{value:g}" if _is_number(value) else value)


def _limits(parameter: Any) -> str:
    """Bounds of an option that is no setting, which typer knows."""
    least, most = (
        getattr(parameter, end, None) if hasattr(parameter, end) else getattr(parameter.type, end, None)
        for end in ("min", "max")
    )
    return "" if least is None else _bounds(Range(at_least=least, at_most=most), ())


def names_markdown() -> str:
    """Every public name of qpkit by itself: how it is called, and its docstring."""
    return "\n\n".join(_name(name) for name in sorted(qpkit.__all__, key=str.lower) if not name.startswith("_"))


def _name(name: str) -> str:
    value = getattr(qpkit, name)
    parts = [f"### {name}"]
    if inspect.isclass(value) and issubclass(value, Settings | Section):
        where = "[training.md](training.md#all-settings)" if issubclass(value, Section) else "[cli.md](cli.md)"
        return "\n\n".join([*parts, _sections(value), f"Its fields: {where}."])
    if not (inspect.isclass(value) and issubclass(value, Exception)):
        parts.append(f"```python\n{_call(name, value)}\n```")
    parts.append(_sections(value))
    if inspect.isclass(value):
        members = [(n, getattr(value, n)) for n in vars(value) if not n.startswith("_")]
        shown = [(n, m) for n, m in members if (inspect.isroutine(m) or isinstance(m, property)) and inspect.getdoc(m)]
        parts += ["\n".join(f"- `{_member(n, m)}`: {_first_line(m)}." for n, m in shown)] if shown else []
    return "\n\n".join(parts)


def _member(name: str, value: object) -> str:
    return name if isinstance(value, property) else name + "()"


def _call(name: str, value: Callable[..., object]) -> str:
    """How a name is called; on several lines if one is too long."""
    signature = inspect.signature(value)
    parts = [_parameter(part) for part in signature.parameters.values()]
    kinds = [part.kind for part in signature.parameters.values()]
    if inspect.Parameter.KEYWORD_ONLY in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
        parts.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    gives = "" if inspect.isclass(value) else f" -> {signature.return_annotation}"
    line = f"{name}({', '.join(parts)}){gives}"
    if len(line) <= 100:
        return line
    return f"{name}(\n" + "".join(f"    {part},\n" for part in parts) + f"){gives}"


def _parameter(part: inspect.Parameter) -> str:
    kind = "" if part.annotation is part.empty else f": {part.annotation}"
    value: Any = part.default
    if callable(value) and value is not part.empty:
        shown = value.__name__
    elif isinstance(value, Settings):
        shown = f"{type(value).__name__}()"
    else:
        shown = repr(value)
    stars = {part.VAR_POSITIONAL: "*", part.VAR_KEYWORD: "**"}.get(part.kind, "")
    return stars + part.name + kind + ("" if part.default is part.empty else f" = {shown}")


def _sections(value: object) -> str:
    """A docstring with its arguments, result and errors as lists."""
    out: list[str] = []
    section = ""
    for line in (inspect.getdoc(value) or "").splitlines():
        if line in ("Args:", "Returns:", "Yields:", "Raises:"):
            section = line
            out += [f"**{line[:-1]}**", ""]
        elif section in ("Args:", "Raises:") and re.match(r"    \S+: ", line):
            item, _, text = line.strip().partition(": ")
            out.append(f"- `{item}`: {_plain(text)}")
        elif section in ("Args:", "Raises:") and line.startswith("     "):
            out.append(f"  {_plain(line.strip())}")
        else:
            section = section if not line or line.startswith(" ") else ""
            out.append(_plain(line.strip()))
    return "\n".join(out)


def recipes_markdown() -> str:
    """Table of the recipes that come with qpkit."""
    recipes = [load_recipe(name) for name in list_recipes()]
    rows = [(f"`{r.name}`", _plain(r.purpose), _plain(r.source), _network(r)) for r in recipes]
    return markdown_table(("recipe", "purpose", "source of its settings", "network"), rows)


def _network(recipe: Recipe) -> str:
    model = recipe.model
    return model.architecture + ("" if model.encoder == "none" else f", {model.encoder}")


def transformers_markdown() -> str:
    """Table of the published vision transformers: how to take them, and what their licences allow."""
    rows = [
        (
            known.name,
            f"`{known.encoder}`",
            f"`{toml_value(known.vit)}`" if known.vit else "",
            "by name" if known.weights == "timm" else f"`{known.weights}`",
            f"{known.millions:,.0f} M",
            known.access,
            known.licence,
            known.forbids,
        )
        for known in FOUNDATIONS
    ]
    heads = ("name", "`model.encoder`", "`model.options.vit`", "`model.encoder_weights`", "parameters", "access")
    return markdown_table((*heads, "licence", "forbids"), rows)


def augmentations_markdown() -> str:
    """Table of the settings of [augment], by augmentation."""
    return _registered(("augmentation", *_SETTING), [(_first_line(kind), kind) for kind in transforms()])


def loss_terms_markdown() -> str:
    """Table of the terms of a loss and their settings."""
    rows = []
    for name, kind in loss_terms().items():
        own = [f"`loss.{field}` ({default}; {bounds})" for field, default, bounds, _ in _settings(kind)]
        rows.append((f"`{name}`", _plain(_first_line(kind)), ", ".join(own)))
    return markdown_table(("term", "what it is", "settings (default; allowed values)"), rows)


def section_markdown(section: str) -> str:
    """Table of the settings of one section of a recipe; "" for those without a section."""
    if section == "loss":
        parts: list[type[Section]] = [LossTerms, *loss_terms().values()]
        return _table(row for part in parts for row in _settings(part))
    kind = next((field.type for field in msgspec.structs.fields(Recipe) if field.name == section), Recipe)
    return _table(_settings(kind))


_SETTING: Final = ("setting", "default", "allowed values", "what it does")

Row = tuple[str, str, str, str]


def _table(rows: Iterable[Row]) -> str:
    return markdown_table(_SETTING, [(f"`{name}`", *rest) for name, *rest in rows])


def _registered(columns: Sequence[str], kinds: Iterable[tuple[str, type[Section]]]) -> str:
    """Table of the settings of several classes, the name of each class only once."""
    rows = []
    for title, kind in kinds:
        for number, (name, *rest) in enumerate(_settings(kind)):
            rows.append(("" if number else _plain(title), f"`{name}`", *rest))
    return markdown_table(columns, rows)


def _settings(kind: type[Section]) -> Iterator[Row]:
    """Name, default, bounds and help of each setting; tables below a table are left out."""
    for setting in settings_of_section(kind):
        choices = setting.allowed.split(", ") if setting.is_choice else ()
        default = setting.default if setting.default == "required" else _code(setting.default)
        yield setting.name, default, ", ".join(map(_code, choices)) or setting.allowed, _plain(setting.help)


def _bounds(bounds: Range | None, choices: Sequence[object]) -> str:
    if choices:
        return ", ".join(_code(choice) for choice in choices)
    return "" if bounds is None else str(bounds)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _first_line(kind: object) -> str:
    return (inspect.getdoc(kind) or "").split("\n\n")[0].replace("\n", " ").removesuffix(".")


def _code(text: object) -> str:
    """Text between backticks, as it may stand in a cell."""
    return f"`{text}`".replace("|", r"\|")


def _plain(text: str) -> str:
    """Text of which nothing is markup, outside of backticks."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([*|\\])", r"\\\1", part).replace("<", "&lt;") for part in parts[::2]]
    return "`".join(parts)


def _without_empty(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table without the columns in which nothing stands."""
    kept = [number for number in range(len(columns)) if any(row[number] for row in rows)]
    return markdown_table([columns[n] for n in kept], [[row[n] for n in kept] for row in rows])


TABLES: Final[Mapping[str, Callable[[], str]]] = {
    "formats": formats_markdown,
    "format rules": rules_markdown,
    "idle fields": idle_markdown,
    "commands": functools.partial(verbs_markdown, "docs/cli.md"),
    "commands of this page": functools.partial(verbs_markdown, ""),
    **{f"options of {verb}": functools.partial(options_markdown, verb) for verb in verbs()},
    "public names": names_markdown,
    "recipes": recipes_markdown,
    "published transformers": transformers_markdown,
    "augmentations": augmentations_markdown,
    "loss terms": loss_terms_markdown,
    "settings of a recipe": functools.partial(section_markdown, ""),
    **{
        f"settings of {section}": functools.partial(section_markdown, section)
        for section in ("model", "data", "sampler", "loss", "optim", "semi", "prompts", "plan", "early_stopping")
    },
}
"""What stands between the marks of that name; [augment] is the table of augmentations."""

BLOCK: Final = re.compile(r"<!-- (?P<name>[^/>][^>]*) -->\n(?P<made>.*?)\n<!-- /(?P=name) -->", re.DOTALL)


def rewritten(text: str) -> str:
    """Make the tables of a page anew; marks of other names stay as they are."""

    def block(found: re.Match[str]) -> str:
        name = found["name"]
        return f"<!-- {name} -->\n{TABLES[name]()}\n<!-- /{name} -->" if name in TABLES else found[0]

    return BLOCK.sub(block, text)


def stale_pages() -> dict[Path, str]:
    """List the pages whose tables are not those of the code, with the text that they should have.

    Raises:
        ValueError: A table stands on no page.
    """
    texts = {path: path.read_text(encoding="utf-8") for path in pages()}
    missing = set(TABLES) - {found["name"] for text in texts.values() for found in BLOCK.finditer(text)}
    if missing:
        raise ValueError(f"no page in {PAGES} has the marks of {', '.join(sorted(missing))}")
    made = {path: rewritten(text) for path, text in texts.items()}
    return {path: text for path, text in made.items() if text != texts[path]}


def main() -> int:
    """Rewrite or check; the exit code is 1 if something is out of date and was only checked."""
    parser = argparse.ArgumentParser(description="Make the tables in README.md and docs/*.md from the code.")
    parser.add_argument("--check", action="store_true", help="only say which pages are out of date")
    check = parser.parse_args().check
    stale = stale_pages()
    for path, text in stale.items():
        sys.stderr.write(f"{path.name}: {'out of date' if check else 'rewritten'}\n")
        if not check:
            path.write_text(text, encoding="utf-8")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
