"""How many threads are of use, and work done in that many."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import TypeVar

Result = TypeVar("Result")


def available_cores() -> int:
    """Cores that this process may use; a job on a cluster has fewer than the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(jobs: Iterable[Callable[[], Result]]) -> Iterator[Result]:
    """Do jobs that let the interpreter go in a thread per core, no more than one per core ahead; a single one here.

    Returns:
        What they give, in their order.
    """
    waiting = iter(jobs)
    first = list(islice(waiting, 2))
    if len(first) < 2:
        yield from (job() for job in first)
        return
    cores = available_cores()
    with ThreadPoolExecutor(cores) as threads:
        running: list[Future[Result]] = []
        for job in chain(first, waiting):
            running.append(threads.submit(job))
            if len(running) > cores:
                yield running.pop(0).result()
        while running:
            yield running.pop(0).result()
