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


class QpkitError(Exception):
    """Base of every error that a user can cause."""


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


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question with the name that is nearest to an unknown one, and a blank behind it; nothing where none is near."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}? " if close else ""
