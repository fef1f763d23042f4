"""study.toml as commands: every section is a step, its keys are the options of that verb."""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from qpkit.errors import ConfigError, FormatError, or_else

FILE_NAME: Final = "study.toml"
HEAD: Final = "study"
"""The section that says what the study is made of and where it goes."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A step that a study can have.

    Args:
        verb: Of qpkit.
        arguments: What stands behind it; SOURCE and OUT are those of the study.
        makes: What it makes in OUT; "" where it changes the project.
        marker: A file in that which says that it is whole; "" where it is a file itself.
        again: Option with which it goes on with, or replaces, what is there; "" where it does so by itself.
    """

    verb: str
    arguments: tuple[str, ...]
    makes: str = ""
    marker: str = ""
    again: str = ""

    @property
    def needs(self) -> tuple[str, ...]:
        """What it takes of what others make in OUT."""
        before = self.arguments[: self.arguments.index("-o")] if "-o" in self.arguments else self.arguments
        return tuple(text.removeprefix("OUT/") for text in before if text.startswith("OUT/"))


KINDS: Final = {
    kind.verb: kind
    for kind in (
        Kind("export", ("SOURCE", "-o", "OUT/tiles"), "tiles", "export.json", "--overwrite"),
        Kind("import-tiles", ("SOURCE", "-o", "OUT/tiles"), "tiles", "export.json", "--overwrite"),
        Kind("train", ("OUT/tiles", "-o", "OUT/run"), "run", "run.json", "--resume"),
        Kind("evaluate", ("OUT/run", "SOURCE", "-o", "OUT/evaluation"), "evaluation", "evaluation.json", "--overwrite"),
        Kind("cross-validate", ("OUT/tiles", "SOURCE", "-o", "OUT/folds"), "folds", "scores.csv"),
        Kind(
            "predict", ("OUT/run", "SOURCE", "-o", "OUT/predictions"), "predictions", "predictions.json", "--overwrite"
        ),
        Kind("import-predictions", ("OUT/predictions", "SOURCE")),
        Kind("export-model", ("OUT/run", "-o", "OUT/model.onnx"), "model.onnx"),
    )
}
"""In the order in which they are done, whatever their order in the file."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a study.

    Args:
        kind: Which.
        command: What stands behind "qpkit"; paths as seen from the file's folder.
        made: What it makes; None where it changes the project.
    """

    kind: Kind
    command: tuple[str, ...]
    made: Path | None

    @property
    def is_made(self) -> bool:
        """Whether what it makes is there and whole."""
        if self.made is None:
            return False
        return (self.made / self.kind.marker).is_file() if self.kind.marker else self.made.exists()

    def __str__(self) -> str:
        """As one types it."""
        return f"qpkit {shlex.join(self.command)}"


@dataclass(frozen=True, slots=True)
class Study:
    """A study.toml, read.

    Args:
        file: It.
        source: Project or folder that it is made of.
        out: Folder of everything that is made.
        steps: In their order.
    """

    file: Path
    source: Path
    out: Path
    steps: tuple[Step, ...]


def read_study(file: Path, options_of: Callable[[str], Mapping[str, Sequence[str]]]) -> Study:
    """Read a study.toml.

    Args:
        file: It, or the folder that it is in.
        options_of: Gives of a verb the names of its options without dashes, each with how it is said: ("--mpp",) with
            a value, ("--only-tissue", "--everything") for a switch and its opposite, ("--find-lr", "") for one without.

    Raises:
        FormatError: It is not there, or no TOML.
        ConfigError: A section is no step, a key no option, or SOURCE or OUT is not said.
    """
    place = file / FILE_NAME if file.is_dir() else file
    try:
        content = tomllib.loads(place.read_text(encoding="utf-8"))
    except OSError as err:
        raise FormatError(
            f"{place}: cannot be read ({err.strerror or err}); make one with: qpkit init PROJECT"
        ) from err
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise FormatError(f"{place}: no TOML ({err})") from err
    head = content.pop(HEAD, {})
    if (
        not isinstance(head, dict)
        or set(head) != {"source", "out"}
        or not all(isinstance(v, str) for v in head.values())
    ):
        raise ConfigError(
            f'{place}: [study] has to say source = "PROJECT or FOLDER" and out = "FOLDER", and nothing else'
        )
    for name in content:
        if name not in KINDS:
            raise ConfigError(f"{place}: [{name}] is no step of a study; {or_else(name, list(KINDS))}")
    steps = []
    for kind in KINDS.values():
        if kind.verb not in content:
            continue
        section = content[kind.verb]
        if not isinstance(section, dict):
            raise ConfigError(f"{place}: {kind.verb} has to be a section, [{kind.verb}]")
        options = _options(f"{place}: [{kind.verb}]", section, options_of(kind.verb))
        arguments = [text.replace("SOURCE", head["source"]).replace("OUT", head["out"]) for text in kind.arguments]
        made = place.parent / head["out"] / kind.makes if kind.makes else None
        steps.append(Step(kind, (kind.verb, *arguments, *options), made))
    if not steps:
        raise ConfigError(f"{place}: has no step; {or_else('', list(KINDS))}")
    source, out = (place.parent / head[key] for key in ("source", "out"))
    return Study(place, source, out, tuple(steps))


def _options(where: str, section: Mapping[str, Any], known: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """The options of a section, as the command line has them."""
    for key, value in section.items():
        if key not in known:
            raise ConfigError(f"{where} {key}: no such option; {or_else(key, sorted(known))}")
        names = known[key]
        is_switch = len(names) == 2
        if is_switch != isinstance(value, bool):
            raise ConfigError(f"{where} {key} = {value!r}: has to be {'true or false' if is_switch else 'a value'}")
        if is_switch:
            said = names[0] if value else names[1]
            yield from [said] if said else []
            continue
        for each in value if isinstance(value, list) else [value]:
            if not isinstance(each, str | int | float):
                raise ConfigError(f"{where} {key} = {each!r}: has to be text, a number, or a list of them")
            yield names[0]
            yield str(each)
