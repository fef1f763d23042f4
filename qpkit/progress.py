"""How long work says where it stands: a function that whoever watches hands in."""

from __future__ import annotations

from collections.abc import Callable

OnProgress = Callable[[int, int, str], None]
"""Called with (done, total, what is being done); total may grow."""


class Ticker:
    """Counts steps of a known number and tells an OnProgress."""

    def __init__(self, total: int, on_progress: OnProgress) -> None:
        self._done, self._total, self._on_progress = 0, total, on_progress

    def __call__(self, text: str) -> None:
        """One step more is done."""
        self._done += 1
        self._on_progress(self._done, self._total, text)


def no_progress(done: int, total: int, text: str) -> None:
    """The OnProgress of those who do not watch."""


OnNote = Callable[[str], None]
"""Called with something that the user has to know before long work begins."""


def no_note(text: str) -> None:
    """The OnNote of those who read the report."""
