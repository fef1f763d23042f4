"""Reads what comes next in threads, while the consumer works; no torch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_A = TypeVar("_A")
_B = TypeVar("_B")


def read_ahead(read: Callable[[_A], _B], items: Iterable[_A], *, workers: int, waiting: int) -> Iterator[_B]:
    """Give what `read` makes of each item, in their order.

    Args:
        read: Called in the threads; what it raises comes out at its item's turn.
        items: One for each call.
        workers: Threads.
        waiting: How many items are read, or are about to be, while the consumer has one.
    """
    with ThreadPoolExecutor(workers) as pool:
        running: deque[Future[_B]] = deque()
        try:
            for item in items:
                running.append(pool.submit(read, item))
                if len(running) > waiting:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()
