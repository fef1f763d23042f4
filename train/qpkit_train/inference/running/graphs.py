"""What a GPU did for a batch, recorded once and replayed: one call instead of hundreds.

Every call of torch's gives the interpreter back and has to get it again from the threads that read and write. With
eight of them a network of a hundred layers waits longer for that than it computes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any, Final

import torch
from torch import Tensor

_EAGER: Final = 2
"""Batches of a shape that are run as usual first: libraries choose algorithms, and the shape may never come again."""


class Graphs:
    """Runs functions of tensors on a GPU, the third time and from then on by a graph of what they did.

    A function that cannot be recorded (its network looks at its own results, or the memory is not enough for a second
    set of them) is run as usual each time. All graphs share their memory, as what they gave is copied at once.
    """

    def __init__(self) -> None:
        self._seen: Counter[Hashable] = Counter()
        self._made: dict[Hashable, tuple[torch.cuda.CUDAGraph, Tensor, list[Tensor]]] = {}
        self._refused = False
        self._pool: Any = None

    def __call__(self, name: Hashable, run: Callable[[Tensor], list[Tensor]], pixels: Tensor) -> list[Tensor]:
        """Run a function.

        Args:
            name: Tells what it does; the same name and shape give the same graph.
            run: The function. It may be replayed as long as this object lives, so what it uses has to stay there.
            pixels: On the GPU.

        Returns:
            What it gives, in tensors of their own.
        """
        key = (name, pixels.shape)
        if key not in self._made:
            self._seen[key] += 1
            if self._refused or self._seen[key] <= _EAGER or not self._record(key, run, pixels):
                return run(pixels)
        graph, place, found = self._made[key]
        place.copy_(pixels)
        graph.replay()
        return [part.clone() for part in found]

    def _record(self, key: Hashable, run: Callable[[Tensor], list[Tensor]], pixels: Tensor) -> bool:
        try:
            graph, place = torch.cuda.CUDAGraph(), pixels.clone()
            self._pool = self._pool or torch.cuda.graph_pool_handle()
            # Other threads go on with allocating memory meanwhile.
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                found = run(place)
        except RuntimeError:  # torch's OutOfMemoryError is one
            torch.cuda.synchronize(pixels.device)
            self._made.clear()
            self._refused = True
            return False
        self._made[key] = graph, place, found
        return True
