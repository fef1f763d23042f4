"""Which commands there are: one file each in `qpkit.cli.verbs`, imported when it is called.

So the help of qpkit itself imports no arrays, and a new verb is a new file: `command` in it is the command (or `app`, a
typer app with commands of its own), the docstring of the file, behind "qpkit NAME: ", its line in the list.
"""

from __future__ import annotations

import ast
import functools
import importlib
from pathlib import Path
from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from qpkit.cli.shared.flags import with_options

_FOLDER: Final = Path(__file__).parents[1] / "verbs"

_FIRST: Final = ("init", "run", "export", "import-tiles", "split", "stats", "preview", "train", "train-classifier",
                 "recipes", "report", "predict", "export-model", "import-predictions", "evaluate",
                 "review")  # fmt: skip
"""The loop, in its order; the others follow by name."""


@functools.cache
def verbs() -> dict[str, str]:
    """Every command and what it does, in the order in which they are listed."""
    names = [path.stem.replace("_", "-") for path in _FOLDER.glob("[!_]*.py")]
    ordered = sorted(names, key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name))
    return {name: _line(name) for name in ordered}


def _file(name: str) -> str:
    return name.replace("-", "_")


def _line(name: str) -> str:
    """What the docstring of a command's file says behind its name, without importing it."""
    text = ast.get_docstring(ast.parse((_FOLDER / f"{_file(name)}.py").read_text(encoding="utf-8"))) or ""
    line = " ".join(text.split("\n\n")[0].split()).removeprefix(f"qpkit {name}: ")
    return line[:1].upper() + line[1:]


class VerbGroup(TyperGroup):
    """The commands of `qpkit.cli.verbs`; each is built when it is asked for, only named where they are listed."""

    _is_listing = False

    def list_commands(self, ctx: Any) -> list[str]:  # typer brings a click of its own since 0.20 or so
        """Name the commands."""
        return list(verbs())

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Build a command, or give its line in the list."""
        if cmd_name not in verbs():
            return None
        if self._is_listing:
            return TyperCommand(cmd_name, help=verbs()[cmd_name])
        module = importlib.import_module(f"qpkit.cli.verbs.{_file(cmd_name)}")
        return _built(cmd_name, module)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """List the commands without importing them."""
        self._is_listing = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._is_listing = False


def _built(name: str, module: Any) -> Any:
    if hasattr(module, "app"):
        app: typer.Typer = module.app
    else:
        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        app.command(name)(with_options(module.command))
    command = typer.main.get_command(app)
    command.name = name
    return command
