"""MiniBatch norms of several processes see the whole batch. The processes are real ones that talk over gloo."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from qpkit_train.machine import batch_norm
from qpkit_train.machine.batch_norm import over_all_processes
from qpkit_train.models.registry import build_untrained
from qpkit_train.recipe.settings import ModelConfig

SHARES = (2, 1)
"""Tiles of each process."""


def network(encoder: str) -> torch.nn.Module:
    """Small, the same in every process, in float64, where the order of a sum hardly matters."""
    config = ModelConfig(encoder=encoder, encoder_depth=3, options={"decoder_channels": [16, 8, 8]})
    torch.manual_seed(0)
    return build_untrained(config, 2).double()


def batch() -> Tensor:
    return torch.rand(sum(SHARES), 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def train_once(model: torch.nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Gradients of a sum over images, and what the norms remember."""
    model.train()(images).square().sum().backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return gradients | dict(model.named_buffers())


def train_share(rank: int, encoder: str, folder: str) -> None:
    """In a process of its own: train on a share, leave the gradients of all shares together."""
    os.environ |= {"TORCHELASTIC_RUN_ID": "test", "WORLD_SIZE": str(len(SHARES)), "RANK": str(rank)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=len(SHARES))
    model = over_all_processes(network(encoder), torch.device("cpu"))
    found = train_once(model, batch().split(SHARES)[rank])
    for name, _ in model.named_parameters():
        if name in found:
            dist.all_reduce(found[name])
    torch.save(found, f"{folder}/{rank}.pt")


@pytest.mark.parametrize("encoder", ["resnet18", "tu-tf_efficientnet_lite0"])
def test_two_shares_are_normalised_as_one_batch(encoder: str, tmp_path: Path) -> None:
    """timm's norms hold their activation."""
    torch.multiprocessing.spawn(train_share, (encoder, str(tmp_path)), nprocs=len(SHARES))  # type: ignore[no-untyped-call, attr-defined]
    whole = train_once(network(encoder), batch())
    for rank in range(len(SHARES)):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert found.keys() == whole.keys()
        for name, value in whole.items():
            assert torch.allclose(found[name], value, rtol=1e-8, atol=1e-9), name


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_converted_network_answers_as_before(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On GPUs norms are replaced, and those of timm hold their activation."""
    monkeypatch.setattr(batch_norm, "ranks", lambda: 2)
    model, images = network("tu-tf_efficientnet_lite0").eval(), batch()
    with torch.inference_mode():
        before = model(images)
        converted = over_all_processes(model, torch.device(device))
        assert torch.equal(converted(images), before)
    kinds = {type(module).__name__ for module in converted.modules()}
    assert ("SyncBatchNormAct" in kinds) == (device == "cuda")


def test_a_single_process_is_left_alone() -> None:
    model = network("resnet18")
    assert over_all_processes(model, torch.device("cuda")) is model
    assert not any("forward" in vars(module) for module in model.modules())
