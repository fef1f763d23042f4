"""A device with memory of its own: the same rasters as without one, one batch in its queue while another is fetched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from test_train_blend import SETTINGS, Blur, predicted

from qpkit_train.inference.pixels.blend import Blend
from qpkit_train.inference.pixels.uncertainty import entropy_bytes
from qpkit_train.inference.running.gpu_stream import GpuStream
from qpkit_train.inference.running.together import Together, Tta
from qpkit_train.models.card import Answer, Model

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


@dataclass
class Fetched:
    answers: list[Answer]
    events: list[str]
    seconds: float = 0.001

    def wait(self) -> list[Answer]:
        self.events.append("wait")
        return [answer.each(lambda part: part.numpy().copy()) for answer in self.answers]


class Queue:
    """Stands for a GPU's: its memory is that of torch, on the CPU."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def mark(self) -> None:
        return None

    def fetch(self, answers: Sequence[Answer], since: None) -> Fetched:
        self.events.append("fetch")
        assert all(isinstance(part, torch.Tensor) for answer in answers for part in answer)
        return Fetched(list(answers), self.events)


class Apart(Blur):
    """The same network, on such a device."""

    def __init__(self) -> None:
        super().__init__()
        self.stream = Queue()

    def upload(self, pixels: NDArray[np.uint8]) -> torch.Tensor:
        return torch.from_numpy(pixels)

    def answer_there(
        self, pixels: NDArray[np.uint8], *, halo: int, probabilities: bool, uncertainty: bool = False
    ) -> Answer:
        found = self.answer(pixels, halo=halo, probabilities=probabilities)
        unsure = entropy_bytes(found.probabilities)[:, np.newaxis] if uncertainty else None
        return found._replace(uncertainty=unsure).each(torch.from_numpy)

    def levels_there(self, pixels: Any, *, spread: bool = False) -> torch.Tensor:
        return torch.from_numpy(self.levels(np.ascontiguousarray(pixels)).astype(np.int32))


class Here(Blur):
    def answer(self, pixels: NDArray[np.uint8], *, halo: int, probabilities: bool, uncertainty: bool = False) -> Answer:
        found = super().answer(pixels, halo=halo, probabilities=probabilities)
        return found._replace(uncertainty=entropy_bytes(found.probabilities)[:, np.newaxis] if uncertainty else None)


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint8]:
    made = np.random.default_rng(1).integers(0, 240, (200, 150, 3), dtype=np.uint8)
    made[:60, 40:] = 250  # glass
    return made


@pytest.mark.parametrize("blend", ["crop", "linear", "gaussian"])
@pytest.mark.parametrize("tta", ["none", "flips", "d4"])
def test_a_device_gives_the_same_rasters(pixels: NDArray[np.uint8], tmp_path: Path, blend: Blend, tta: Tta) -> None:
    how = replace(SETTINGS, blend=blend, tta=tta, uncertainty=True, batch_size=2, only_tissue=True)

    def model(one: Blur) -> Model:
        return one if tta == "none" else Together([one, one], tta)

    apart = Apart()
    here, there = (
        predicted(pixels, tmp_path / type(one).__name__, how, model(one), limits=(0, 95, 85)) for one in (Here(), apart)
    )
    assert np.array_equal(here[0], there[0]) and here[1].pixels == there[1].pixels
    without = predicted(pixels, tmp_path / "without", how, model(Here()))[0]
    assert (here[0][0] != without[0]).any()
    assert apart.stream.events.count("fetch") == apart.stream.events.count("wait") == 6  # 12 tiles
    assert apart.stream.events[:3] == ["fetch", "fetch", "wait"]


def test_models_of_which_one_has_no_such_device_are_put_together_where_numpy_computes(
    pixels: NDArray[np.uint8], tmp_path: Path
) -> None:
    how = replace(SETTINGS, blend="linear")
    mixed, here = Together([Apart(), Blur()]), Together([Blur(), Blur()])
    assert mixed.stream is None
    assert np.array_equal(
        predicted(pixels, tmp_path / "mixed", how, mixed)[0], predicted(pixels, tmp_path / "here", how, here)[0]
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_what_a_gpu_computed_is_there_once_it_was_waited_for() -> None:
    stream = GpuStream(torch.device("cuda"))
    begun = stream.mark()
    large = torch.rand(4096, 4096, device="cuda")
    for _ in range(8):
        large = large @ large / 4096
    found = torch.arange(12, device="cuda", dtype=torch.uint8).view(1, 3, 4) + (large.sum() * 0).to(torch.uint8)
    waiting = stream.fetch([Answer(found)], begun)
    assert np.array_equal(waiting.wait()[0].indices, np.arange(12, dtype=np.uint8).reshape(1, 3, 4))
    assert 0 < waiting.seconds < 10
