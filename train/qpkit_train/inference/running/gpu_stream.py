"""The queue of a GPU: what it computes is copied out while the process does something else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from qpkit_train.models.card import Answer


class GpuStream:
    """The current stream of a CUDA device; see `Stream`.

    Args:
        device: The device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device: Final = device

    def mark(self) -> torch.cuda.Event:
        """A place in the queue; see `Stream`."""
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call] # torch leaves it untyped
        event.record(torch.cuda.current_stream(self._device))
        return event

    def fetch(self, answers: Sequence[Answer], since: torch.cuda.Event) -> OnTheWay:
        """Begin to copy answers out; see `Stream`."""
        return OnTheWay([answer.each(_copy) for answer in answers], since, self.mark())


class OnTheWay:
    """Answers that are being copied into pinned memory; see `Waiting`."""

    def __init__(self, answers: list[Answer], begun: torch.cuda.Event, done: torch.cuda.Event) -> None:
        self._answers, self._begun, self._done = answers, begun, done

    def wait(self) -> list[Answer]:
        """Wait until all of them are there."""
        self._done.synchronize()
        return [answer.each(Tensor.numpy) for answer in self._answers]

    @property
    def seconds(self) -> float:
        """From the mark to the last copy."""
        return float(self._begun.elapsed_time(self._done)) / 1000


def _copy(part: Tensor) -> Tensor:
    host = torch.empty(part.shape, dtype=part.dtype, pin_memory=True)
    return host.copy_(part, non_blocking=True)
