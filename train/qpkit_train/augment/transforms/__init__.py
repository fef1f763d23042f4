"""The augmentations: one file each. The next one is a file beside these.

It holds a subclass of `Exchange`, `Move` or `Recolor`, which is the registration: its fields are settings of [augment]
(defaults, bounds, help in its docstring), `shown` says in pages what they do, `apply` or `draw` does it. A file imports
torch inside its functions only, because recipes are read without it.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from qpkit_train.section import Section

if TYPE_CHECKING:
    from torch import Tensor

    from qpkit_train.augment.random import Stream
    from qpkit_train.augment.sampling import SamplingGrid
    from qpkit_train.augment.style_network import StyleSource

_K = TypeVar("_K", bound="Transform")


class Transform(Section, frozen=True, kw_only=True):
    """One augmentation. A strength of 0 switches it off.

    Class attributes:
        place: Where its settings stand in [augment] and when it is applied among its kind; no two are equal.
        stream: Name and number of its own random numbers, so that switching it on alters no other; never to be given to
            another. None for those that draw from the numbers of the whole batch, in the order of places.
        shown: For pages: (setting, what it does with its strength as "{:g}", setting of its probability or "").
    """

    place: ClassVar[int]
    stream: ClassVar[tuple[str, int] | None]
    shown: ClassVar[tuple[tuple[str, str, str], ...]]


class Exchange(Transform, frozen=True, kw_only=True):
    """Moves image and mask by exchanging pixels."""

    def apply(self, images: Tensor, targets: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Change (n, 3, h, w) and (n, h, w) uint8 alike."""
        raise NotImplementedError


class Drawn(Protocol):
    """Moves as they were drawn for n images."""

    @property
    def moved(self) -> NDArray[np.bool_]:
        """(n,) whether each is more than standing still."""
        ...

    def lead(self, at: SamplingGrid, chosen: NDArray[np.int64]) -> SamplingGrid:
        """Say where what is at these places, of the chosen images, comes from."""
        ...


class Move(Transform, frozen=True, kw_only=True):
    """Moves image and mask by a sampling grid, which it shares with all others of its kind.

    Class attributes:
        turn: Its place in the sampling grid, from the output to the source.
    """

    turn: ClassVar[int]

    def draw(self, count: int, height: int, width: int, stream: Stream) -> Drawn:
        """Draw what moves `count` images of height x width px."""
        raise NotImplementedError

    def reach(self, half: float, side: float) -> float:
        """How far from the middle of a crop of `side` px the source may be, if it was `half` px before this move."""
        raise NotImplementedError


class Recoloring(Protocol):
    """What changes the colours of a batch."""

    def apply(self, images: Tensor, stream: Stream) -> Tensor:
        """Change (n, 3, h, w) float32 in 0..1; images that nothing falls on keep their bits."""
        ...

    def apply_to_all(self, parts: Sequence[Tensor], factors: Sequence[int], stream: Stream) -> list[Tensor]:
        """Change the concentric images of n samples as one: all by the same random numbers.

        Args:
            parts: (n, 3, h, w) each, the tile's own first.
            factors: How many times its surroundings each shows. A change that has a length in px of the tile has as
                many um in all of them.
            stream: Random numbers, which a change with a stream of its own begins anew for each.
        """
        ...


class Recolor(Transform, frozen=True, kw_only=True):
    """Changes the image only; moves no pixel.

    Class attributes:
        shrinks: Its settings that are as many times smaller in an image that shows as many times its surroundings: px
            of the tile, and what a mean over px takes away.
    """

    shrinks: ClassVar[tuple[str, ...]] = ()

    def apply(self, images: Tensor, stream: Stream) -> Tensor:
        """Change a batch; see `Recoloring`."""
        raise NotImplementedError

    def apply_to_all(self, parts: Sequence[Tensor], factors: Sequence[int], stream: Stream) -> list[Tensor]:
        """Change the images of samples as one; see `Recoloring`."""
        scaled = [
            msgspec.structs.replace(self, **{name: getattr(self, name) / factor for name in self.shrinks})
            for factor in factors
        ]
        return [own.apply(part, stream) for own, part in zip(scaled, parts, strict=True)]

    def seeing(self, source: StyleSource | None) -> Recoloring:
        """The same, with what stainings come from for those that need it."""
        return self


@functools.cache
def transforms() -> tuple[type[Transform], ...]:
    """Every augmentation of this folder, in the order of places."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    found = sorted(_leaves(Transform), key=lambda kind: kind.place)
    places = [kind.place for kind in found]
    numbers = [kind.stream for kind in found if kind.stream is not None]
    assert len(set(places)) == len(places), "two augmentations have the same place"
    assert len({name for name, _ in numbers}) == len({number for _, number in numbers}) == len(numbers)
    return tuple(found)


def _leaves(kind: type[Transform]) -> Iterator[type[Transform]]:
    for below in kind.__subclasses__():
        if below in (Exchange, Move, Recolor):
            yield from _leaves(below)
        elif below.__module__.startswith(f"{__name__}."):
            yield below


def of_kind(kind: type[_K], config: object) -> list[_K]:
    """Those of one kind with their settings, in the order of places."""
    return [found.of(config) for found in transforms() if issubclass(found, kind)]


def stream_numbers() -> Mapping[str, int]:
    """Number of every random stream by its name."""
    return dict(found.stream for found in transforms() if found.stream is not None)


def settings_shown(config: Any) -> tuple[tuple[tuple[str, str, str], ...], tuple[str, ...]]:
    """Say what is on, as (setting, what it does, probability), and name what is off."""
    on, off = [], []
    for name, meaning, probability in (row for kind in transforms() for row in kind.shown):
        strength = getattr(config, name)
        fraction = getattr(config, probability) if probability else 1.0
        if strength and fraction:
            on.append((name, meaning.format(strength), f"{fraction:.0%}"))
        else:
            off.append(name)
    return tuple(on), tuple(off)
