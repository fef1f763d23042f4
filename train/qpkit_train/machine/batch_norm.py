"""Batch normalisation over the whole batch where several processes train, each with its part."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from qpkit_train.machine.processes import ranks
from qpkit_train.machine.torchvision_shim import ensure_torchvision


def over_all_processes(network: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """Let every batch norm take its mean and variance from the parts of all processes.

    On GPUs by torch's SyncBatchNorm, which is for them alone; timm converts its own norms, too, which torch would rob
    of the activation that is part of them.

    Args:
        network: Changed in place, or to be replaced by what is returned; the names of its tensors stay.
        device: What it is going to run on.
    """
    if ranks() == 1:
        return network
    if device.type == "cuda":
        ensure_torchvision()
        from timm.layers import convert_sync_batchnorm

        converted: torch.nn.Module = convert_sync_batchnorm(network)
        return converted
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            setattr(module, "forward", partial(_forward, module))  # noqa: B010 # mypy takes it for a method
    return network


def _forward(norm: _BatchNorm, inputs: Tensor) -> Tensor:
    """What `norm` would give for the whole batch; inputs (n, channels, ...) of this process's part."""
    if not norm.training:
        return type(norm).forward(norm, inputs)
    axes = [axis for axis in range(inputs.ndim) if axis != 1]
    shape = [-1 if axis == 1 else 1 for axis in range(inputs.ndim)]
    values = inputs.to(torch.promote_types(inputs.dtype, torch.float32))
    count = values.new_tensor(values.numel() / values.shape[1])
    # With the counts, as parts may differ in size.
    sums = _total(torch.cat([values.sum(axes), count[None]]))
    mean, count = sums[:-1] / sums[-1], sums[-1].detach()
    centred = values - mean.view(shape)
    # From the centred values: a mean of squares minus a square of means loses digits in float32.
    variance = _total(centred.square().sum(axes)) / count
    _remember(norm, mean.detach(), variance.detach() * count / (count - 1).clamp(min=1))
    found = centred * torch.rsqrt(variance + norm.eps).view(shape)
    if norm.affine:
        found = found * norm.weight.view(shape) + norm.bias.view(shape)
    found = found.to(inputs.dtype)
    for name in ("drop", "act"):  # of timm's norms
        if hasattr(norm, name):
            found = getattr(norm, name)(found)
    return found


def _remember(norm: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Update the running statistics as torch does, with the unbiased variance."""
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    norm.num_batches_tracked.add_(1)
    weight = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean, weight)
    norm.running_var.lerp_(variance, weight)


class _Total(torch.autograd.Function):
    """The sum over all processes; each one's gradient is the sum of what all of them make of it."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        total = own.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total


def _total(own: Tensor) -> Tensor:
    total: Tensor = _Total.apply(own)  # type: ignore[no-untyped-call] # torch
    return total
