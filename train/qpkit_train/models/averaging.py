"""A moving average of a network's weights (EMA), which changes less from step to step than the weights themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import torch
from torch import Tensor

_EARLY: Final = 10
"""In the first steps the average follows faster: it keeps (1 + step) / (10 + step) at most."""


class WeightAverage:
    """Averages the floating-point weights and buffers of a network; others are taken as they are.

    Args:
        network: To be averaged.
        keep: Fraction of the old at each step, 0..1; 0 does nothing at all.
        prefix: How the average's tensors begin in the run folder.
        average: Tensors to average in, by name, such as another network's own; new ones if left out.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        *,
        keep: float,
        prefix: str = "ema/",
        average: dict[str, Tensor] | None = None,
    ) -> None:
        self._network, self._keep, self._prefix, self._steps = network, keep, prefix, 0
        own = {name: value.detach().clone() for name, value in network.state_dict().items()} if keep else {}
        self._average = own if average is None else average

    def update(self) -> None:
        """Take in the weights after a step of the optimizer."""
        if not self._keep:
            return
        self._steps += 1
        keep = min(self._keep, (1 + self._steps) / (_EARLY + self._steps))
        for name, value in self._network.state_dict().items():
            if value.is_floating_point():
                self._average[name].lerp_(value.detach(), 1 - keep)
            else:
                self._average[name].copy_(value)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average into the network for a block."""
        if not self._keep:
            yield
            return
        own = {name: value.detach().clone() for name, value in self._network.state_dict().items()}
        self._network.load_state_dict(self._average)
        try:
            yield
        finally:
            self._network.load_state_dict(own)

    def tensors(self) -> dict[str, Tensor]:
        """What the run folder keeps."""
        if not self._keep:
            return {}
        named = {f"{self._prefix}{name}": value for name, value in self._average.items()}
        return named | {self._prefix: torch.tensor(self._steps)}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take out of `tensors` what `tensors()` had put there."""
        mine: Mapping[str, Tensor] = {k: tensors.pop(k) for k in list(tensors) if k.startswith(self._prefix)}
        for key, value in mine.items():
            if key == self._prefix:
                self._steps = int(value)
            elif key.removeprefix(self._prefix) in self._average:
                self._average[key.removeprefix(self._prefix)].copy_(value)
