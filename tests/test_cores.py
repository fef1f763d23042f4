from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from qpkit.cores import available_cores, in_order


@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_results_come_in_the_order_of_the_jobs_and_few_run_ahead(count: int) -> None:
    begun: list[int] = []

    def job(number: int) -> int:
        begun.append(number)
        return number

    taken = 0
    for taken, result in enumerate(in_order(partial(job, n) for n in range(count)), 1):
        assert result == taken - 1
        assert len(begun) <= taken + available_cores() + 1
    assert taken == count


def test_a_fault_in_a_job_reaches_the_caller_and_no_thread_stays() -> None:
    def jobs() -> Iterator[Callable[[], int]]:
        yield lambda: 1
        yield lambda: 1 // 0
        yield lambda: 2

    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        list(in_order(jobs()))
    assert threading.active_count() == before
