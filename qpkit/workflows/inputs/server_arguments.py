"""The arguments with which QuPath opens an image, read as its readers read them.

Source: OpenslideServerBuilder, OpenslideImageServer and OpenslideIccImageServer of QuPath 0.7.0 and of 0.8.0-SNAPSHOT
(August 2026), BioFormatsArgs of the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from qpkit.qupath.project.images.server import Server
from qpkit.slides import AS_IN_FILE, EMBEDDED, Colors

_SERIES, _NO_CROP, _CLASS = "--series", "--no-crop", "--classname"
_ICC, _ICC_SOURCE, _ICC_TARGET = "--icc-profile", "--icc-profile-source", "--icc-profile-dest"
_BACKGROUND: Final = "--background-color"
_OTHER_PIXELS: Final = ("--dims",)
"""Bio-Formats takes the dimensions of the file for others."""

_WITHOUT_VALUE: Final = (_NO_CROP, _ICC)
_COLORS: Final = {"white": 0xFFFFFF, "black": 0, "red": 0xFF0000, "green": 0xFF00, "blue": 0xFF}
_HEX: Final = re.compile(r"#?([0-7]?[0-9a-fA-F]{1,7})")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerArguments:
    """What the arguments of an image come to.

    Args:
        series: Number of the image in the file; None if it is not understood.
        to_bounds: Crop to OpenSlide's bounds.
        colors: In which colours QuPath shows the image.
        refused: Arguments that give other pixels in a way that qpkit does not follow.
        unknown: Arguments that may give other pixels, and that qpkit does not know.
        passed_over: Arguments about colours that QuPath does not look at here.
    """

    series: int | None = 0
    to_bounds: bool = True
    colors: Colors = AS_IN_FILE
    refused: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()


def arguments_of(server: Server) -> ServerArguments:
    """Read the arguments of the builder that opens the file.

    Args:
        server: Of an entry; what lies around the innermost builder does not matter.
    """
    inner = server.innermost
    found = ServerArguments()
    profiles: dict[str, str] = {}
    colors: list[str] = []
    for name, value, text in _options(inner.args):
        plain = name.lower()
        if plain == _SERIES:
            found = replace(found, series=int(value) if value.isdecimal() else None)
        elif plain == _NO_CROP:
            found = replace(found, to_bounds=False)
        elif name in (_ICC, _ICC_SOURCE, _ICC_TARGET):
            profiles.setdefault(name, value)
            colors.append(text)
        elif plain == _BACKGROUND and (background := _color(value)) is not None:
            found = replace(found, colors=replace(found.colors, background=background))
            colors.append(text)
        elif plain in _OTHER_PIXELS:
            found = replace(found, refused=(*found.refused, text))
        elif plain != _CLASS:  # which reader, which the entry says beside its arguments
            found = replace(found, unknown=(*found.unknown, text))
    if not _is_openslides(inner):
        return replace(found, colors=AS_IN_FILE, passed_over=tuple(colors))
    if _ICC not in profiles:
        return replace(found, passed_over=tuple(text for text in colors if text.startswith(_ICC)))
    source, target = profiles.get(_ICC_SOURCE, ""), profiles.get(_ICC_TARGET, "")
    return replace(found, colors=replace(found.colors, icc=source or EMBEDDED, target=target))


def _options(args: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Name, value or "", and both as they are said; what belongs to no option is left out."""
    at = 0
    while at < len(args):
        text, at = args[at], at + 1
        name, equals, value = text.partition("=")
        if name.strip().lower() != _BACKGROUND:  # the one that QuPath takes apart
            name, equals, value = text, "", ""
        if not name.startswith("-"):
            continue
        if not equals and name.lower() not in _WITHOUT_VALUE and at < len(args) and not args[at].startswith("-"):
            value, text, at = args[at], f"{text} {args[at]}", at + 1
        yield name.strip(), value.strip(), text


def _is_openslides(server: Server) -> bool:
    """Whether QuPath opens the file with OpenSlide, the one reader that looks at arguments about colours."""
    return server.provider is None or "openslide" in server.provider.lower()


def _color(text: str) -> tuple[int, int, int] | None:
    """A colour as QuPath reads it: a name of five, or hexadecimal digits of which the last six count."""
    digits = _HEX.fullmatch(text)
    number = _COLORS.get(text.lower(), int(digits[1], 16) if digits else None)
    return None if number is None else (number >> 16 & 255, number >> 8 & 255, number & 255)
