"""Names in figures: matplotlib reads some of them as formulas, hides others, and makes no room for very many."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any, Final

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_DPI: Final = 120
_LONGEST: Final = 40
_MOST: Final = 12
"""Lines that a legend names; more would leave no room for the lines."""


def plain_text(name: str) -> str:
    """Write a class's name so that a figure shows it as it is: `$` starts no formula, `_` hides no legend entry.

    Names over 40 letters lose their middle; the tables beside the figures have them whole.
    """
    short = name if len(name) <= _LONGEST else f"{name[: _LONGEST // 2]}…{name[1 - _LONGEST // 2 :]}"
    plain = short.replace("$", r"\$")
    return f" {plain}" if plain.startswith("_") else plain


def add_legend(axes: Any) -> None:
    """Add a legend of the first 12 lines, and say how many more there are."""
    lines, names = axes.get_legend_handles_labels()
    title = f"and {len(lines) - _MOST} more" if len(lines) > _MOST else None
    axes.legend(lines[:_MOST], names[:_MOST], fontsize="small", title=title, title_fontsize="small")


def numbers(values: Sequence[float | None]) -> list[float]:
    """Put NaN for None: matplotlib leaves a gap there."""
    return [float("nan") if value is None else value for value in values]


def png_of(figure: Figure) -> bytes:
    """Draw a figure as the content of a PNG file with 120 px an inch.

    Letters that the font lacks are boxes, without a warning each: the tables beside the pictures have them.
    """
    # Without pyplot, which keeps every figure and chooses a display of its own.
    FigureCanvasAgg(figure)
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        # Without matplotlib's version, so that it does not change the bytes.
        figure.savefig(content, format="png", dpi=_DPI, metadata={"Software": ""})
    return content.getvalue()
