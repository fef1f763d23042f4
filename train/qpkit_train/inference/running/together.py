"""Several looks at the same pixels: models of the same classes, and turned or mirrored tiles; the mean counts.

Means are those of whole numbers, so they do not depend on the order of models and turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from qpkit.core.tiles import Tile
from qpkit.errors import ConfigError, listed
from qpkit.slides import Slide
from qpkit_train.inference.pixels.uncertainty import as_bytes, entropy_bytes, rounded_bytes, spread_levels
from qpkit_train.models.card import LEVELS, Answer, Model, ModelCard, Stream, for_slide, on_device

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

    @property
    def stream(self) -> Stream | None:
        """Of the device, if all models run on it."""
        first, *others = [on_device(model) for model in self.models]
        return None if first is None or None in others else first.stream

    def upload(self, pixels: NDArray[np.uint8]) -> Any:
        """Begin to copy pixels to the device; see `DeviceModel`."""
        there = on_device(self.models[0])
        return pixels if there is None else there.upload(pixels)

    def answer(self, pixels: NDArray[np.uint8], *, halo: int, probabilities: bool, uncertainty: bool = False) -> Answer:
        """Predict a batch; see `Model`. Uncertainty has a second band, the spread of the looks."""
        return self._answer(self._sums(pixels, squared=uncertainty), halo=halo, probabilities=probabilities)

    def answer_there(self, pixels: Any, *, halo: int, probabilities: bool, uncertainty: bool = False) -> Answer:
        """Predict a batch; see `DeviceModel`."""
        sums = self._sums(pixels, squared=uncertainty, there=True)
        return self._answer(sums, halo=halo, probabilities=probabilities)

    def levels(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """Predict a batch, halo included; see `Model`."""
        return np.asarray(self._levels(self._sums(pixels)), np.uint16)

    def levels_and_spread(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """As `levels`, with one more channel: the spread of the looks, as `spread_levels` gives it."""
        return np.asarray(self._levels(self._sums(pixels, squared=True)), np.uint16)

    def levels_there(self, pixels: Any, *, spread: bool = False) -> Any:
        """Predict a batch, halo included; see `DeviceModel`."""
        return self._levels(self._sums(pixels, squared=spread, there=True))

    @property
    def _looks_in_all(self) -> int:
        return len(self.models) * len(self.looks)

    def _answer(self, sums: _Sums, *, halo: int, probabilities: bool) -> Answer:
        height, width = sums.total.shape[2:]
        inside = np.s_[..., halo : height - halo, halo : width - halo]
        total, unsure = sums.total[inside], None
        xp = array_namespace(total)
        if sums.squares is not None:
            spread = as_bytes(spread_levels(total, sums.squares[inside], self._looks_in_all))
            unsure = xp.stack([entropy_bytes(total), spread], axis=1)
        # Rounded to the 255 steps of an answer, from sums of LEVELS each.
        bytes_ = rounded_bytes(total, self._looks_in_all * (LEVELS // 255)) if probabilities else None
        return Answer(xp.astype(xp.argmax(total, axis=1), xp.uint8), bytes_, unsure)

    def _levels(self, sums: _Sums) -> Any:
        """(n, classes, h, w) int32 means; one more channel with the spread, where there are squares."""
        xp, count = array_namespace(sums.total), self._looks_in_all
        mean = (sums.total + count // 2) // count
        if sums.squares is None:
            return mean
        return xp.concat([mean, spread_levels(sums.total, sums.squares, count)[:, None]], axis=1)

    def _sums(self, pixels: Any, *, squared: bool = False, there: bool = False) -> _Sums:
        """Add up what all looks say.

        Args:
            pixels: (n, h, w, 3) uint8.
            squared: Whether the squares are wanted, too.
            there: Whether it is done on the device.
        """
        total = squares = None
        pixels = self.upload(pixels) if there else pixels
        xp = array_namespace(pixels)
        for model in self.models:
            on_it = on_device(model) if there else None
            for turns, mirrored in self.looks:
                seen = xp.rot90(pixels, turns, (1, 2))
                seen = xp.flip(seen, axis=2) if mirrored else seen
                levels = model.levels(np.ascontiguousarray(seen)) if on_it is None else on_it.levels_there(seen)
                levels = xp.flip(levels, axis=3) if mirrored else levels
                found = xp.astype(xp.rot90(levels, -turns, (2, 3)), xp.int32)
                total = found if total is None else total + found
                if squared:
                    wide = xp.astype(found, xp.int64)
                    squares = wide * wide if squares is None else squares + wide * wide
        assert total is not None
        return _Sums(total, squares)


class _Sums(NamedTuple):
    """What all looks say: (n, classes, h, w) int32 probabilities, LEVELS each, and their squares, int64."""

    total: Any
    squares: Any = None


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
    if one.factors != other.factors:
        seen = [f"images of {listed(map(str, card.factors))} times the tile" for card in (other, one)]
        raise ConfigError(f"{other.where}: sees {seen[0]}, {one.where} {seen[1]}; they cannot be averaged")
    if one.input_px != other.input_px:
        sizes = [f"{card.input_px} px" if card.input_px else "any size" for card in (other, one)]
        raise ConfigError(f"{other.where}: takes {sizes[0]}, {one.where} {sizes[1]}; they cannot be averaged")


def _scale(card: ModelCard) -> str:
    return f"{card.mpp:g} um/px" if card.mpp is not None else f"downsample {card.downsample}"
