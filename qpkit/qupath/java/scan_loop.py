"""Where `tape` finds the places of the class table; they are defined in `scanning.state`."""

from __future__ import annotations

from qpkit.qupath.java.scanning.state import C_NODE, C_SUPER

__all__ = ["C_NODE", "C_SUPER"]
