"""Compile a function with the plain functions that it calls, by numba, which is not imported before."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any


@functools.cache
def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function; the result is kept on disk. For everybody else the function stays plain Python.

    Args:
        function: On module level, as are the functions that it calls. They take numbers, arrays and tuples of them, and
            make no arrays: so they do without counting references, which would take nearly all the time.

    Returns:
        The compiled function. It returns a number without meaning.
    """
    import numba
    from numba.extending import register_jitable

    functions = called(function)
    for each in functions:
        register_jitable(forceinline=True, _nrt=False)(each)
    key = stamp(functions)

    def run(*args: Any) -> int:
        function(*args)
        return key  # numba finds what it has kept by the code of `run` and by all that `run` encloses

    made: Callable[..., Any] = numba.njit(cache=True, nogil=True)(run)
    return made


def called(function: Callable[..., Any]) -> list[FunctionType]:
    """The function and all plain functions that it calls, through others too."""
    found: list[FunctionType] = []
    waiting: list[object] = [function]
    while waiting:
        each = waiting.pop()
        if isinstance(each, FunctionType) and each not in found:
            found.append(each)
            waiting += [each.__globals__.get(name) for name in each.__code__.co_names]
    return found


def stamp(functions: Sequence[FunctionType]) -> int:
    """Make a number that changes with the code of the functions and with the constants that they use.

    numba itself looks only at the file of the outermost function, and would go on with what it has kept.
    """
    parts: list[object] = []
    for function in functions:
        code = function.__code__
        used = [function.__globals__.get(name) for name in code.co_names]
        parts += [code.co_code, code.co_consts, [value for value in used if isinstance(value, int | bytes | tuple)]]
    return zlib.crc32(repr(parts).encode())
