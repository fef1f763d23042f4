"""What pip installs only on request: imported in a block that says, where it is missing, how to get it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from qpkit.errors import MissingExtraError


@contextmanager
def extra(name: str, *, why: str = "") -> Iterator[None]:
    """Import inside of this block what `pip install 'qpkit[NAME]'` brings.

    So an import stays a plain statement that type checkers follow.

    Args:
        name: Of the extra.
        why: What needs it, or what to do instead; stands behind the missing module's name.

    Raises:
        MissingExtraError: A module is not installed.
    """
    try:
        yield
    except ImportError as err:
        # A module of our own that is not there is our mistake, and no missing package.
        if err.name and err.name.startswith("qpkit"):
            raise
        reason = f" ({why})" if why else ""
        raise MissingExtraError(f"{err.name or err} is not installed{reason}; pip install 'qpkit[{name}]'") from err
