"""The way from commands to the trainer, which is only there where torch is."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import typer

from qpkit.errors import MissingExtraError


def trainer(module: str) -> ModuleType:
    """Import a module of qpkit_train.

    Raises:
        MissingExtraError: torch or what belongs to it is not installed.
    """
    try:
        return importlib.import_module(f"qpkit_train.{module}")
    except ModuleNotFoundError as err:
        if err.name and err.name.startswith("qpkit"):
            raise
        raise MissingExtraError(f"{err.name} is not installed; pip install 'qpkit[train]'") from err


def start_processes(devices: int) -> bool:
    """Start as many processes of this command as asked for, unless they are; says whether this one speaks for all."""
    processes = trainer("processes")
    if devices > 1 and not processes.is_launched():
        raise typer.Exit(processes.launch(devices, sys.argv[1:]))
    return bool(processes.rank() == 0)


def parameters_line(parameters: dict[str, int]) -> str:
    """Say how many parameters a network has, and how many of them learn."""
    return f"{parameters['all']:,} parameters, {parameters['learning']:,} of them learn"
