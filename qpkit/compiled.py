"""Loops over arrays that numba compiles when they are first called: plain Python would take far too long."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


@functools.cache
def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function, or find it among those that numba has kept; numba itself is imported only here."""
    import numba

    made: Callable[..., Any] = numba.njit(cache=True, nogil=True)(function)
    return made
