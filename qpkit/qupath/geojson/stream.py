"""Cut JSON text into pieces that are whole, and decode them: GeoJSON of any size in bounded memory.

Knows arrays, strings and braces, and that the large array of a FeatureCollection is called "features"; does not
know what a feature is. Only a single value has to fit into memory, and it may not be larger than MAX_VALUE_BYTES.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson

from qpkit.errors import FormatError
from qpkit.qupath.geojson.cut import cut_objects
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
    """

    values: list[Any]
    place: Place
    size: int


_BLANK: Final = b" \t\r\n"
# Possessive (++): a long string that does not end in this text is given up without backtracking.
_TOKEN: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"|["\[\]{}]', re.DOTALL)
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_ARRAY_BEGINS: Final = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*(\[|$|[^\[])")


def read_batches(document: Document, *, many: bool = False) -> Iterator[Chunk]:
    """Decode a document piece by piece.

    NaN and Infinity are read, as QuPath 0.2 writes them; of equal keys the last one counts.

    Args:
        document: Its chunks are used up.
        many: Take one JSON text after the other (newline-delimited GeoJSON), which QuPath refuses.

    Raises:
        FormatError: Not JSON, more than one text in it, or a value that is too large.
    """
    text = _Text(document)
    first = text.peek()
    if not first:
        yield Chunk([], "document", 0)
    while first:
        if first == b"[":
            text.take(1)
            yield from _elements(text, "array")
        else:
            yield from _object_or_value(text)
        first = text.peek()
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

    def decode(self, piece: bytes) -> Any:
        """Decode whole values."""
        try:
            return orjson.loads(piece)
        except orjson.JSONDecodeError:
            pass
        try:
            # orjson refuses NaN, Infinity and numbers beyond all doubles, which Python reads.
            value = json.loads(piece.decode("utf-8"))
            if _SURROGATE.search(piece):
                json.dumps(value, ensure_ascii=False).encode("utf-8")  # raises for half a pair
        except (ValueError, RecursionError) as err:
            reason = str(err).partition(": line")[0]
            raise FormatError(f"{self.name}: {self.after()}: not JSON ({reason})") from err
        return value

    def after(self) -> str:
        return f"after feature {self.values - 1}" if self.values else "at the start"


def _object_or_value(text: _Text) -> Iterator[Chunk]:
    """Read an object around features, or any other value at once."""
    found = _find_features(text, 0)
    head = text.take(found.position)
    if not found.is_array:
        yield Chunk([text.decode(head)], "document", len(head))
        return
    yield from _elements(text, "features")
    tail = _find_features(text, 1)
    if tail.is_array:
        raise FormatError(f"{text.name}: {text.after()}: a second list of features in the same collection")
    # The head ends in the bracket that opens the list: so the list is empty here.
    wrapper = head + b"]" + text.take(tail.position)
    yield Chunk([text.decode(wrapper)], "wrapper", len(wrapper))


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
            piece = text.take(cut.end)
            yield _batch(text, piece, place, first)
            first = False
        if cut.closed:
            text.take(text.rest.index(b"]") + 1)
            return
        if cut.is_odd or not text.grow():
            break
    yield from _last_elements(text, place, first)


def _last_elements(text: _Text, place: Place, first: bool) -> Iterator[Chunk]:
    """Read to the end of an array whose rest has no objects, such as "[]", or is damaged."""
    if text.peek() == b"]":
        text.take(1)
        return
    found = _find_features(text, 1)
    piece = text.take(found.position)
    if not piece.endswith(b"]"):
        raise FormatError(f"{text.name}: {text.after()}: not JSON (the file ends inside a list)")
    yield _batch(text, piece[:-1], place, first)


def _batch(text: _Text, piece: bytes, place: Place, first: bool) -> Chunk:
    """Decode elements; all but the first ones have a comma before them."""
    inner = piece.lstrip(_BLANK)
    if not first and inner[:1] == b",":
        inner = inner[1:]
    elif not first:
        raise FormatError(f"{text.name}: {text.after()}: not JSON (a comma is missing)")
    values = text.decode(b"[" + inner + b"]")
    if not values:
        raise FormatError(f"{text.name}: {text.after()}: not JSON (a comma behind the last element of a list)")
    text.values += len(values)
    return Chunk(values, place, len(piece))
