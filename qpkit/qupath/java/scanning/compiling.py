"""Compile a function with the plain functions that it calls, by numba, which is not imported before."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any


@functools.cache
def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function; the result is kept on disk. The function and all that it calls stay plain for everybody else.

    Args:
        function: On module level, as are the functions that it calls. They take numbers, arrays and tuples of them,
            and make no arrays: so they do without counting references, which would take nearly all the time.

    Returns:
        The compiled function; it returns a number without meaning.
    """
    import numba
    from numba.extending import register_jitable

    called = list(_called(function, set()))
    for each in called:
        register_jitable(forceinline=True, _nrt=False)(each)
    stamp = _stamp(called)

    def run(*args: Any) -> int:
        function(*args)
        return stamp  # numba finds a kept result by the code of this function and by what it encloses

    made: Callable[..., Any] = numba.njit(cache=True, nogil=True)(run)
    return made


def _called(function: object, seen: set[object]) -> Iterator[FunctionType]:
    """The function and all plain functions that it calls, through others too."""
    if isinstance(function, FunctionType) and function not in seen:
        seen.add(function)
        yield function
        for name in function.__code__.co_names:
            yield from _called(function.__globals__.get(name), seen)


def _stamp(functions: list[FunctionType]) -> int:
    """A number that changes with the code of the functions and with the constants of other modules that they use.

    numba itself looks only at the file of the outermost function, and would go on with what it has kept.
    """
    parts: list[object] = []
    for function in functions:
        code = function.__code__
        used = [function.__globals__.get(name) for name in code.co_names]
        parts += [code.co_code, code.co_consts, [value for value in used if isinstance(value, int | bytes)]]
    return zlib.crc32(repr(parts).encode())
