"""Where things are: the checkout, its docs, and the shared data beside it (tests skip with a reason without them)."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
SHARED = ROOT.parent / "shared"
