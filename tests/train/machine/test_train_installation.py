"""What qpkit doctor says of training: torch, its device, the cache of encoders."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub as hub
import pytest
import torch

from qpkit_train.machine.devices import pick_device
from qpkit_train.machine.installation import encoders_check, training_checks


def test_torch_that_does_not_use_the_gpu_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qpkit_train.machine.installation.pick_device", lambda: torch.device("cpu"))
    for has_driver, state in ((True, "warning"), (False, "ok")):
        checks = {check.name: check for check in training_checks(has_driver=has_driver)}
        assert checks["torch"].found.startswith(torch.__version__)
        assert checks["device"].state == state
        assert bool(checks["device"].advice) == has_driver


def test_the_device_is_that_of_a_training() -> None:
    has_gpu = pick_device().type == "cuda"
    (device,) = (check for check in training_checks(has_driver=has_gpu) if check.name == "device")
    assert device.state == "ok" and device.found.startswith(pick_device().type)


def test_encoders_are_those_of_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = hub.scan_cache_dir
    monkeypatch.setattr(hub, "scan_cache_dir", lambda: scan(tmp_path))
    assert encoders_check().state == "missing"
    weights = tmp_path / "models--owner--encoder/snapshots/0123"
    weights.mkdir(parents=True)
    (weights / "model.safetensors").write_bytes(b"0")
    check = encoders_check()
    assert (check.state, check.found) == ("ok", "owner/encoder")
    monkeypatch.setattr(hub, "scan_cache_dir", lambda: scan(tmp_path / "gone"))
    assert encoders_check().state == "missing" and encoders_check().advice
