"""A study.toml and the verbs: which options its sections may have, and its steps, one process each."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from qpkit.cli.shared.console import say
from qpkit.cli.shared.verbs import VerbGroup
from qpkit.errors import OutputError, listed
from qpkit.files import pretty_json, replace_file
from qpkit.workflows.inputs.paths import expanded
from qpkit.workflows.study.source import changed, state_of, with_own_changes
from qpkit.workflows.study.steps import Study, read_study

_Record = TypeVar("_Record")

RECORD_NAME: Final = "study.json"
"""In the folder of what a study makes: the commands that are finished."""

SOURCE_NAME: Final = "source.json"
"""Beside it: how the source was when tiles were made of it."""

TILES: Final = "tiles"
"""What the first step makes: a study sees the source as it was then."""

_PARTLY: Final = 2
"""Exit code of work that is only partly done."""

_NOT_IN_A_FILE: Final = frozenset({"out", "overwrite", "resume", "dry-run", "json", "help", "shard", "undo"})
"""Options of verbs that a study does not say: it knows them, or they make another command of it."""


def study_of(file: Path) -> Study:
    """Read a study.toml; its keys are the options of the verbs that are its sections."""
    return read_study(file, _options_of)


def _options_of(verb: str) -> Mapping[str, Sequence[str]]:
    command: Any = VerbGroup().get_command(None, verb)
    found: dict[str, Sequence[str]] = {}
    for parameter in command.params:
        name = next((text for text in parameter.opts if text.startswith("--")), "").removeprefix("--")
        if not name or name in _NOT_IN_A_FILE:
            continue
        opposite = parameter.secondary_opts[0] if parameter.secondary_opts else ""
        found[name] = (f"--{name}", opposite) if getattr(parameter, "is_flag", False) else (f"--{name}",)
    return found


def run_study(study: Study) -> int:
    """Do the steps of a study that are not done, each in a process of its own; gives the exit code.

    A step is done if the same command has ended well, what it made is there, and nothing that it needs is made anew.

    Raises:
        ProjectError: Tiles are to be made, and there is no source.
        OutputError: The folder of the study cannot be written, or its record is damaged.
    """
    record = study.out / RECORD_NAME
    done = _done(study, _read(record, dict[str, tuple[str, ...]]))
    if any(step.kind.makes == TILES and step.kind.verb not in done for step in study.steps):
        expanded([study.source])  # before anything is made, for its error
    try:
        study.out.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise OutputError(f"{study.out}: cannot be made ({err.strerror or err})") from err
    made_of = _read(study.out / SOURCE_NAME, dict[str, str])
    if made_of and any(step.kind.makes == TILES and step.kind.verb in done for step in study.steps):
        _note_changes(made_of, state_of(study.source, out=study.out))
    is_partial = False
    for number, step in enumerate(study.steps, start=1):
        said = f"step {number} of {len(study.steps)}: {step}"
        if step.kind.verb in done:
            say(f"{said} (done before)")
            continue
        say(said)
        replace_file(record, pretty_json(done))
        again = [step.kind.again] if step.kind.again and step.made is not None and step.made.exists() else []
        command = [sys.executable, "-m", "qpkit", *step.command, *again]
        sees_source = step.made is None or step.kind.makes == TILES
        before = state_of(study.source, out=study.out) if sees_source else {}
        code = subprocess.run(command, cwd=study.file.parent, check=False).returncode
        is_partial = is_partial or code == _PARTLY
        is_wrong = bool(code) and not (code == _PARTLY and step.is_made)
        if step.made is None:
            made_of = with_own_changes(made_of, before, state_of(study.source, out=study.out))
        elif step.kind.makes == TILES and not is_wrong:
            made_of = before
        if sees_source:
            replace_file(study.out / SOURCE_NAME, pretty_json(made_of))
        if is_wrong:
            say(f"qpkit {step.kind.verb} did not end well; once that is mended, the same command goes on here")
            return code
        done[step.kind.verb] = step.command
        replace_file(record, pretty_json(done))
    return _PARTLY if is_partial else 0


def _done(study: Study, ended: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """The steps that need not be done again."""
    done: dict[str, tuple[str, ...]] = {}
    anew: set[str] = set()
    for step in study.steps:
        is_there = step.made is None or step.is_made
        if ended.get(step.kind.verb) == step.command and is_there and not anew & set(step.kind.needs):
            done[step.kind.verb] = step.command
        else:
            anew.add(step.kind.makes)
    return done


def _note_changes(made_of: Mapping[str, str], now: Mapping[str, str]) -> None:
    if news := changed(made_of, now):
        say(
            f"note: saved, added or taken out since the tiles of this study were made: {listed(news)}; the tiles are "
            "those of before (for the next round choose another out)"
        )


def _read(record: Path, kind: type[_Record]) -> _Record:
    """A record of an earlier run, empty if there was none."""
    try:
        return msgspec.json.decode(record.read_bytes(), type=kind)
    except FileNotFoundError:
        return kind()
    except (OSError, msgspec.DecodeError) as err:
        raise OutputError(f"{record}: cannot be read ({err}); remove it, and all steps are done again") from err
