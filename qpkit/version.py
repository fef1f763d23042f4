"""The version of qpkit, which git's tags state; the package, its outputs and the command line read it here."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Final

UNKNOWN: Final = "0.0.0"
"""Said where qpkit was never installed, or from sources that do not tell (`fallback_version` in pyproject.toml)."""


def _installed_version() -> str:
    """What pip wrote down when it installed qpkit."""
    try:
        return version("qpkit")
    except PackageNotFoundError:
        return UNKNOWN


__version__ = _installed_version()
