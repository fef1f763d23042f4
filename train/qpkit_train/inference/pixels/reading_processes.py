"""Processes that read tiles for the threads of this one, while a GPU predicts.

A tile of 1,024 px is decoded in some 25 parts, and after each of them a thread has to get the interpreter back. Beside
an H200 eight threads wait for that longer than they decode (290 to 320 tiles/s); with a process behind each they wait
for whole tiles alone (430). Each has 60 MB; up to four threads are as fast without. One that is not there yet, has
died, or cannot read a tile is no fault: who asks reads it himself. Not on Windows, where no open socket is handed to
a process.
"""

from __future__ import annotations

import contextlib
import pickle
import signal
import socket
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qpkit.core.tiles import Tile
from qpkit.errors import QpkitError
from qpkit.slides import Slide, SlideSource, open_source
from qpkit_train.data.surroundings import sample_of

_LENGTH: Final = struct.Struct("<I")
_ENOUGH_THREADS: Final = 4
_READY, _READ, _NOT_READ = b"r", b"y", b"n"


class ReadingProcesses:
    """Some processes, begun at once; used by several threads.

    Args:
        threads: That read: as many processes, and none where so few threads do not need them.
    """

    def __init__(self, threads: int) -> None:
        count = 0 if threads <= _ENOUGH_THREADS or sys.platform == "win32" else threads
        self._all = [_Process() for _ in range(count)]
        self._free = deque(self._all)

    def read(self, source: SlideSource, tile: Tile, factors: Sequence[int]) -> NDArray[np.uint8] | None:
        """Have one of them do `sample_of`: (h, w, 3 k) uint8 with halo; None where none is free, or it could not."""
        try:
            process = self._free.popleft()
        except IndexError:
            return None
        found: NDArray[np.uint8] | None = None
        try:
            if process.is_ready():
                found = process.read(source, tile, factors)
        except OSError:  # it died: it is not asked again
            return None
        self._free.append(process)
        return found

    def close(self) -> None:
        """End all of them; no thread may be reading."""
        for process in self._all:
            process.close()


class _Process:
    """One of them, at the other end of a socket."""

    def __init__(self) -> None:
        self._line, other = socket.socketpair()
        command = [sys.executable, "-m", __name__, str(other.fileno())]
        none = subprocess.DEVNULL
        with other:
            self._process = subprocess.Popen(command, pass_fds=[other.fileno()], stdin=none, stdout=none, stderr=none)
        self._is_ready = False

    def is_ready(self) -> bool:
        """Whether it has come up, which takes about a second."""
        if not self._is_ready:
            self._line.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                self._is_ready = _received(self._line, 1) == _READY
            self._line.setblocking(True)
        return self._is_ready

    def read(self, source: SlideSource, tile: Tile, factors: Sequence[int]) -> NDArray[np.uint8] | None:
        """As `ReadingProcesses` says.

        Raises:
            OSError: It has died.
        """
        asked = pickle.dumps((source, tile, tuple(factors)))
        self._line.sendall(_LENGTH.pack(len(asked)) + asked)
        if _received(self._line, 1) != _READ:
            return None
        pixels = np.empty((*tile.array_shape, 3 * len(factors)), np.uint8)
        _receive_into(self._line, pixels.reshape(-1).data)
        return pixels

    def close(self) -> None:
        """End it, also where it waits for a drive."""
        self._line.close()
        self._process.terminate()
        self._process.wait()


def _receive_into(line: socket.socket, room: memoryview) -> None:
    """Fill all of it; one call, as a rule, in which other threads have the interpreter."""
    while room:
        count = line.recv_into(room, len(room), socket.MSG_WAITALL)
        if not count:
            raise ConnectionError("the other end hung up")
        room = room[count:]


def _received(line: socket.socket, count: int) -> bytes:
    found = bytearray(count)
    _receive_into(line, memoryview(found))
    return bytes(found)


def _serve(line: socket.socket) -> None:
    """Read what is asked for until the other end hangs up."""
    opened: tuple[SlideSource, Slide] | None = None
    line.sendall(_READY)
    while True:
        (length,) = _LENGTH.unpack(_received(line, _LENGTH.size))
        source, tile, factors = pickle.loads(_received(line, length))
        try:
            if opened is None or opened[0] != source:
                if opened is not None:
                    opened[1].close()
                opened = source, open_source(source)
            pixels = sample_of(opened[1], tile, factors)
        except (QpkitError, OSError):
            opened = None  # OpenSlide answers nothing more after an error
            line.sendall(_NOT_READ)
            continue
        line.sendall(_READ)
        line.sendall(np.ascontiguousarray(pixels).data)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the other end's to answer, which then hangs up
    with socket.socket(fileno=int(sys.argv[1])) as here, contextlib.suppress(ConnectionError):
        _serve(here)
