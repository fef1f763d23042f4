"""PCA: colours are shifted along the axes in which an image's own colours vary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

from qpkit.settings import FRACTION
from qpkit_train.augment.random import Stream, chosen_of, like, replaced
from qpkit_train.augment.transforms import Recolor

if TYPE_CHECKING:
    from torch import Tensor


class Pca(Recolor, frozen=True, kw_only=True):
    """Shift the colour of a whole image along its own three principal axes.

    Krizhevsky, Sutskever and Hinton 2012, with the axes of each image instead of those of all.

    Args:
        pca: Along each axis by up to so many standard deviations of the image's colours along it, either way.
        pca_p: Probability of it.
    """

    pca: Annotated[float, FRACTION] = 0.0
    pca_p: Annotated[float, FRACTION] = 0.5

    place: ClassVar = 55
    stream: ClassVar = ("pca", 12)
    shown: ClassVar = (("pca", "colours shifted along their axes by up to ± {:g} deviations", "pca_p"),)

    def apply(self, images: Tensor, stream: Stream) -> Tensor:
        """Shift some of (n, 3, h, w) in 0..1."""
        return self.apply_to_all([images], [1], stream)[0]

    def apply_to_all(self, parts: Sequence[Tensor], factors: Sequence[int], stream: Stream) -> list[Tensor]:
        """Shift all images of a sample by the same, along the axes of the first."""
        images, rng = parts[0], stream("pca")
        chosen = chosen_of(rng, len(images), self.pca_p)
        steps = self.pca * rng.uniform(-1, 1, (len(images), 3))[chosen]
        if not self.pca or not len(chosen):
            return list(parts)
        shift = _shift_of(images[chosen], like(steps, images))
        return [replaced(part, chosen, lambda own: (own + shift).clamp(0, 1)) for part in parts]


def _shift_of(images: Tensor, steps: Tensor) -> Tensor:
    """(n, 3, 1, 1): so many deviations along the axes of the colours, the shortest first."""
    import torch

    colors = images.flatten(2)
    spread = colors - colors.mean(dim=2, keepdim=True)
    variances, axes = torch.linalg.eigh(spread @ spread.mT / colors.shape[2])
    # An axis points to where most of it is positive, on every device.
    axes = axes * torch.where(axes.sum(dim=1, keepdim=True) < 0, -1.0, 1.0)
    shift: Tensor = axes @ (steps * variances.clamp(min=0).sqrt()).unsqueeze(-1)
    return shift.unsqueeze(-1)
