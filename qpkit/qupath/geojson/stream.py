"""Cut JSON text into pieces that are whole, and decode them: GeoJSON of any size in bounded memory.

Knows arrays, strings and braces, and that the large array of a FeatureCollection is called "features"; does not
know what a feature is. Only a single value has to fit into memory, and it may not be larger than MAX_VALUE_BYTES.

What is no strict JSON is read as `lenient` reads it, as QuPath does; then what is left of the list has to fit, too.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson

from qpkit.errors import FormatError
from qpkit.qupath.geojson.cut import cut_objects
from qpkit.qupath.geojson.lenient import LenientError, read_elements, read_value
from qpkit.qupath.geojson.source import Document

MAX_VALUE_BYTES: Final = 1 << 26
"""Of one feature, or of the rest around the features. Some 3 million vertices, which take 1 GB when decoded."""

Place = Literal["features", "array", "document", "wrapper"]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Decoded values that stood one after the other.

    Args:
        values: As Python's json gives them.
        place: Elements of a FeatureCollection's "features", elements of an array that is the document, the document
            itself (no value if it is empty), or the object around the features, which comes last and has an empty
            list for them.
        size: Bytes of text.
        is_utf8: False if there are bytes that are no UTF-8. They are read as Windows-1252, in which old programs
            write; QuPath 0.4 and later show a replacement character for each.
    """

    values: list[Any]
    place: Place
    size: int
    is_utf8: bool = True


