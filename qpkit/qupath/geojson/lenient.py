"""JSON as Gson's lenient reader takes it, with which QuPath reads GeoJSON: a superset of JSON.

Read are also: names and texts without quotes or with single ones, NaN and Infinity (texts for Gson, so texts here),
comments (/* */, // and #), "=" or "=>" for ":", ";" for ",", TRUE and Null, line breaks inside texts, and a comma too
many in a list, which makes a null. Slow, so only what is no strict JSON comes here.

Source: the answers of Gson 2.10 to 2.13, the versions in QuPath 0.4 to 0.7, to some hundred texts.
"""

from __future__ import annotations

import re
from typing import Any, Final

_BLANK: Final = re.compile(r"(?:[ \t\r\n]++|/\*.*?\*/|(?://|#)[^\r\n]*+)*+", re.DOTALL)
_TEXT: Final = re.compile(r'"((?:[^"\\]++|\\.)*+)"|' + r"'((?:[^'\\]++|\\.)*+)'", re.DOTALL)
_WORD: Final = re.compile(r"[^/\\;#={}\[\]:, \t\f\r\n]+")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_HALF: Final = re.compile("[\ud800-\udfff]")
_SIGNS: Final = {"t": "\t", "b": "\b", "n": "\n", "r": "\r", "f": "\f"} | {sign: sign for sign in "\n'\"\\/"}
_WORDS: Final = {"true": True, "false": False, "null": None}
_MAX_NESTING: Final = 255
"""As in QuPath 0.6 and later."""


class LenientError(ValueError):
    """The text is no JSON even so; the message says why."""


def skip_blanks(text: str, at: int) -> int:
    """Find the end of the blanks and comments that begin at a position."""
    match = _BLANK.match(text, at)
    return at if match is None else match.end()


def read_value(text: str, at: int = 0, depth: int = 0) -> tuple[Any, int]:
    """Read one value.

    Args:
        text: Without half surrogate pairs.
        at: Where the value begins, or blanks before it.
        depth: How many lists and objects it is in.

    Returns:
        (value, where it ends).

    Raises:
        LenientError: There is none.
    """
    at = skip_blanks(text, at)
    sign = text[at : at + 1]
    if depth > _MAX_NESTING:
        raise LenientError(f"lists and objects nested more than {_MAX_NESTING} deep")
    if sign == "[":
        return read_elements(text, at + 1, depth=depth + 1)
    if sign == "{":
        return _object(text, at + 1, depth + 1)
    if sign in ("'", '"') and sign:
        return _text(text, at)
    match = _WORD.match(text, at)
    if match is None:
        raise LenientError("a value is missing" if sign else "the text ends too early")
    return _plain(match[0]), match.end()


def read_elements(text: str, at: int, *, first: bool = True, depth: int = 1) -> tuple[list[Any], int]:
    """Read elements up to the bracket that closes their list.

    Args:
        text: As for read_value.
        at: Behind the bracket that opens the list, or behind one of its elements.
        first: No element was read before, so no comma is expected.
        depth: How many lists and objects they are in.

    Returns:
        (elements, the position behind the bracket).
    """
    values: list[Any] = []
    while True:
        at = skip_blanks(text, at)
        sign = text[at : at + 1]
        if sign == "]":
            return values, at + 1
        if not sign:
            raise LenientError("the text ends inside a list")
        if not first:
            if sign not in (",", ";"):
                raise LenientError("a comma is missing in a list")
            at = skip_blanks(text, at + 1)
        first = False
        if text[at : at + 1] in (",", ";", "]") and at < len(text):
            values.append(None)
        else:
            value, at = read_value(text, at, depth)
            values.append(value)


def _object(text: str, at: int, depth: int) -> tuple[dict[str, Any], int]:
    values: dict[str, Any] = {}
    at = skip_blanks(text, at)
    if text[at : at + 1] == "}":
        return values, at + 1
    while True:
        name, at = _name(text, skip_blanks(text, at))
        at = skip_blanks(text, at)
        if text[at : at + 1] not in (":", "="):
            raise LenientError("a colon is missing in an object")
        at += 2 if text.startswith("=>", at) else 1
        values[name], at = read_value(text, at, depth)
        at = skip_blanks(text, at)
        sign = text[at : at + 1]
        at += 1
        if sign == "}":
            return values, at
        if sign not in (",", ";") or not sign:
            raise LenientError("a comma is missing in an object" if sign else "the text ends inside an object")


def _name(text: str, at: int) -> tuple[str, int]:
    if text[at : at + 1] in ("'", '"') and at < len(text):
        return _text(text, at)
    match = _WORD.match(text, at)
    if match is None:
        raise LenientError("a name is missing in an object (a comma too many?)")
    return match[0], match.end()


def _text(text: str, at: int) -> tuple[str, int]:
    match = _TEXT.match(text, at)
    if match is None:
        raise LenientError("a text is not closed")
    inner = match[match.lastindex or 1]
    if "\\" in inner:
        inner = _ESCAPE.sub(_unescaped, inner)
        # Two escapes may be one letter; a half one is none.
        inner = _HALF.sub("\ufffd", inner.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    return inner, match.end()


def _unescaped(match: re.Match[str]) -> str:
    if match[1]:
        return chr(int(match[1], 16))
    if match[2] not in _SIGNS:
        raise LenientError(f"\\{match[2]} is no escape sequence")
    return _SIGNS[match[2]]


def _plain(word: str) -> Any:
    """Read what stands without quotes."""
    if word.lower() in _WORDS:
        return _WORDS[word.lower()]
    match = _NUMBER.fullmatch(word)
    if match is None:
        return word
    # Python refuses to read thousands of digits as an integer.
    return int(word) if match[1] is None and match[2] is None and len(word) < 1000 else float(word)
