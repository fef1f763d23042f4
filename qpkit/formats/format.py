"""What a format is: one value with all that the rest of qpkit knows about it, made in the format's own file."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from qpkit.errors import FormatError
from qpkit.formats.shared.cannot_hold import CannotHold
from qpkit.formats.shared.drawing import Choices, Drawing, ImageFacts
from qpkit.formats.shared.fields import Fields

Reader = Callable[[Path, ImageFacts, Choices], list[Drawing]]
"""(path, what is known about the image, choices) -> one drawing for each image in the file."""

Writer = Callable[[Path, Sequence[Drawing], Choices], Counter[str]]
"""(path, drawings, choices) -> what was lost. Replaces what is there: ask before. One drawing, unless `several`."""


class NothingHeldError(FormatError):
    """A format that has no empty files can hold none of an image's objects; in a folder the image gets no file.

    Args:
        message: For the file alone.
        losses: Why.
    """

    def __init__(self, message: str, losses: Counter[str]) -> None:
        super().__init__(message)
        self.losses = losses


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One way to hold annotations in a file.

    Args:
        name: What --from and --to call it.
        title: What people call it.
        order: Its place in lists, and when it is asked whether a file is one of it; others have other numbers.
        suffixes: Endings of its files, lower case; the first one is written.
        read, write: Its reader and writer.
        cannot_hold: What it cannot hold, and what happens instead.
        recognises_xml: (root, path) -> whether an XML file is one of it; None if it is no XML.
        recognises_json: (decoded content, path) -> whether a JSON file is one of it; None if it is no JSON.
        recognises_file: path -> whether a file is one of it that is neither XML nor JSON; for those that share endings.
        ending_is_enough: Whether an ending that no other format has says the format; else the content is looked at.
        fields: Which fields of a file its reader reads; None where files have no named fields.
        folder: Whether what is called a file here is a folder.
        several: Whether one file holds the objects of many images.
        one_in_folders: Whether each image gets a file of its own in a folder, although `several`.
        needs_centre: Whether it needs to know where the image lies on the glass.
        needs_labels: Whether it needs a label map; where none is given, every class gets a value, in order of names.
        beside: path -> the file that is written beside it, and replaced with it; None if there is none.
        never_replaced: What to do instead of replacing a file of it, in the imperative; None if --overwrite replaces.
        rule: For the documentation: how it holds things. Markdown.
        source: For the documentation: where that is known from. Markdown.
    """

    name: str
    title: str
    order: int
    suffixes: tuple[str, ...]
    read: Reader
    write: Writer
    cannot_hold: CannotHold
    recognises_xml: Callable[[ET.Element, Path], bool] | None = None
    recognises_json: Callable[[object, Path], bool] | None = None
    recognises_file: Callable[[Path], bool] | None = None
    ending_is_enough: bool = True
    fields: Fields | None = None
    folder: bool = False
    several: bool = False
    one_in_folders: bool = False
    needs_centre: bool = False
    needs_labels: bool = False
    beside: Callable[[Path], Path] | None = None
    never_replaced: str | None = None
    rule: str = ""
    source: str = ""
