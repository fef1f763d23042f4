"""What `qpkit doctor` says of training on this machine: torch, the device it takes, published encoders in the cache."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from qpkit.report.values.checks import Check
from qpkit_train.machine.devices import device_memory, device_name, pick_device

_EXAMPLES = 3


def training_checks(*, has_driver: bool) -> Iterator[Check]:
    """Torch, its device, the encoders.

    Args:
        has_driver: NVIDIA's driver is there.
    """
    built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
    yield Check("torch", "ok", f"{torch.__version__}, {built}")
    yield _device_check(has_driver=has_driver)
    yield encoders_check()


def _device_check(*, has_driver: bool) -> Check:
    device = pick_device()
    memory = device_memory(device) if device.type != "cpu" else None
    found = device_name(device) + (f", {memory / (1 << 30):.0f} GiB" if memory else "")
    if device.type == "cpu" and has_driver:
        advice = "install the torch that fits the driver: https://pytorch.org/get-started"
        return Check("device", "warning", f"{found}, although there is a GPU", advice)
    return Check("device", "ok", found)


def encoders_check() -> Check:
    """Repositories in the cache of huggingface.co, where published weights are looked for before they are fetched."""
    import huggingface_hub as hub

    offline = "each is fetched at first use; offline: --set model.encoder_weights=FILE or none"
    try:
        cache = hub.scan_cache_dir()
    except (hub.errors.CacheNotFound, ValueError, OSError):
        return Check("encoders", "missing", "none in the cache", offline)
    names = sorted(repository.repo_id for repository in cache.repos if repository.repo_type == "model")
    if not names:
        return Check("encoders", "missing", "none in the cache", offline)
    more = f" and {len(names) - _EXAMPLES} more" if len(names) > _EXAMPLES else ""
    return Check("encoders", "ok", f"{', '.join(names[:_EXAMPLES])}{more}")
