"""Reads, predicts and writes at the same time: threads that read, the caller's thread for the device, one that writes.

Which items make a batch is fixed before anything is read, and batches are predicted and written in their order: the
result does not depend on how many threads there are, nor on which of them is faster. Memory holds some batches. Knows
no slides, no models and no files.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from qpkit.cores import available_cores

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")

Stage = Literal["reading", "predicting", "writing"]

_AHEAD: Final = 2
"""Batches that are read, or wait to be written, beside the one that is predicted."""

_WAITING: Final = 0.05
"""Where the device waits for more than this fraction of a batch's time, another thread reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages(Generic[_Item, _Answer]):
    """What is done to each batch.

    Args:
        read: Gives (h, w, 3) uint8 of an item; called by several threads at once.
        room: Makes the array (n, h, w, 3) that a batch is read into.
        predict: Called in the caller's thread.
        write: Called in one thread, with the items and their answer.
        side: Height and width that `read` gives.
    """

    read: Callable[[_Item], NDArray[np.uint8]]
    room: Callable[[tuple[int, ...]], NDArray[np.uint8]]
    predict: Callable[[Sequence[_Item], NDArray[np.uint8]], _Answer]
    write: Callable[[Sequence[_Item], _Answer], None]
    side: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTimes:
    """Where the time of a loop went.

    Args:
        readers: Threads that read in the end.
        seconds: Of the whole loop.
        reading: Seconds in which threads read, all of them added up.
        predicting: Seconds in which the device worked, or its answer was waited for.
        writing: Seconds in which the writing thread worked.
    """

    readers: int
    seconds: float
    reading: float
    predicting: float
    writing: float

    @property
    def device_busy(self) -> float:
        """Fraction of the loop in which the device worked, 0..1."""
        return min(1.0, self.predicting / max(self.seconds, 1e-9))

    @property
    def slowest(self) -> Stage:
        """The stage that holds the others up: the one that was busy for most of the loop."""
        busy: dict[Stage, float] = {
            "reading": self.reading / max(self.readers, 1),
            "predicting": self.predicting,
            "writing": self.writing,
        }
        return max(busy, key=lambda stage: busy[stage])


def run_stages(
    batches: Sequence[Sequence[_Item]],
    stages: Stages[_Item, _Answer],
    *,
    readers: int | None = None,
    on_batch: Callable[[int], None] = lambda items: None,
) -> StageTimes:
    """Read, predict and write batches, each in its turn.

    Args:
        batches: Items of each.
        stages: What is done to them. What one of them raises comes out here, after the threads have ended.
        readers: Threads that read; None begins with one for each item of the first batch and adds more while the device
            waits for them, up to the number of cores.
        on_batch: Called in the caller's thread with the number of items of a batch that was predicted.
    """
    started = time.perf_counter()
    predicting = 0.0
    most = available_cores() if readers is None else readers
    reading = _Readers(batches, stages, most=min(most, max(1, sum(map(len, batches)))))
    writing = _Writer(stages.write)
    try:
        # Nothing else works before the first batch is there.
        for _ in range(len(batches[0]) if readers is None and batches else reading.most):
            reading.add()
        before = time.perf_counter()
        for number, items in enumerate(batches):
            pixels, waited = reading.take()
            if readers is None and number and waited > _WAITING * (time.perf_counter() - before):
                reading.add()
            before = time.perf_counter()
            answer = stages.predict(items, pixels)
            predicting += time.perf_counter() - before
            writing.put(items, answer)
            on_batch(len(items))
        writing.finish()
    finally:
        reading.close()
        writing.close()
    return StageTimes(
        readers=reading.threads,
        seconds=time.perf_counter() - started,
        reading=reading.busy,
        predicting=predicting,
        writing=writing.busy,
    )


