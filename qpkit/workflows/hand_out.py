"""A project shared out among readers: a copy for each, some slides in two of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import msgspec
import numpy as np

from qpkit.errors import ConfigError, FormatError
from qpkit.files import AnyPath, new_folder, pretty_json, require_new, safe_names
from qpkit.qupath import open_project
from qpkit.qupath.project.copying import copy_project, drop_backups
from qpkit.qupath.project.edits import set_metadata
from qpkit.settings import FRACTION, Flag, Range, Settings

NAME: Final = "hand-out.json"
READER_KEY: Final = "qpkit reader"
"""Metadata of the images in a reader's project."""

_FORMAT: Final = "qpkit hand-out 1"


def _fraction(text: str) -> float:
    """Read "20%" or "0.2".

    Raises:
        ConfigError: It is no number.
    """
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise ConfigError(f"--overlap {text}: is no fraction; give it as 20% or 0.2") from None


def _readers(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


@dataclass(frozen=True, slots=True, kw_only=True)
class HandOutSettings(Settings):
    """Who reads what.

    Args:
        readers: Names, such as A,B,C.
        overlap: Fraction of the slides that two readers get.
        blind: Slides are called Slide 1, Slide 2 ... in an order of their own.
        empty: Leave out the objects that are there, but TMA cores.
        seed: Of the draw.
    """

    readers: Annotated[tuple[str, ...], Flag(parse=_readers, metavar="A,B")] = ()
    overlap: Annotated[float, FRACTION, Flag(parse=_fraction, shown="20%", metavar="20%")] = 0.2
    blind: bool = False
    empty: bool = False
    seed: Annotated[int, Range(at_least=0)] = 0


class Share(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one reader got.

    Args:
        folder: Of the project, relative to hand-out.json.
        slides: Names of the slides in there.
    """

    folder: str
    slides: list[str]


class HandOut(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was handed out, as hand-out.json says it.

    Args:
        format: Of this file.
        project: The .qpproj file that was shared out.
        readers: By reader's name.
        slides: By the name in the readers' projects the entry id in the project that was shared out.
    """

    format: str
    project: str
    readers: dict[str, Share]
    slides: dict[str, int]


def shared_out(names: Sequence[str], settings: HandOutSettings) -> dict[str, list[str]]:
    """Draw who reads what: each slide goes to one reader, the stated fraction to two; all get as many, to one.

    Raises:
        ConfigError: There are fewer than two readers, or two of one name.
    """
    readers = settings.readers
    if len(readers) < 2 or len(set(readers)) < len(readers):
        raise ConfigError(f"--readers {','.join(readers)}: needs two names or more, each once, such as A,B")
    order = [names[i] for i in np.random.default_rng(settings.seed).permutation(len(names))]
    twice = round(settings.overlap * len(names))
    given: dict[str, list[str]] = {reader: [] for reader in readers}
    for number, name in enumerate(order):
        least = sorted(readers, key=lambda reader: (len(given[reader]), readers.index(reader)))
        for reader in least[: 2 if number < twice else 1]:
            given[reader].append(name)
    return {reader: [name for name in names if name in own] for reader, own in given.items()}


def hand_out(project: AnyPath, out: AnyPath, settings: HandOutSettings) -> HandOut:
    """Make a project for each reader in a new folder, and write down who got what.

    Raises:
        ConfigError: The readers are not named, or entries of the project have the same name.
        ProjectError: An image is not found.
        OutputError: The folder is there already, or cannot be written.
    """
    project, out = open_project(project), Path(out)
    require_new(out)
    names = [entry.name for entry in project.entries]
    if len(set(names)) < len(names):
        raise ConfigError(f"{project.path}: entries have the same name; rename them, or nobody can tell them apart")
    given = shared_out(names, settings)
    shown = _shown(names, settings)
    ids = {entry.name: entry.id for entry in project.entries}
    folders = dict(zip(given, safe_names(list(given)), strict=True))
    made = HandOut(
        format=_FORMAT,
        project=str(project.path.resolve()),
        readers={r: Share(folder=folders[r], slides=[shown[name] for name in own]) for r, own in given.items()},
        slides={shown[name]: ids[name] for name in names},
    )
    with new_folder(out, marker=NAME) as root:
        for reader, own in given.items():
            folder = root / folders[reader]
            folder.mkdir()
            copied = {ids[name]: shown[name] for name in own}
            copy = copy_project(project, folder, copied, place=out.resolve() / folders[reader])
            if settings.empty:
                for entry in copy.entries:
                    cores = [o.kind == "tma_core" for o in entry.objects()]
                    entry.replace_objects(remove={n for n, is_core in enumerate(cores) if not is_core}, add=())
            set_metadata(copy, {entry.id: {READER_KEY: reader} for entry in copy.entries})
            drop_backups(folder)
        (root / NAME).write_bytes(pretty_json(msgspec.to_builtins(made)))
    return made


def _shown(names: Sequence[str], settings: HandOutSettings) -> Mapping[str, str]:
    """What readers see each slide called."""
    if not settings.blind:
        return {name: name for name in names}
    order = np.random.default_rng([settings.seed, 1]).permutation(len(names)).tolist()
    return {names[i]: f"Slide {number}" for number, i in enumerate(order, 1)}


def read_hand_out(folder: Path) -> HandOut:
    """Read what was handed out.

    Raises:
        FormatError: The file is damaged, or is none.
    """
    try:
        found = msgspec.json.decode((folder / NAME).read_bytes(), type=HandOut)
    except (OSError, msgspec.MsgspecError) as err:
        raise FormatError(f"{folder / NAME}: cannot be read ({err})") from err
    if found.format != _FORMAT:
        raise FormatError(f"{folder / NAME}: is {found.format!r}, not {_FORMAT!r}")
    return found
