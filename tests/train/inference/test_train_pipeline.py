"""Reading, predicting and writing side by side: in order, equal whatever the threads, and errors come out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from qpkit.errors import FormatError, OutputError
from qpkit_train.inference import pipeline
from qpkit_train.inference.pipeline import Stages, StageTimes, run_stages


def stages(
    written: list[tuple[int, ...]],
    *,
    read: Callable[[int], None] = lambda item: None,
    predict: Callable[[], None] = lambda: None,
    write: Callable[[Sequence[int]], None] = lambda items: None,
) -> Stages[int, tuple[int, ...]]:
    def reads(item: int) -> NDArray[np.uint8]:
        read(item)
        return np.full((2, 3, 3), item, np.uint8)

    def predicts(items: Sequence[int], pixels: NDArray[np.uint8]) -> tuple[int, ...]:
        predict()
        assert pixels.shape == (len(items), 2, 3, 3)
        return tuple(int(value) for value in pixels[:, 0, 0, 0])

    def writes(items: Sequence[int], answer: tuple[int, ...]) -> None:
        write(items)
        assert answer == tuple(items)
        written.append(answer)

    return Stages(
        read=reads, room=lambda shape: np.empty(shape, np.uint8), predict=predicts, write=writes, shape=(2, 3, 3)
    )


def batched(items: range, size: int) -> list[range]:
    return [items[i : i + size] for i in range(0, len(items), size)]


@settings(max_examples=25, deadline=None)
@given(count=st.integers(0, 40), size=st.integers(1, 7), readers=st.none() | st.integers(1, 9))
def test_batches_are_written_in_their_order_whatever_the_threads(count: int, size: int, readers: int | None) -> None:
    written: list[tuple[int, ...]] = []
    done: list[int] = []
    batches = batched(range(count), size)
    run_stages(
        batches,
        stages(written, read=lambda item: time.sleep(item * 7 % 3 / 2000)),
        readers=readers,
        on_batch=done.append,
    )
    assert written == [tuple(items) for items in batches]
    assert sum(done) == count


def test_memory_holds_some_batches_however_slow_the_device_is() -> None:
    ahead: list[int] = []
    started, written = 0, []

    def read(item: int) -> None:
        nonlocal started
        started = max(started, item)

    def predict() -> None:
        time.sleep(0.005)
        ahead.append(started - 2 * len(ahead))

    run_stages(batched(range(60), 2), stages(written, read=read, predict=predict), readers=2)
    assert max(ahead) <= 2 * 4


@pytest.mark.parametrize("stage", ["read", "predict", "write", "room"])
def test_an_error_comes_out_and_all_threads_end(stage: str) -> None:
    def fails(*_: object) -> None:
        raise OutputError("full") if stage == "write" else FormatError("broken")

    broken = stages([], **{stage: fails} if stage != "room" else {})  # type: ignore[arg-type]
    if stage == "room":
        broken = Stages(
            read=broken.read, room=fails, predict=broken.predict, write=broken.write, shape=(2, 3, 3)  # type: ignore[arg-type]
        )  # fmt: skip
    with pytest.raises(OutputError if stage == "write" else FormatError):
        run_stages(batched(range(100), 3), broken, readers=3)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("qpkit-")]


def times(**slow: float) -> StageTimes:
    sleeps = {stage: (lambda *_, seconds=seconds: time.sleep(seconds)) for stage, seconds in slow.items()}
    return run_stages(batched(range(24), 2), stages([], **sleeps))  # type: ignore[arg-type]


def test_the_stage_that_holds_the_others_up_is_named_and_readers_are_added_while_the_device_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("qpkit_train.inference.pipeline.available_cores", lambda: 3)
    reading, predicting, writing = times(read=0.01), times(predict=0.02), times(write=0.02)
    assert (reading.slowest, predicting.slowest, writing.slowest) == ("reading", "predicting", "writing")
    assert reading.readers == 3 and predicting.readers < 3
    assert predicting.device_busy > 0.7 > reading.device_busy
    assert reading.reading > 0.2 and writing.writing > 0.2


@pytest.mark.parametrize(("gain", "ends_with"), [(1.0, 12), (0.5, 12), (0.1, 4), (0.0, 4)])
def test_readers_are_added_while_they_read_faster(monkeypatch: pytest.MonkeyPatch, gain: float, ends_with: int) -> None:
    now = 0.0
    monkeypatch.setattr(pipeline.time, "perf_counter", lambda: now)

    class Readers:
        """The first four read as they are told to; each more brings `gain` of that."""

        threads, most = 4, 12

        def resize(self, count: int) -> None:
            self.threads = min(count, self.most)

    readers = Readers()
    adding = pipeline._Adding(readers)  # type: ignore[arg-type]
    adding.batch(100, needed=False)
    assert readers.threads == 4  # nobody waited
    most = 0
    for _ in range(200):
        now += 1 / (4 + gain * (readers.threads - 4))
        adding.batch(1, needed=True)
        most = max(most, readers.threads)
    assert readers.threads == ends_with
    assert most > 4  # it was tried


def test_readers_that_are_too_many_end_and_nothing_is_lost() -> None:
    written: list[tuple[int, ...]] = []
    batches = batched(range(120), 1)
    reading = pipeline._Readers(batches, stages(written), most=8)
    reading.resize(8)
    for number, items in enumerate(batches):
        pixels, _ = reading.take()
        assert pixels[:, 0, 0, 0].tolist() == list(items)
        if number == 20:
            reading.resize(2)
    reading.close()
    assert reading.threads == 2
