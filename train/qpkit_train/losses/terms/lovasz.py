"""Lovasz loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from qpkit.ops.scores.confusion import IGNORE_INDEX
from qpkit_train.losses.terms import Scored, Term

if TYPE_CHECKING:
    from torch import Tensor


class Lovasz(Term, frozen=True, kw_only=True):
    """Lovasz extension of 1 - IoU, over the whole batch, mean over classes without background.

    Source: Berman et al. 2018, The Lovasz-Softmax loss, equations 8 and 9.
    """

    name: ClassVar = "lovasz"

    def value(self, scored: Scored) -> Tensor:
        """The loss of a batch."""
        import torch

        from qpkit_train.losses.pixels import class_mean

        known = scored.target != IGNORE_INDEX
        probabilities = scored.probabilities()
        flat = probabilities.movedim(1, -1)[known]
        truth = scored.target[known]
        losses, shown = [], []
        for value in range(probabilities.shape[1]):
            inside = (truth == value).to(probabilities.dtype)
            errors, order = (inside - flat[:, value]).abs().sort(descending=True)
            losses.append((errors * _lovasz_slope(inside[order])).sum())
            shown.append(inside.sum() > 0)
        return class_mean(torch.stack(losses), torch.stack(shown), scored.weights, scored.background)


def _lovasz_slope(inside: Tensor) -> Tensor:
    """Growth of 1 - IoU when the pixels, worst first, become errors one after the other: (pixels,)."""
    import torch

    total = inside.sum()
    missed = inside.cumsum(0)
    jaccard = 1 - (total - missed) / (total + (1 - inside).cumsum(0)).clamp(min=1)
    return torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])
