"""Options made of settings: a command that takes a `Settings` class as a parameter gets an option for each field."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from qpkit.settings import Field, Settings, fields_of

_PLAIN = (bool, int, float, str, Path)


def with_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command whose parameters are settings the signature that typer makes options of.

    Each parameter that is annotated with a class of settings is replaced by its fields; when the command runs, it gets
    the settings again, made of what the user said. What the user did not say has the class's own default.
    """
    hints = typing.get_type_hints(command)
    parameters: list[inspect.Parameter] = []
    settings: dict[str, type[Settings]] = {}
    for parameter in inspect.signature(command).parameters.values():
        kind = hints[parameter.name]
        if isinstance(kind, type) and issubclass(kind, Settings):
            settings[parameter.name] = kind
            parameters += [_parameter(field) for field in fields_of(kind)]
        else:
            parameters.append(parameter.replace(annotation=kind, kind=inspect.Parameter.KEYWORD_ONLY))

    @functools.wraps(command)
    def run(**said: Any) -> Any:
        for name, kind in settings.items():
            said[name] = kind.of(**_said(kind, said))
        return command(**said)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # what typer looks at first
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _parameter(field: Field) -> inspect.Parameter:
    """The parameter that stands for a field; None, or nothing, where there is no default that could be shown."""
    many, single = _kind_of(field)
    default = field.flag.shown or field.default
    if many:
        default = []
    elif single is str and default is not None:
        default = str(default)
    # a plain name keeps typer from adding a --no-NAME to a switch
    names = [field.flag.name] if field.flag.name else [field.option] if single is bool else []
    option = typer.Option(
        default, *names, help=field.help, metavar=field.flag.metavar, show_default=single is not bool or "/" in names[0]
    )
    kind: Any = list[single] if many else single | None  # type: ignore[valid-type] # made at run time
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=option, annotation=kind)


def _kind_of(field: Field) -> tuple[bool, Any]:
    """Whether a field takes several values, and what one of them is on the command line."""
    arguments = typing.get_args(field.kind)
    if field.flag.many:
        return True, str
    if typing.get_origin(field.kind) is tuple and arguments[1:] == (Ellipsis,) and field.flag.parse is None:
        return True, arguments[0] if arguments[0] in _PLAIN else str
    return False, field.kind if field.kind in _PLAIN and field.flag.parse is None else str


def _said(kind: type[Settings], said: dict[str, Any]) -> dict[str, Any]:
    """Take from what was said what belongs to a class of settings; nothing that was not said."""
    values = {field.name: said.pop(field.name) for field in fields_of(kind)}
    # An empty list is what typer gives for an option that may be repeated and was not said.
    return {name: value for name, value in values.items() if value is not None and value != []}
