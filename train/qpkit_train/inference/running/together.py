"""Several looks at the same pixels: models of the same classes, and turned or mirrored tiles; the mean counts.

Means are those of whole numbers, so they do not depend on the order of models and turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from qpkit.core.tiles import Tile
from qpkit.errors import ConfigError
from qpkit.slides import Slide
from qpkit_train.inference.pixels.uncertainty import as_bytes, entropy_bytes, spread_levels
from qpkit_train.models.card import LEVELS, Answer, Model, ModelCard, for_slide

Tta = Literal["none", "flips", "d4"]
"""Test-time augmentation: mirrored both ways (4 looks), or turned by 90 degrees, too (8)."""

_Look = tuple[int, bool]
"""Quarter turns, and whether it is mirrored after them."""

LOOKS: Final[dict[Tta, tuple[_Look, ...]]] = {
    "none": ((0, False),),
    "flips": ((0, False), (0, True), (2, False), (2, True)),
    "d4": tuple((turns, mirrored) for turns in range(4) for mirrored in (False, True)),
}


class Together:
    """Runs several models on several looks as if they were one; see `Model`.

    Args:
        models: Their label maps and um/px agree; the first one's card is that of all.
        tta: The looks.

    Raises:
        ConfigError: They do not agree.
    """

    def __init__(self, models: Sequence[Model], tta: Tta = "none") -> None:
        for other in models[1:]:
            require_alike(models[0].card, other.card)
        self.models, self.looks, self._tta = tuple(models), LOOKS[tta], tta
        self.card, self.device_name, self.precision = models[0].card, models[0].device_name, models[0].precision

    @property
    def notes(self) -> tuple[str, ...]:
        """What the models say of how they ran."""
        return tuple(dict.fromkeys(note for model in self.models for note in model.notes))

    def for_slide(self, slide: Slide, tiles: Sequence[Tile]) -> Together:
        """All of them as they predict a slide; see `SlideModel`."""
        return Together([for_slide(model, slide, tiles) for model in self.models], self._tta)

    def room(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """Make an array for pixels; see `Model`."""
        return self.models[0].room(shape)

    def answer(self, pixels: NDArray[np.uint8], *, halo: int, probabilities: bool, uncertainty: bool = False) -> Answer:
        """Predict a batch; see `Model`. Uncertainty has a second band, the spread of the looks."""
        height, width = pixels.shape[1:3]
        inside = np.s_[..., halo : height - halo, halo : width - halo]
        sums, squares = self._sums(pixels, squared=uncertainty)
        sums = sums[inside]
        # Rounded to the 255 steps of an answer, from sums of LEVELS each.
        step = np.uint32(self._looks_in_all * (LEVELS // 255))
        unsure = None
        if squares is not None:
            spread = as_bytes(spread_levels(sums, squares[inside], self._looks_in_all))
            unsure = np.stack([entropy_bytes(sums), spread], axis=1)
        bytes_ = ((sums + step // 2) // step).astype(np.uint8) if probabilities else None
        return Answer(sums.argmax(axis=1).astype(np.uint8), bytes_, unsure)

    def levels(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """Predict a batch, halo included; see `Model`."""
        return self._mean(self._sums(pixels)[0])

    def levels_and_spread(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """As `levels`, with one more channel: the spread of the looks, as `spread_levels` gives it."""
        sums, squares = self._sums(pixels, squared=True)
        assert squares is not None
        spread = spread_levels(sums, squares, self._looks_in_all)
        return np.concatenate([self._mean(sums), spread[:, np.newaxis]], axis=1)

    @property
    def _looks_in_all(self) -> int:
        return len(self.models) * len(self.looks)

    def _mean(self, sums: NDArray[np.uint32]) -> NDArray[np.uint16]:
        count = np.uint32(self._looks_in_all)
        return ((sums + count // 2) // count).astype(np.uint16)

    def _sums(
        self, pixels: NDArray[np.uint8], *, squared: bool = False
    ) -> tuple[NDArray[np.uint32], NDArray[np.uint64] | None]:
        """(n, classes, h, w) probabilities of all looks, LEVELS each, added up; and their squares, if wanted."""
        total: NDArray[np.uint32] | None = None
        squares: NDArray[np.uint64] | None = None
        for model in self.models:
            for turns, mirrored in self.looks:
                seen = np.rot90(pixels, turns, axes=(1, 2))
                seen = seen[:, :, ::-1] if mirrored else seen
                levels = model.levels(np.ascontiguousarray(seen))
                levels = levels[..., ::-1] if mirrored else levels
                found = np.rot90(levels, -turns, axes=(2, 3)).astype(np.uint32)
                total = found if total is None else total + found
                if squared:
                    square = found.astype(np.uint64) ** 2
                    squares = square if squares is None else squares + square
        assert total is not None
        return total, squares


def require_alike(one: ModelCard, other: ModelCard) -> None:
    """Raise unless two models can be averaged.

    Raises:
        ConfigError: Their classes, um/px or sizes of tiles differ.
    """
    if [(item.name, item.value) for item in one.labels.classes] != [
        (item.name, item.value) for item in other.labels.classes
    ] or one.labels.background != other.labels.background:
        raise ConfigError(
            f"{other.where}: other classes than {one.where}; only models of the same label map are averaged"
        )
    if _scale(one) != _scale(other):
        raise ConfigError(
            f"{other.where}: expects {_scale(other)}, {one.where} {_scale(one)}; only models of one scale are averaged"
        )
    if one.input_px != other.input_px:
        sizes = [f"{card.input_px} px" if card.input_px else "any size" for card in (other, one)]
        raise ConfigError(f"{other.where}: takes {sizes[0]}, {one.where} {sizes[1]}; they cannot be averaged")


def _scale(card: ModelCard) -> str:
    return f"{card.mpp:g} um/px" if card.mpp is not None else f"downsample {card.downsample}"
