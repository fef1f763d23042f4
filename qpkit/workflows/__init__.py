"""One function per verb: takes settings, calls the rooms below, returns a report. Prints nothing."""

from collections.abc import Callable

OnProgress = Callable[[int, int, str], None]
"""Called with (done, total, what is being done); total may grow."""


def no_progress(done: int, total: int, text: str) -> None:
    """The OnProgress of those who do not watch."""
