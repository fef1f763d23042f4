"""Write a stream anew from its tape, with edits: what is kept is copied, and every handle is numbered again.

A copy of bytes needs its references patched, no more, as long as everything that it refers to was written before and
nothing in it was. Where that does not hold (the first user of a class was taken out, say), the value is opened and its
pieces are written one by one: the first user writes the definition, later ones refer to it, as Java does.
"""

from __future__ import annotations

import bisect
import io
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qpkit.qupath.java.grammar import FIRST_HANDLE, MAGIC, TC_CLASSDESC, TC_PROXYCLASSDESC, TC_REFERENCE
from qpkit.qupath.java.tape import Tape

Piece: TypeAlias = "bytes | int | Kept | Callable[[Emitter], None]"
"""Raw bytes without a handle; a row with all edits; a row without its own edit; new content."""

_REFERENCE: Final = struct.Struct(">Bi")
_MANY_PIECES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Kept:
    """A row as it was, though there is an edit for it; edits inside it hold."""

    row: int


@dataclass(slots=True)
class Edits:
    """What to write in the place of a row, and what behind it."""

    replace: dict[int, list[Piece]] = field(default_factory=dict)
    behind: dict[int, list[Piece]] = field(default_factory=dict)

    def put_behind(self, row: int, pieces: Sequence[Piece]) -> None:
        """Add something behind a row."""
        self.behind.setdefault(row, []).extend(pieces)

    def rows(self) -> list[int]:
        """All rows that have an edit, sorted."""
        return sorted({*self.replace, *self.behind})


@dataclass(frozen=True, slots=True)
class _Run:
    """Neighbouring values whose bytes follow each other: rows first..stop (exclusive)."""

    first: int
    stop: int
    start_byte: int
    stop_byte: int


@dataclass(frozen=True, slots=True)
class _Define:
    """The place where Java gives a row its handle."""

    row: int


