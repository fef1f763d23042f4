"""A run without what must not be published: names of slides, paths, the machine. Weights and metrics stay."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from qpkit_train.appearance import Appearance
from qpkit_train.run_folder.records import RunFile
from qpkit_train.run_folder.run import Run


def anonymous(run: Run) -> Run:
    """Take out of a run what says on whose slides, where and by which machine it was trained.

    Slides are numbered; notes, which may name slides, go.
    """
    return replace(run, file=anonymous_file(run.file))


def anonymous_file(file: RunFile) -> RunFile:
    """As `anonymous`, for run.json alone."""
    return msgspec.structs.replace(
        file,
        tiles={**file.tiles, "path": ""},
        origins={key: {**value, "folder": ""} for key, value in file.origins.items()},
        appearance=None if file.appearance is None else _numbered(file.appearance),
        process="",
        notes=[],
    )


def _numbered(appearance: Appearance) -> Appearance:
    names = {name: f"slide {number}" for number, name in enumerate(appearance.slides, start=1)}
    return msgspec.structs.replace(
        appearance,
        slides={names[name]: look for name, look in appearance.slides.items()},
        fractions={names[name]: found for name, found in appearance.fractions.items() if name in names},
    )
