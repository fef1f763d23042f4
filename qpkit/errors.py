"""The error tree: every error a user can cause is one of these, with one line that says what, where, what to do.

    QpkitError
    ├── FormatError (ValueError)               a file is not what it should be
    │   └── UnsupportedVersionError            ... but a version of it that qpkit does not know
    ├── GeometryError (ValueError)             a shape cannot be used
    ├── LabelError (ValueError)                classes and label values do not fit together
    ├── ProjectError (FileNotFoundError)       a project, an entry or its image is missing or not as expected
    ├── OutputError (OSError)                  an output folder is taken or cannot be written
    ├── ConfigError (ValueError)               a setting is unknown, missing or out of range
    └── MissingExtraError (ImportError)        an optional dependency is not installed

The command line maps them to exit code 1 and prints the message without a traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

INTERRUPTED: Final = "interrupted; nothing was left half-written, and finished parts are kept to go on with"
"""What is said after Ctrl-C."""

_LONGEST: Final = 400
"""Characters of a message: what is longer is cut in its middle, as what to do stands at its end."""

_END: Final = 120


class QpkitError(Exception):
    """Base of every error that a user can cause.

    Args:
        message: What, where, what to do; more than 400 characters are cut.
    """

    def __init__(self, message: str = "") -> None:
        if len(message) > _LONGEST:
            message = f"{message[: _LONGEST - _END - 5]} ... {message[-_END:]}"
        super().__init__(message)


class FormatError(QpkitError, ValueError):
    """A file is damaged, truncated, foreign or not understood."""


class UnsupportedVersionError(FormatError):
    """A file is of a format version that qpkit does not know."""


class GeometryError(QpkitError, ValueError):
    """A shape is empty, not finite or not valid where it has to be."""


class LabelError(QpkitError, ValueError):
    """Classes and label values do not fit together."""


class ProjectError(QpkitError, FileNotFoundError):
    """A project, an entry or its image is missing or not as expected."""


class OutputError(QpkitError, OSError):
    """An output folder is taken by something else or cannot be written."""


class ConfigError(QpkitError, ValueError):
    """A setting is unknown, missing or out of range."""


class MissingExtraError(QpkitError, ImportError):
    """An optional dependency is not installed; the message names the extra that brings it."""


def about(name: str, reason: str) -> str:
    """Put a name before what is said of it; errors of files begin with the name already."""
    return reason if reason.startswith((f"{name}:", f"{name!r}:")) else f"{name}: {reason}"


def listed(items: Iterable[object], *, joint: str = ", ", most: int = 6) -> str:
    """Name things in a message: "a, b and 7 more", "none" of none.

    Args:
        items: What is named, by its str().
        joint: What stands between two.
        most: How many are named at most.
    """
    names = [str(item) for item in items]
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return joint.join(names[:most]) + more if names else "none"


def or_else(name: str, known: Iterable[str]) -> str:
    """What to say after a name that is none: "did you mean 'Tumor'?", or what there is."""
    names = list(known)
    folded = {other.casefold(): other for other in reversed(names)}
    close = difflib.get_close_matches(name.casefold(), folded, n=1)
    return f"did you mean {folded[close[0]]!r}?" if close else f"there are {listed(map(repr, names))}"
