"""Tiles for the tests of training, and no network."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_tiles import MakeTiles, square_mask, write_tiles

from qpkit_train.machine.devices import pick_device
from qpkit_train.machine.seeding import same_bits

os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Threads that wait for a busy core make tiny networks ten times slower."""
    torch.set_num_threads(1)


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test computes on the CPU, whatever else there is: for what holds to the bit, or nearly, on one device.

    Processes that it starts, and fixtures of its module, do as they like.
    """
    _hide_all_but_the_cpu(monkeypatch)


@pytest.fixture(scope="module")
def module_on_cpu() -> Iterator[None]:
    """All tests of a module compute on the CPU, and so do the processes that they start."""
    with pytest.MonkeyPatch.context() as patch:
        _hide_all_but_the_cpu(patch)
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        yield


@pytest.fixture
def same_bits_each_time() -> Iterator[None]:
    """A GPU computes only what gives the same bits each time, as with `deterministic`: for laws about bits."""
    with same_bits(True, pick_device()):
        yield


def _hide_all_but_the_cpu(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(torch.cuda, "is_available", lambda: False)
    patch.setattr(torch.cuda, "device_count", lambda: 0)
    patch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.fixture
def make_tiles(tmp_path: Path) -> MakeTiles:
    """make_tiles(train={value: tiles}, val={...}) -> folder; value 0 is empty ground, 255 unknown."""

    def make(
        train: dict[int, int] | None = None,
        val: dict[int, int] | None = None,
        *,
        name: str = "tiles",
        size: int = 64,
        context: tuple[int, ...] = (),
    ) -> Path:
        rng = np.random.default_rng(1)
        train = {0: 6, 1: 3, 3: 2} if train is None else train
        val = {0: 2, 1: 1, 3: 1} if val is None else val
        masks = []
        for split, wanted in (("train", train), ("val", val)):
            for value, count in wanted.items():
                for _ in range(count):
                    mask = np.full((size, size), 255, np.uint8) if value == 255 else square_mask(rng, value, size)
                    masks.append((split, mask))
        return write_tiles(tmp_path / name, masks, context=context)

    return make
