"""Reads, predicts and writes at the same time: threads that read, the caller's thread for the device, one that writes.

Which items make a batch is fixed before anything is read, and batches are predicted and written in their order: the
result does not depend on how many threads there are, nor on which of them is faster. Memory holds some batches. Where
the device has a queue of its own, a batch is put there before the answer to the one before it is waited for. Knows no
slides, no files, and of models only that answers may have to be waited for.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from qpkit.cores import available_cores
from qpkit_train.models.card import Waiting

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")

Stage = Literal["reading", "predicting", "writing"]

_AHEAD: Final = 2
"""Batches that are read, or wait to be written, beside the one that is predicted."""

_WAITING: Final = 0.05
"""Where the device waits for more than this fraction of a batch's time, another thread reads."""

_FIRST_SHARE: Final = 2
"""Half of the cores read at first, two of them at least: threads that are too many stand in each other's way.

Of 16 cores beside an H200, eight threads read a tiled JPEG TIFF fastest, alone and beside the network (4: 353 tiles/s,
6: 393, 8: 414, 10: 366, 12: 330); OpenSlide goes on gaining up to 16.
"""

_SHARE_OF_GAIN: Final = 0.25
"""Threads that are added have to bring this part of what the others read on average, or they end again."""

_TO_KNOW: Final = 3
"""Items that each thread has to have read before it is said how fast they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages(Generic[_Item, _Answer]):
    """What is done to each batch.

    Args:
        read: Gives (h, w, 3) uint8 of an item; called by several threads at once.
        room: Makes the array (n, *shape) that a batch is read into.
        predict: Called in the caller's thread.
        queued: Whether `predict` gives a `Waiting`, whose answer is written.
        write: Called in one thread, with the items and their answer.
        shape: Of what `read` gives, such as (h, w, 3).
    """

    read: Callable[[_Item], NDArray[np.uint8]]
    room: Callable[[tuple[int, ...]], NDArray[np.uint8]]
    predict: Callable[[Sequence[_Item], NDArray[np.uint8]], Any]
    write: Callable[[Sequence[_Item], _Answer], None]
    shape: tuple[int, ...]
    queued: bool = False


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


def first_readers(readers: int | None) -> int:
    """Threads that read at first; `readers` where that is said."""
    return readers or max(2, available_cores() // _FIRST_SHARE)


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
        readers: Threads that read; None begins with a few and adds more while the device waits for them and they make
            reading faster, up to the number of cores.
        on_batch: Called in the caller's thread with the number of items of a batch that was predicted.
    """
    started = time.perf_counter()
    most = available_cores() if readers is None else readers
    reading = _Readers(batches, stages, most=min(most, max(1, sum(map(len, batches)))))
    writing = _Writer(stages.write)
    device = _Device(stages, writing, on_batch)
    try:
        reading.resize(first_readers(readers))
        adding = _Adding(reading) if readers is None else None
        before = time.perf_counter()
        for number, items in enumerate(batches):
            pixels, waited = reading.take()
            if adding is not None and number:
                adding.batch(len(items), needed=waited > _WAITING * (time.perf_counter() - before))
            before = time.perf_counter()
            device.predict(items, pixels)
        device.finish()
        writing.finish()
    finally:
        reading.close()
        writing.close()
    return StageTimes(
        readers=reading.threads,
        seconds=time.perf_counter() - started,
        reading=reading.busy,
        predicting=device.busy,
        writing=writing.busy,
    )


class _Device(Generic[_Item, _Answer]):
    """Has batches predicted, and hands the answers to the writer; with a queue, one batch behind."""

    def __init__(
        self, stages: Stages[_Item, _Answer], writer: _Writer[_Item, _Answer], on_batch: Callable[[int], None]
    ) -> None:
        self._stages, self._writer, self._on_batch = stages, writer, on_batch
        # With their pixels, from which the device may still be copying.
        self._queue: deque[tuple[Sequence[_Item], NDArray[np.uint8], Waiting]] = deque()
        self.busy = 0.0

    def predict(self, items: Sequence[_Item], pixels: NDArray[np.uint8]) -> None:
        """Begin a batch, and end the one before it."""
        before = time.perf_counter()
        answer = self._stages.predict(items, pixels)
        if not self._stages.queued:
            self.busy += time.perf_counter() - before
            self._done(items, answer)
            return
        self._queue.append((items, pixels, answer))
        if len(self._queue) > 1:
            self._end_one()

    def finish(self) -> None:
        """End all batches."""
        while self._queue:
            self._end_one()

    def _end_one(self) -> None:
        items, _, waiting = self._queue.popleft()
        answer = waiting.wait()
        self.busy += waiting.seconds
        self._done(items, answer)

    def _done(self, items: Sequence[_Item], answer: _Answer) -> None:
        self._writer.put(items, answer)
        self._on_batch(len(items))


