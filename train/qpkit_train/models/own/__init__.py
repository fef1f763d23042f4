"""qpkit's own networks: one file each. The next one is a file beside these, with a builder marked @architecture.

A builder takes `classes` and keywords (what a recipe gives as model.options) and returns a network that maps
(n, 3, h, w) float to (n, classes, h, w) logits, for every h and w that are multiples of STRIDE (32). Those with an
encoder take `encoder` and `depth`, too, and keep it in their attribute `encoder`, where weights are loaded into and
which freezing holds still; further encoders of the same kind stand in a ModuleList `context_encoders`.

Those that take several images get `factors`, too, such as (1, 4), and map (n, 3 k, h, w): k concentric images of as
many px, the tile's own first, each of which shows `factor` times as much.

In training a network may answer with a tuple: the logits, then coarser ones (deep supervision), or, of those with an
attribute `branches`, what each of so many branches would answer, at the tile's resolution. `models/forward.py` gives
whoever wants one answer the first.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import torch

Builder = Callable[..., torch.nn.Module]

_B = TypeVar("_B", bound=Builder)

ANY: Final = 8
"""Images of a sample, at most."""

_FOUND: Final[dict[str, Architecture]] = {}


@dataclass(frozen=True, slots=True)
class Architecture:
    """One of qpkit's own networks.

    Args:
        name: What recipes call it.
        build: build(classes, **options), or build(classes, encoder=..., depth=..., **options) with an encoder.
        has_encoder: Whether it has one that recipes choose.
        default_depth: How often that halves the image if the recipe does not say; 0 without one.
        images: How many images a sample may have, least and most; (1, 1) of networks that see the tile alone.
    """

    name: str
    build: Builder
    has_encoder: bool
    default_depth: int
    images: tuple[int, int] = (1, 1)


def architecture(
    name: str, *, has_encoder: bool, default_depth: int = 0, images: tuple[int, int] = (1, 1)
) -> Callable[[_B], _B]:
    """Mark a builder; see Architecture."""

    def mark(build: _B) -> _B:
        assert name not in _FOUND, f"two architectures are called {name}"
        _FOUND[name] = Architecture(name, build, has_encoder, default_depth, images)
        return build

    return mark


@functools.cache
def own_architectures() -> dict[str, Architecture]:
    """Every architecture of this folder by its name."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return dict(sorted(_FOUND.items()))
