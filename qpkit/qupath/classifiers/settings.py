"""How a run becomes a pixel classifier of QuPath."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Final

from qpkit.settings import Flag, Range, Settings

_MULTIPLE: Final = 32
"""Encoders halve at most five times."""

_FORBIDDEN: Final = set('<>:"/\\|?*')
"""In names of files, on any system that QuPath runs on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierSettings(Settings):
    """How a run becomes a pixel classifier of QuPath.

    Args:
        name: With --for qupath: what QuPath calls the classifier; the id of the run if left out.
        input_px: With --for qupath: height and width in px of what the network is given at a time, a multiple of 32.
        padding_px: With --for qupath: px of these that QuPath throws away on each side; an eighth of --input-px if
            left out.
        overwrite: With --for: replace a classifier of this name, or a folder of --for huggingface.
    """

    name: str | None = None
    input_px: Annotated[int, Range(at_least=64, at_most=4096)] = 512
    padding_px: Annotated[int | None, Flag(name="--padding"), Range(at_least=0)] = None
    overwrite: bool = False

    @property
    def padding(self) -> int:
        """`padding_px`, or what stands for it."""
        return self.input_px // 8 if self.padding_px is None else self.padding_px

    def faults(self) -> Iterator[str]:
        """Name what does not go together."""
        if self.input_px % _MULTIPLE:
            yield f"--input-px {self.input_px}: has to be a multiple of {_MULTIPLE}"
        if self.padding >= self.input_px // 2:
            yield f"--padding {self.padding}: has to be less than half of --input-px {self.input_px}"
        if self.name is not None and not is_file_name(self.name):
            yield f'--name {self.name!r}: has to be a name for a file: no <>:"/\\|?*, no dot or blank at either end'


def is_file_name(text: str) -> bool:
    """Say whether a text can be the name of a classifier, and so of a file on every system."""
    return (
        text == text.strip(" .") and 0 < len(text) <= 100 and text.isprintable() and not _FORBIDDEN.intersection(text)
    )