class _Batch:
    """The array that a batch is read into, and what of it is missing."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self.pixels = pixels
        self.left = len(pixels)
        self.faults: dict[int, BaseException] = {}


class _Readers(Generic[_Item]):
    """Threads that read items in their order, some batches ahead of who takes them."""

    def __init__(self, batches: Sequence[Sequence[_Item]], stages: Stages[_Item, Any], *, most: int) -> None:
        self._batches, self._stages, self.most = batches, stages, most
        longest = max(map(len, batches), default=1)
        # Enough for every thread to have an item while a whole batch waits.
        self._ahead = max(_AHEAD, 1 + -(-most // longest))
        self._places = iter([(number, i) for number, items in enumerate(batches) for i in range(len(items))])
        self._next = next(self._places, None)
        self._open: dict[int, _Batch] = {}
        self._taken = 0
        self._closed = False
        self._fault: BaseException | None = None
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self.busy = 0.0

    @property
    def threads(self) -> int:
        """How many there are."""
        return len(self._threads)

    def add(self) -> None:
        """Start another thread, if there may be one more."""
        if self.threads < self.most:
            thread = threading.Thread(target=self._work, name=f"qpkit-read-{self.threads}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def take(self) -> tuple[NDArray[np.uint8], float]:
        """Wait for the next batch: its pixels, and the seconds that were waited."""
        before = time.perf_counter()
        with self._changed:
            self._changed.wait_for(self._is_ready)
            if self._fault is not None:
                raise self._fault
            batch = self._open.pop(self._taken)
            self._taken += 1
            self._changed.notify_all()
        if batch.faults:
            raise batch.faults[min(batch.faults)]
        return batch.pixels, time.perf_counter() - before

    def close(self) -> None:
        """End all threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _is_ready(self) -> bool:
        return self._fault is not None or (self._taken in self._open and self._open[self._taken].left == 0)

    def _may_go_on(self) -> bool:
        return self._closed or self._next is None or self._next[0] < self._taken + self._ahead

    def _work(self) -> None:
        while (place := self._place()) is not None:
            number, index, batch = place
            before = time.perf_counter()
            fault: BaseException | None = None
            try:
                batch.pixels[index] = self._stages.read(self._batches[number][index])
            except BaseException as err:  # noqa: BLE001 - whatever it is, it is raised where the batch is taken
                fault = err
            with self._changed:
                self.busy += time.perf_counter() - before
                if fault is not None:
                    batch.faults[index] = fault
                batch.left -= 1
                if batch.left == 0:
                    self._changed.notify_all()

    def _place(self) -> tuple[int, int, _Batch] | None:
        """Number of the batch, place in it, and the batch to read into next; None at the end."""
        with self._changed:
            self._changed.wait_for(self._may_go_on)
            if self._closed or self._next is None:
                return None
            number, index = self._next
            self._next = next(self._places, None)
            if number not in self._open:
                shape = (len(self._batches[number]), *self._stages.side, 3)
                try:
                    self._open[number] = _Batch(self._stages.room(shape))
                except BaseException as err:  # noqa: BLE001 - raised where batches are taken
                    self._fault = err
                    self._changed.notify_all()
                    return None
            return number, index, self._open[number]


class _Writer(Generic[_Item, _Answer]):
    """One thread that writes answers in their order."""

    def __init__(self, write: Callable[[Sequence[_Item], _Answer], None]) -> None:
        self._write = write
        self._waiting: queue.Queue[tuple[Sequence[_Item], _Answer] | None] = queue.Queue(_AHEAD)
        self._fault: BaseException | None = None
        self.busy = 0.0
        self._thread = threading.Thread(target=self._work, name="qpkit-write", daemon=True)
        self._thread.start()

    def put(self, items: Sequence[_Item], answer: _Answer) -> None:
        """Hand over an answer; raises what an earlier one was refused with."""
        self._waiting.put((items, answer))
        if self._fault is not None:
            raise self._fault

    def finish(self) -> None:
        """Wait until everything is written; raises what was raised there."""
        self.close()
        if self._fault is not None:
            raise self._fault

    def close(self) -> None:
        """End the thread after what it has been given."""
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join()

    def _work(self) -> None:
        while (given := self._waiting.get()) is not None:
            if self._fault is not None:
                continue
            before = time.perf_counter()
            try:
                self._write(*given)
            except BaseException as err:  # noqa: BLE001 - raised in the thread that hands over
                self._fault = err
            self.busy += time.perf_counter() - before
