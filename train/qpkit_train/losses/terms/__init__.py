"""The terms that a loss is the sum of: one file each. The next one is a file beside these, with a subclass of `Term`.

The subclass is the registration: its fields are settings of [loss] (defaults, bounds, help in its docstring), the first
line of the docstring says in docs what it is. A file imports torch inside its functions only, because recipes are read
without it. Every term leaves unknown pixels out of value and gradient, and is 0 with gradient 0 where every pixel is
unknown.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from qpkit_train.section import Section

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Scored:
    """The logits and targets that a term is computed from.

    Args:
        logits: (n, classes, h, w) float32.
        target: (n, h, w) int64 class indices or IGNORE_INDEX.
        weights: (classes,) float32, a pixel's weight by its true class, or for the terms about areas the class's weight
            in the mean; None for all 1.
        sigmoid: Whether the classes are independent; else they share a softmax.
        background: Class index that terms about areas leave out of their mean.
    """

    logits: Tensor
    target: Tensor
    weights: Tensor | None
    sigmoid: bool
    background: int

    def probabilities(self) -> Tensor:
        """(n, classes, h, w) float32; every call works them out anew, so that each term has a gradient of its own."""
        from qpkit_train.losses.activation import probabilities_of

        return probabilities_of(self.logits, sigmoid=self.sigmoid)


class Term(Section, frozen=True, kw_only=True):
    """One term of a loss.

    Class attributes:
        name: In loss.terms.
        sigmoid: Whether it makes the classes independent, in all terms of the sum.
        excludes: Terms that cannot stand beside it.
    """

    name: ClassVar[str]
    sigmoid: ClassVar[bool] = False
    excludes: ClassVar[tuple[str, ...]] = ()

    def value(self, scored: Scored) -> Tensor:
        """The loss, a scalar float32."""
        raise NotImplementedError


@functools.cache
def loss_terms() -> Mapping[str, type[Term]]:
    """Every term of this folder by its name, in alphabetical order."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    kinds = [kind for kind in Term.__subclasses__() if kind.__module__.startswith(f"{__name__}.")]
    found = {kind.name: kind for kind in sorted(kinds, key=lambda kind: kind.name)}
    assert len(found) == len(kinds), "two terms of a loss are called alike"
    return found
