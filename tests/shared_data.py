"""Where the shared data are: beside the checkout. Tests that need them skip with a reason where they are missing."""

from __future__ import annotations

from pathlib import Path

SHARED = Path(__file__).resolve().parents[2] / "shared"
