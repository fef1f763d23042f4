"""Graphs of what a GPU did, with a recorder that stands for CUDA's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from qpkit_train.inference.running.graphs import Graphs


class Recorder:
    """Records nothing; a replay runs the function on what lies in its place."""

    def __init__(self) -> None:
        self.graphs: list[Any] = []
        self.fails = False
        self.eager = 0

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        recorder = self

        class Graph:
            def replay(self) -> None:
                self.found[0].copy_(double(self.place))  # type: ignore[attr-defined] # set by the test's function

        @contextmanager
        def graph(made: Any, **how: Any) -> Iterator[None]:
            assert how == {"pool": "pool", "capture_error_mode": "thread_local"}
            if recorder.fails:
                raise RuntimeError("operation not permitted when stream is capturing")
            recorder.graphs.append(made)
            yield

        monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
        monkeypatch.setattr(torch.cuda, "graph", graph)
        monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: "pool")
        monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)

    def run(self, pixels: Tensor) -> list[Tensor]:
        self.eager += 1
        found = [double(pixels)]
        if self.graphs and not hasattr(self.graphs[-1], "place"):
            self.graphs[-1].place, self.graphs[-1].found = pixels, found
        return found


def double(pixels: Tensor) -> Tensor:
    return pixels * 2


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    made = Recorder()
    made.install(monkeypatch)
    return made


def test_the_third_batch_of_a_shape_is_recorded_and_later_ones_are_replayed(recorder: Recorder) -> None:
    graphs, kept = Graphs(), []
    for number in range(6):
        pixels = torch.full((2, 3), number)
        kept.append((number, graphs("double", recorder.run, pixels)[0]))
    graphs("double", recorder.run, torch.zeros(1, 3))  # the last batch of a slide
    assert len(recorder.graphs) == 1
    assert recorder.eager == 4  # two batches, the recording, and the other shape
    # What was given before is not written over.
    assert all((found == 2 * number).all() for number, found in kept)


def test_what_cannot_be_recorded_is_run_as_usual(recorder: Recorder) -> None:
    recorder.fails = True
    graphs = Graphs()
    for number in range(5):
        assert (graphs("double", recorder.run, torch.full((2,), number))[0] == 2 * number).all()
    assert recorder.eager == 5 and not recorder.graphs
