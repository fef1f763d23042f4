"""A folder that names several runs, whose mean is one model: what a cross-validation leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from qpkit.errors import FormatError
from qpkit.files import pretty_json, replace_file
from qpkit_train.inference.settings import PredictSettings

FILE_NAME: Final = "ensemble.json"
FORMAT: Final = "qpkit ensemble 1"


class _Ensemble(msgspec.Struct, forbid_unknown_fields=True):
    format: str
    runs: list[str]


def write_ensemble(root: Path, runs: Sequence[Path]) -> None:
    """Write ensemble.json into a folder that holds these runs."""
    names = [run.relative_to(root).as_posix() for run in runs]
    replace_file(root / FILE_NAME, pretty_json(_Ensemble(FORMAT, names)))


def with_members(model: Path, settings: PredictSettings) -> tuple[Path, PredictSettings]:
    """Give the first run of an ensemble, and settings that average the others with it; any other model as it is.

    Args:
        model: What `qpkit predict` was given.
        settings: How slides are predicted; further models that it names stay.

    Raises:
        FormatError: ensemble.json is damaged or names no runs.
    """
    file = model / FILE_NAME
    if not file.is_file():
        return model, settings
    try:
        found = msgspec.json.decode(file.read_bytes(), type=_Ensemble)
    except (OSError, msgspec.DecodeError) as err:
        raise FormatError(f"{file}: cannot be read ({err}); name the runs by --with") from err
    if found.format != FORMAT or not found.runs:
        raise FormatError(
            f"{file}: format is {found.format!r} with {len(found.runs)} runs; this qpkit reads {FORMAT!r}"
        )
    first, *others = [model / name for name in found.runs]
    return first, replace(settings, others=(*others, *settings.others))
