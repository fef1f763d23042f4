"""Style: the staining of other slides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, cast

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from qpkit.settings import FRACTION
from qpkit_train.augment.random import Stream, chosen_of, like, replaced
from qpkit_train.augment.transforms import Recolor, Recoloring

if TYPE_CHECKING:
    from torch import Tensor

    from qpkit_train.augment.stainings import Change
    from qpkit_train.augment.style_network import StyleNetwork, StyleSource

Way = Literal["reinhard", "macenko", "fourier", "randstain", "network"]


class Style(Recolor, frozen=True, kw_only=True):
    """Give images the staining of other tiles, or of pictures in a folder.

    Args:
        style: How far towards the other staining: strengths from 0 to this; 1 is all the way.
        style_way: "reinhard" (mean and deviation of tissue in CIE Lab), "macenko" (colours and densities of the two
            stains), "fourier" (the lowest frequencies), "randstain" (as reinhard, to a mean and deviation drawn from
            those of all tiles: Shen et al. 2022) or "network" (that qpkit train-style made).
        style_from: Folder with PNG, JPEG or TIFF pictures whose staining images get; empty for training tiles of all
            slides. Of "network", what qpkit train-style wrote.
        style_p: Probability of it.
    """

    style: Annotated[float, FRACTION] = 0.0
    style_way: Way = "reinhard"
    style_from: str = ""
    style_p: Annotated[float, FRACTION] = 0.3

    place: ClassVar = 48
    stream: ClassVar = ("style", 14)
    shown: ClassVar = (("style", "the staining of other tiles, up to {:g} of it", "style_p"),)

    def apply(self, images: Tensor, stream: Stream) -> Tensor:
        """Nothing: see `seeing`."""
        assert not (self.style and self.style_p), "style, without pictures to take it from"
        return images

    def faults(self) -> Iterator[str]:
        """Name a network that is not said."""
        if self.style and self.style_way == "network" and not self.style_from:
            yield 'augment.style_way = "network" needs augment.style_from, a folder that qpkit train-style wrote'

    def seeing(self, source: StyleSource | None) -> Recoloring:
        """The same, which restains some of the images."""
        return self if source is None else _Styled(self, source)


class _Styled:
    """A Style that has pictures or a network; see `Recoloring`."""

    def __init__(self, how: Style, source: StyleSource) -> None:
        self._how, self._source = how, source

    def apply(self, images: Tensor, stream: Stream) -> Tensor:
        """Restain some of (n, 3, h, w) in 0..1."""
        return self.apply_to_all([images], [1], stream)[0]

    def apply_to_all(self, parts: Sequence[Tensor], factors: Sequence[int], stream: Stream) -> list[Tensor]:
        """Restain all images of a sample by what the first one shows."""
        images, rng, how = parts[0], stream("style"), self._how
        chosen = chosen_of(rng, len(images), how.style_p)
        strength = how.style * rng.uniform(0, 1, len(images))[chosen]
        numbers = rng.integers(0, self._count, len(images))[chosen]
        draws = rng.uniform(0, 1, (len(images), 2, 3))[chosen]
        if not how.style or not len(chosen):
            return list(parts)
        change = self._change(images[chosen], like(strength, images), numbers, draws)
        return [replaced(part, chosen, change) for part in parts]

    def _change(
        self, images: Tensor, strength: Tensor, numbers: NDArray[np.int64], draws: NDArray[np.float64]
    ) -> Change:
        import torch

        from qpkit_train.augment import stainings

        if self._how.style_way == "network":
            network = cast("StyleNetwork", self._source).to(images.device)
            return lambda part: torch.lerp(part, network(part), strength.view(-1, 1, 1, 1))
        if self._how.style_way == "randstain":
            means, deviations = drawn_statistics(*self._statistics, draws)
            return stainings.towards(images, like(means, images), like(deviations, images), strength)
        others = self._pictures[numbers].to(images.device).to(images.dtype) / 255
        ways = {"reinhard": stainings.reinhard, "macenko": stainings.macenko, "fourier": stainings.fourier}
        return ways[self._how.style_way](images, others, strength)

    @property
    def _pictures(self) -> Tensor:
        return cast("Tensor", self._source)

    @property
    def _count(self) -> int:
        """Pictures; 1 for a network, which is the same for all."""
        return len(self._pictures) if self._how.style_way != "network" else 1

    @cached_property
    def _statistics(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Means and deviations of all pictures in CIE Lab, (k, 3) each."""
        from qpkit_train.augment.stainings import statistics

        parts = [statistics(picture[None].float() / 255) for picture in self._pictures]
        means, deviations = ([part[i][0].double().numpy() for part in parts] for i in (0, 1))
        return np.array(means), np.array(deviations)


def drawn_statistics(
    means: NDArray[np.float64], deviations: NDArray[np.float64], draws: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw stainings that nobody has seen: every number normal, as it is among those that were seen.

    Args:
        means, deviations: (k, 3) of pictures, in CIE Lab.
        draws: (n, 2, 3) in 0..1.

    Returns:
        (n, 3) each; at most two deviations from the mean, and none is spread less than a tenth of the mean spread.
    """
    normal = np.clip(ndtri(np.clip(draws, 1e-6, 1 - 1e-6)), -2, 2)
    made = means.mean(axis=0) + normal[:, 0] * means.std(axis=0)
    spread = deviations.mean(axis=0) + normal[:, 1] * deviations.std(axis=0)
    return made, np.maximum(spread, deviations.mean(axis=0) / 10)