class _Adding:
    """Adds readers, a half more each time, while they are waited for, until that does not make reading faster."""

    def __init__(self, reading: _Readers[Any]) -> None:
        self._reading, self._best, self._before, self._ended = reading, 0.0, reading.threads, False
        self._start()

    def _start(self, settled: bool = False) -> None:
        self._items, self._since, self._settled = 0, time.perf_counter(), settled

    def batch(self, items: int, *, needed: bool) -> None:
        """A batch was read; it was needed before it was there, or not."""
        if not needed:  # how fast the device takes batches says nothing of the readers
            self._start()
            return
        self._items += items
        threads = self._reading.threads
        if not self._settled and self._items >= threads:  # what was added has read its first item
            self._start(settled=True)
        if self._ended or self._items < _TO_KNOW * threads:
            return
        rate = self._items / (time.perf_counter() - self._since)
        if rate < self._best * (1 + _SHARE_OF_GAIN * (threads - self._before) / self._before):
            self._reading.resize(self._before)
            self._ended = True
            return
        self._best, self._before = rate, threads
        self._reading.resize(threads + max(1, threads // 2))
        self._start()


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
        lock = threading.Lock()
        self._room, self._ready = threading.Condition(lock), threading.Condition(lock)
        self._threads: list[threading.Thread] = []
        self.threads = 0
        self.busy = 0.0

    def resize(self, count: int) -> None:
        """Have so many threads, but not more than there may be; those that are too many end after their item."""
        self.threads = min(count, self.most)
        while len(self._threads) < self.threads:
            number = len(self._threads)
            thread = threading.Thread(target=self._work, args=(number,), name=f"qpkit-read-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def take(self) -> tuple[NDArray[np.uint8], float]:
        """Wait for the next batch: its pixels, and the seconds that were waited."""
        before = time.perf_counter()
        with self._ready:
            self._ready.wait_for(self._is_ready)
            if self._fault is not None:
                raise self._fault
            batch = self._open.pop(self._taken)
            self._taken += 1
            # Only those that find something to read.
            self._room.notify(len(batch.pixels))
        if batch.faults:
            raise batch.faults[min(batch.faults)]
        return batch.pixels, time.perf_counter() - before

    def close(self) -> None:
        """End all threads."""
        with self._room:
            self._closed = True
            self._room.notify_all()
        for thread in self._threads:
            thread.join()

    def _is_ready(self) -> bool:
        return self._fault is not None or (self._taken in self._open and self._open[self._taken].left == 0)

    def _may_go_on(self) -> bool:
        return self._closed or self._next is None or self._next[0] < self._taken + self._ahead

    def _work(self, own: int) -> None:
        while (place := self._place(own)) is not None:
            number, index, batch = place
            before = time.perf_counter()
            fault: BaseException | None = None
            try:
                batch.pixels[index] = self._stages.read(self._batches[number][index])
            except BaseException as err:  # noqa: BLE001 - whatever it is, it is raised where the batch is taken
                fault = err
            with self._ready:
                self.busy += time.perf_counter() - before
                if fault is not None:
                    batch.faults[index] = fault
                batch.left -= 1
                if batch.left == 0:
                    self._ready.notify()

    def _place(self, own: int) -> tuple[int, int, _Batch] | None:
        """Number of the batch, place in it, and the batch to read into next; None where thread `own` ends."""
        with self._room:
            self._room.wait_for(self._may_go_on)
            if self._closed or self._next is None:
                return None
            if own >= self.threads:
                self._room.notify()  # another one, of what this one was woken for
                return None
            number, index = self._next
            self._next = next(self._places, None)
            if number not in self._open:
                shape = (len(self._batches[number]), *self._stages.shape)
                try:
                    self._open[number] = _Batch(self._stages.room(shape))
                except BaseException as err:  # noqa: BLE001 - raised where batches are taken
                    self._fault = err
                    self._ready.notify()
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
