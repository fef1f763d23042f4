"""What a check of the installation found: a row of `qpkit doctor` without a path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "missing", "broken"]
"""warning: works, but not well. missing: optional, not there. broken: qpkit's core needs it and cannot use it."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Args:
        name: What it is, such as "OpenSlide".
        state: See there.
        found: Version, size or place.
        advice: What to do; "" where nothing is to be done.
    """

    name: str
    state: State
    found: str
    advice: str = ""
