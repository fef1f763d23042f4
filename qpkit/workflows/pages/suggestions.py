"""Suggested regions side by side."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qpkit.core.tiles import Tile
from qpkit.report.figures.contact_sheet import contact_sheet
from qpkit.slides import open_source
from qpkit.workflows.suggest.result import Suggestion

_SIDE: Final = 320
"""Pixels of a picture's side."""


def suggestions_picture(suggestions: Sequence[Suggestion]) -> bytes:
    """Show each region with its name, as the content of a PNG file.

    Raises:
        FormatError: A slide cannot be read.
    """
    pictures: dict[int, NDArray[np.uint8]] = {}
    by_slide = sorted(suggestions, key=lambda one: one.candidate.item.source.name)
    for _, group in groupby(by_slide, key=lambda one: one.candidate.item.source.name):
        own = list(group)
        with open_source(own[0].candidate.item.source) as slide:
            for one in own:
                region = one.candidate.region
                downsample = max(1.0, region.width / _SIDE)
                side = int(region.width / downsample)
                x, y = round(region.x / downsample), round(region.y / downsample)
                tile = Tile(col=0, row=0, x=x, y=y, width=side, height=side, downsample=downsample)
                pictures[one.rank] = slide.read(tile)
    titles = [f"{one.rank}. {one.candidate.item.source.name}\n{', '.join(one.reasons)}" for one in suggestions]
    return contact_sheet([pictures[one.rank] for one in suggestions], titles)
