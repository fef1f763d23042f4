"""Which backend reads and writes the objects of a project: qpkit's own code, or a real QuPath through paquo."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from qpkit.errors import ConfigError

BACKENDS: Final = ("native", "paquo")

_chosen: ContextVar[str] = ContextVar("qpkit_backend", default="native")


def chosen_backend() -> str:
    """The backend of the present context; "native" unless somebody asked for another."""
    return _chosen.get()


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Open projects through this backend for a block of work.

    Raises:
        ConfigError: There is no such backend.
    """
    if name not in BACKENDS:
        raise ConfigError(f"--backend {name!r}: has to be {' or '.join(BACKENDS)}")
    token = _chosen.set(name)
    try:
        yield
    finally:
        _chosen.reset(token)
