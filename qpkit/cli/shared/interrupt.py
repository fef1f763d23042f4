"""Ctrl-C at any time: in the first second, and while a native call of minutes does not let Python react."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import Final

from qpkit.errors import INTERRUPTED

_PATIENCE_S: Final = 3.0
"""How long a native call may go on after Ctrl-C before the process ends as if it was killed."""

_SHOW_CURSOR: Final = "\x1b[?25h"


def watch_interrupts() -> None:
    """End the process if Ctrl-C is not answered within seconds, as it would be by kill.

    Python answers signals between two of its own steps; a union of a million polygons is one step. A thread waits for
    the signal (which the system writes into a pipe, whatever Python does) and then for the answer. Called once, by the
    program's entry: a process that is used by others keeps its own handling, and so does one that a script put into the
    background, where shells have Ctrl-C ignored.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    answered = threading.Event()

    def answer(number: int, frame: FrameType | None) -> None:
        answered.set()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, answer)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_wait, args=(reading, answered), daemon=True).start()


def _wait(reading: int, answered: threading.Event) -> None:
    while number := os.read(reading, 1):
        if number[0] == signal.SIGINT and not answered.wait(_PATIENCE_S):
            if sys.stderr.isatty():  # a progress bar has hidden it
                sys.stderr.write(_SHOW_CURSOR)
            sys.stderr.write(f"qpkit: {INTERRUPTED}\n")
            sys.stderr.flush()
            os._exit(1)
