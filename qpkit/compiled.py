"""Loops over arrays that numba compiles when they are first called: plain Python would take far too long."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


@functools.cache
def compiled(function: Callable[..., Any], *calls: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function, or find it among those that numba has kept; numba itself is imported only here.

    Args:
        function: The function.
        calls: Plain functions that it calls. (Given as arguments they would be kept by name, and what numba has kept
            could not be read once such a function has another name.)
    """
    import numba

    for each in calls:
        _inner(each)
    made: Callable[..., Any] = numba.njit(cache=True, nogil=True)(function)
    return made


@functools.cache
def _inner(function: Callable[..., Any]) -> None:
    from numba.extending import register_jitable

    register_jitable(function)
