"""Luma: how much red, green and blue count in grey."""

from typing import Final

LUMA: Final[tuple[float, float, float]] = (0.299, 0.587, 0.114)
"""Weight of red, green and blue in grey (ITU-R BT.601)."""
