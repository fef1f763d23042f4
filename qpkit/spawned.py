"""Processes that are started without the caller's script."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def without_script() -> Iterator[None]:
    """Hide the script from processes that multiprocessing starts in the block.

    A spawned process runs the script once more, because what it is given could be defined there: one without
    `if __name__ == "__main__":` would export and train anew in each of them. What we give them is qpkit's own.
    """
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script