_BLANK: Final = b" \t\r\n"
# Possessive (++): a long string that does not end in this text is given up without backtracking.
_TOKEN: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"|["\[\]{}]', re.DOTALL)
_COMMENTS: Final = re.compile(rb"(?:[ \t\r\n]++|/\*.*?\*/|(?://|#)[^\r\n]*+[\r\n])*+", re.DOTALL)
_LAST_COMMENT: Final = re.compile(rb"(?://|#)[^\r\n]*+\Z")
_PREFIX: Final = b")]}'\n"
"""What Gson skips at the start of a text; some servers write it."""
_SURROGATE: Final = re.compile(
    r"(\\[^u]|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|\\u[dD][89a-fA-F].{2}"
)
_ARRAY_BEGINS: Final = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*(\[|$|[^\[])")


def read_batches(document: Document, *, many: bool = False) -> Iterator[Chunk]:
    """Decode a document piece by piece.

    NaN and Infinity, as QuPath 0.2 writes them, come as the texts that they are for QuPath; of equal keys the last one
    counts.

    Args:
        document: Its chunks are used up.
        many: Take one JSON text after the other (newline-delimited GeoJSON), which QuPath refuses.

    Raises:
        FormatError: Not JSON (nor what `lenient` reads), more than one text in it, or a value that is too large.
    """
    text = _Text(document)
    first = text.start()
    if not first:
        yield Chunk([], "document", 0)
    while first:
        if first == b"[":
            text.take(1)
            yield from _elements(text, "array")
        else:
            yield from _object_or_value(text)
        first = text.start()
        if first and not many:
            raise FormatError(f"{document.name}: more than one JSON text; wrap the features into a FeatureCollection")


class _Text:
    """The unread text of a document; `rest` grows on demand, up to the largest value."""

    def __init__(self, document: Document) -> None:
        self.name = document.name
        self.rest = b""
        self.values = 0
        self._chunks = document.chunks

    def grow(self) -> bool:
        """Append as much as there is already, at least a chunk; False at the end."""
        if len(self.rest) > MAX_VALUE_BYTES:
            raise FormatError(f"{self.name}: {self.after()}: a single value of more than {MAX_VALUE_BYTES >> 20} MB")
        pieces, size = [self.rest], 0
        for chunk in self._chunks:
            pieces.append(chunk)
            size += len(chunk)
            # Twice as much each time: a value of n bytes costs some n copied bytes, not n^2.
            if size >= len(self.rest):
                break
        self.rest = b"".join(pieces)
        return size > 0

    def start(self) -> bytes:
        """Skip what may stand before or behind a JSON text, and show the next byte; nothing at the end."""
        first = self.peek()
        if first == _PREFIX[:1] and self.rest.startswith(_PREFIX):
            self.take(len(_PREFIX))
            first = self.peek()
        while first in (b"/", b"#") and first:
            match = _COMMENTS.match(self.rest)
            found = self.rest if match is None else self.rest[match.end() :]
            if len(found) < len(self.rest):
                self.rest = found
            elif not self.grow():
                self.rest = _LAST_COMMENT.sub(b"", self.rest)
                return self.peek()
            first = self.peek()
        return first

    def peek(self) -> bytes:
        """Skip blanks and show the next byte; nothing at the end."""
        while not (found := self.rest.lstrip(_BLANK)):
            self.rest = b""
            if not self.grow():
                return b""
        self.rest = found
        return found[:1]

    def take(self, count: int) -> bytes:
        """Remove bytes from the front."""
        taken, self.rest = self.rest[:count], self.rest[count:]
        return taken

    def elements(self, place: Place, first: bool) -> Chunk:
        """Read leniently to the end of a list, and pass its closing bracket."""
        chunk = self._read_leniently(place, lambda content: read_elements(content, 0, first=first))
        self.values += len(chunk.values)
        return chunk

    def value(self, place: Place) -> Chunk:
        """Read one value leniently."""

        def read(content: str) -> tuple[list[Any], int]:
            value, end = read_value(content)
            return [value], end

        return self._read_leniently(place, read)

    def _read_leniently(self, place: Place, read: Callable[[str], tuple[list[Any], int]]) -> Chunk:
        while len(self.rest) <= MAX_VALUE_BYTES and self.grow():
            pass
        if len(self.rest) > MAX_VALUE_BYTES:
            reason = f"no strict JSON, and of other JSON at most {MAX_VALUE_BYTES >> 20} MB can be read"
            raise FormatError(f"{self.name}: {self.after()}: {reason}")
        content, size = _unicode(self.rest), len(self.rest)
        try:
            values, end = read(content)
        except LenientError as err:
            raise FormatError(f"{self.name}: {self.after()}: not JSON ({err})") from err
        except RecursionError as err:
            raise FormatError(f"{self.name}: {self.after()}: not JSON (nested too deeply)") from err
        is_utf8 = _is_utf8(self.rest)
        self.rest = content[end:].encode()
        return Chunk(values, place, size - len(self.rest), is_utf8)

    def after(self) -> str:
        return f"after feature {self.values - 1}" if self.values else "at the start"


def _decode(piece: bytes) -> tuple[Any, bool]:
    """Decode whole values.

    Returns:
        (value, is_utf8).

    Raises:
        ValueError, RecursionError: Neither JSON nor, taken alone, lenient JSON.
    """
    try:
        return orjson.loads(piece), True
    except orjson.JSONDecodeError:
        pass
    # orjson refuses NaN, Infinity, line breaks in texts, halves of surrogate pairs and numbers beyond all doubles.
    content, is_utf8 = _unicode(piece), _is_utf8(piece)
    with contextlib.suppress(ValueError):
        whole = _SURROGATE.sub(lambda match: match[1] or "\\ufffd", content)
        return json.loads(whole, parse_constant=str, strict=False), is_utf8
    value, end = read_value(content)
    if content[end:].strip(" \t\r\n"):
        raise LenientError("more than one value")
    return value, is_utf8


def _unicode(content: bytes) -> str:
    return content.decode("utf-8", "qpkit-windows-1252")


def _windows_1252(err: UnicodeError) -> tuple[str, int]:
    assert isinstance(err, UnicodeDecodeError)
    wrong = err.object[err.start : err.end]
    # Five bytes have no letter in Windows-1252.
    return "".join(bytes([code]).decode("cp1252", "replace") for code in wrong), err.end


codecs.register_error("qpkit-windows-1252", _windows_1252)


def _is_utf8(piece: bytes) -> bool:
    try:
        piece.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _object_or_value(text: _Text) -> Iterator[Chunk]:
    """Read an object around features, or any other value at once."""
    found = _find_features(text, 0)
    # What cannot be decoded up to here has perhaps these words in a comment.
    if not found.is_array or not _is_json(text.rest[: found.position] + b"]}"):
        yield _one(text, found.position, "document")
        return
    head = text.take(found.position)
    yield from _elements(text, "features")
    tail = _find_features(text, 1)
    if tail.is_array:
        raise FormatError(f"{text.name}: {text.after()}: a second list of features in the same collection")
    # The head ends in the bracket that opens the list: so the list is empty here.
    text.rest = head + b"]" + text.rest
    yield _one(text, len(head) + 1 + tail.position, "wrapper")


def _one(text: _Text, size: int, place: Place) -> Chunk:
    """Decode the value that has so many bytes if it is strict JSON."""
    try:
        value, is_utf8 = _decode(text.rest[:size])
    except (ValueError, RecursionError):
        return text.value(place)
    text.take(size)
    return Chunk([value], place, size, is_utf8)


def _is_json(piece: bytes) -> bool:
    try:
        _decode(piece)
    except (ValueError, RecursionError):
        return False
    return True


@dataclass(frozen=True, slots=True)
class _Found:
    position: int
    is_array: bool


def _find_features(text: _Text, depth: int) -> _Found:
    """Find where the array "features" of the object begins, or where the value ends (at the latest at the end)."""
    while True:
        found = _walk(text.rest, depth)
        if found is not None:
            return found
        if not text.grow():
            return _Found(len(text.rest), False)


def _walk(text: bytes, depth: int) -> _Found | None:
    for token in _TOKEN.finditer(text):
        sign = token[0]
        if sign in (b"{", b"["):
            depth += 1
        elif sign in (b"}", b"]"):
            depth -= 1
            if depth <= 0:
                return _Found(token.end(), False)
        elif sign == b'"':  # a string that does not end in this text
            return None
        elif sign == b'"features"' and depth == 1:
            begins = _ARRAY_BEGINS.match(text, token.end())
            if begins is None or not begins[1]:
                # Not decided before the text goes on; but nobody writes a thousand blanks before a list.
                if len(text) - token.end() < 1000:
                    return None
            elif begins[1] == b"[":
                return _Found(begins.end(), True)
    return None


def _elements(text: _Text, place: Place) -> Iterator[Chunk]:
    """Decode the elements of an array, whole ones at a time, and pass its closing bracket."""
    first = True
    while text.peek() not in (b"", b"]", b"["):
        cut = cut_objects(text.rest)
        if cut.end:
            batch = _batch(text, cut.end, place, first)
            if batch is None:
                yield text.elements(place, first)
                return
            yield batch
            first = False
        if cut.closed:
            text.take(text.rest.index(b"]") + 1)
            return
        if cut.is_odd or not text.grow():
            break
    if text.peek() == b"]":
        text.take(1)
        return
    yield from _last_elements(text, place, first)


def _last_elements(text: _Text, place: Place, first: bool) -> Iterator[Chunk]:
    """Read to the end of an array whose rest has no objects, such as "[]", or is odd or damaged."""
    found = _find_features(text, 1)
    is_closed = text.rest[: found.position].endswith(b"]")
    batch = _batch(text, found.position - 1, place, first) if is_closed else None
    if batch is None:
        yield text.elements(place, first)
    else:
        yield batch
        text.take(1)


def _batch(text: _Text, size: int, place: Place, first: bool) -> Chunk | None:
    """Decode elements; all but the first ones have a comma before them. None if the text tells no elements so far."""
    inner = text.rest[:size].lstrip(_BLANK)
    if not first:
        if inner[:1] != b",":
            return None
        inner = inner[1:]
    try:
        values, is_utf8 = _decode(b"[" + inner + b"]")
    except (ValueError, RecursionError):
        return None
    if not values:
        return None
    text.rest = text.rest[size:]
    text.values += len(values)
    return Chunk(values, place, size, is_utf8)
