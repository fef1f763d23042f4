"""Whether slides are shown in the colours that a model has learned from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qpkit.errors import listed
from qpkit.slides import SlideSource
from qpkit_train.models.card import ModelCard


def notes_on_colors(card: ModelCard, sources: Sequence[SlideSource]) -> tuple[str, ...]:
    """Say which slides are shown by an ICC profile where the training tiles were not, or the other way round.

    Nothing is said where the training tiles were of both kinds, and for models that do not say how theirs were.
    """
    tiles: dict[str, Any] = card.trained.get("tiles") or {}
    learned = {bool(colors.get("icc")) for colors in tiles.get("colors", ())}
    others = [source.name for source in sources if bool(source.colors.icc) not in learned]
    if len(learned) != 1 or not others:
        return ()
    by_profile = learned == {True}
    corrected, plain = "in sRGB by ICC profiles", "as in the file"
    of_tiles, of_slides, fix = (corrected, plain, "embedded") if by_profile else (plain, corrected, "none")
    return (
        f"the model has learned from colours {of_tiles}, but shown {of_slides} here are {listed(others, most=3)}: "
        f"the predictions may be worse; --icc {fix} shows slides as in the training",
    )