class Emitter:
    """The output, and which handle everything has in it."""

    def __init__(self, tape: Tape | None = None, edits: Edits | None = None) -> None:
        """Start an empty output.

        Args:
            tape: Where kept rows come from.
            edits: Of that tape.
        """
        self.tape = Tape(MAGIC) if tape is None else tape
        self._edits = Edits() if edits is None else edits
        self._rows = self._edits.rows()
        self._places = np.asarray(self._rows, np.int64)
        self._new: NDArray[np.int64] = np.full(len(self.tape.defined), -1, np.int64)
        self.out: list[bytes | memoryview] = []
        self.next = 0
        self._stream = io.BytesIO()
        self._stream.write(MAGIC)

    def whole(self) -> bytes:
        """Write the whole stream with its edits, and what follows its end."""
        # A reset starts the handles anew, which copied runs do not; such a file is never edited (`find_places`).
        assert not self.tape.resets
        self._work(self._siblings(list(self.tape.top())))
        return self.content(tail=self.tape.data[self.tape.end :])

    def content(self, *, tail: bytes = b"") -> bytes:
        """Give everything written so far as a stream, with what follows its end."""
        self.out.append(tail)
        self._settle()
        return self._stream.getvalue()  # which is no copy

    def settle(self) -> None:
        """Put many small pieces together now and then, so that they do not fill the memory."""
        if len(self.out) > _MANY_PIECES:
            self._settle()

    def _settle(self) -> None:
        self._stream.writelines(self.out)
        self.out.clear()

    def keep(self, row: int) -> int:
        """Write a value of the tape, or a reference to it if it is there already; gives its handle."""
        self._work([Kept(row)])  # also where an edit takes it out of its own place
        return int(self._new[self.tape.link[row]])

    def define(self) -> int:
        """Take the next handle for something new."""
        self.next += 1
        return self.next - 1

    def reference(self, handle: int) -> bytes:
        """The bytes that refer to a handle."""
        return _REFERENCE.pack(TC_REFERENCE, FIRST_HANDLE + handle)

    def _work(self, pieces: Sequence[Any]) -> None:
        """Write pieces one after the other; what one opens comes first. A stack, as values may lie deep."""
        stack = [*reversed(pieces)]
        while stack:
            piece = stack.pop()
            if isinstance(piece, bytes | memoryview):
                self.out.append(piece)
            elif isinstance(piece, int):
                stack.extend(reversed(self._row(piece)))
            elif isinstance(piece, _Run):
                stack.extend(reversed(self._run(piece)))
            elif isinstance(piece, Kept):
                stack.extend(reversed(self._value(piece.row)))
            elif isinstance(piece, _Define):
                self._new[self.tape.link[piece.row]] = self.define()
            else:
                piece(self)

    def _row(self, row: int) -> list[Any]:
        replaced = self._edits.replace.get(row, [Kept(row)])
        return [*replaced, *self._edits.behind.get(row, [])]

    def _value(self, row: int) -> list[Any]:
        """Write a row, or give the pieces it has to be written in."""
        tape = self.tape
        if tape.kind[row] == TC_REFERENCE:
            if self._new[tape.link[row]] < 0:
                return [Kept(int(tape.defined[tape.link[row]]))]  # its edit, if any, was meant for its old place
            self.out.append(self.reference(int(self._new[tape.link[row]])))
            return []
        # Written already, where a reference to it was met first: so this place becomes a reference.
        if tape.link[row] >= 0 and self._new[tape.link[row]] >= 0:
            self.out.append(self.reference(int(self._new[tape.link[row]])))
            return []
        run = _Run(row, int(tape.after[row]), int(tape.start[row]), int(tape.stop[row]))
        if self._edited_inside(run) or not self._copied(run):
            return self._opened(row)
        return []

    def _edited_inside(self, run: _Run) -> bool:
        """Whether there is an edit behind the first row of a run."""
        # Right: the edit of the first row itself has been done by `_row`.
        place = bisect.bisect_right(self._rows, run.first)
        return place < len(self._rows) and self._rows[place] < run.stop

    def _opened(self, row: int) -> list[Any]:
        """Take a value apart: its own bytes, and what is inside it."""
        tape = self.tape
        children = list(tape.children(row))
        pos, stop = int(tape.start[row]), int(tape.stop[row])
        if tape.kind[row] in (TC_CLASSDESC, TC_PROXYCLASSDESC):
            # Java numbers a description before the strings of its fields and before its superclass.
            pieces: list[Any] = [_Define(row)]
        elif children:  # objects, arrays, enum constants: the class first, then the handle
            first = children.pop(0)
            pieces = [tape.data[pos : pos + 1], first, _Define(row)]
            pos = int(tape.stop[first])
        else:  # a string
            pieces = [_Define(row)] if tape.link[row] >= 0 else []
        for part in self._siblings(children):
            begin, end = self._bytes(part)
            pieces += [tape.data[pos:begin], part]
            pos = end
        return [*pieces, tape.data[pos:stop]]

    def _bytes(self, part: int | _Run) -> tuple[int, int]:
        if isinstance(part, _Run):
            return part.start_byte, part.stop_byte
        return int(self.tape.start[part]), int(self.tape.stop[part])

    def _siblings(self, rows: Sequence[int]) -> list[Any]:
        """Put neighbours without edits together."""
        tape = self.tape
        parts: list[Any] = []
        begin = 0
        starts, stops = tape.start[rows].tolist(), tape.stop[rows].tolist()
        ends = tape.after[rows].tolist()
        edited = self._with_edits(np.asarray(rows, np.int64), np.asarray(ends, np.int64))
        for place in range(1, len(rows) + 1):
            whole = not edited[begin]
            if place < len(rows) and whole and not edited[place] and starts[place] == stops[place - 1]:
                continue
            run = _Run(rows[begin], ends[place - 1], starts[begin], stops[place - 1])
            parts.append(run if whole else rows[begin])
            begin = place
        return parts

    def _with_edits(self, rows: NDArray[np.int64], ends: NDArray[np.int64]) -> list[bool]:
        """Whether rows have an edit, or something inside them has."""
        before, behind = np.searchsorted(self._places, rows), np.searchsorted(self._places, ends)
        found: list[bool] = (before < behind).tolist()
        return found

    def _run(self, run: _Run) -> list[Any]:
        """Copy a run; if that cannot be, everything up to the value that hinders, and that one opened."""
        if self._copied(run):
            return []
        tape = self.tape
        hindrance = self._hindrance(run)
        row = run.first
        while tape.after[row] <= hindrance:
            row = int(tape.after[row])
        parts: list[Any] = []
        if row > run.first:
            parts.append(_Run(run.first, row, run.start_byte, int(tape.start[row])))
        parts.append(Kept(row))
        rest = int(tape.after[row])
        if rest < run.stop:
            parts.append(_Run(rest, run.stop, int(tape.start[rest]), run.stop_byte))
        return parts

    def _copied(self, run: _Run) -> bool:
        """Copy the bytes of a run with new references, if that can be."""
        tape = self.tape
        if self._hindrance(run) < run.stop:
            return False
        low, high = self._handles(run)
        # Before the references are looked at: many of them mean values inside the run.
        self._new[low:high] = np.arange(self.next, self.next + high - low)
        self.next += high - low
        references = np.flatnonzero(tape.kind[run.first : run.stop] == TC_REFERENCE) + run.first
        links = tape.link[references]
        moved = self._new[links] != links
        content = memoryview(tape.data)[run.start_byte : run.stop_byte]
        if moved.any():
            patched = np.frombuffer(content, np.uint8).copy()
            handles = (self._new[links[moved]] + FIRST_HANDLE).astype(">i4").view(np.uint8).reshape(-1, 4)
            # The handle stands behind the type code.
            places = tape.start[references[moved]].astype(np.int64) - run.start_byte + 1
            for k in range(4):
                patched[places + k] = handles[:, k]
            content = memoryview(patched.tobytes())
        self.out.append(content)
        return True

    def _handles(self, run: _Run) -> tuple[int, int]:
        """The handles that a run defines: they follow each other."""
        tape = self.tape
        own = tape.link[run.first : run.stop][tape.kind[run.first : run.stop] != TC_REFERENCE]
        own = own[own >= 0]
        return (int(own.min()), int(own.max()) + 1) if len(own) else (0, 0)

    def _hindrance(self, run: _Run) -> int:
        """The first row of a run that forbids to copy it; `run.stop` if there is none."""
        tape = self.tape
        low, high = self._handles(run)
        links = tape.link[run.first : run.stop]
        is_reference = tape.kind[run.first : run.stop] == TC_REFERENCE
        written = self._new[links] >= 0  # -1 looks at the last handle: corrected below
        inside = (links >= low) & (links < high)
        bad = np.where(is_reference, ~inside & ~written, (links >= 0) & written)
        places = np.flatnonzero(bad)
        return run.first + int(places[0]) if len(places) else run.stop
