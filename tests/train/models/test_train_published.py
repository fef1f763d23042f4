"""Weights of others: files are read as tensors only, names are looked up, and without a network it says so at once."""

from __future__ import annotations

import pickle
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from qpkit.errors import ConfigError
from qpkit_train.machine.torchvision_shim import ensure_torchvision
from qpkit_train.models import published
from qpkit_train.models.published import encoder_part, encoder_state, fetch
from qpkit_train.recipe.settings import ModelConfig

TENSORS = {"conv.weight": torch.arange(6.0).reshape(2, 3), "conv.bias": torch.tensor([1.0, -2.0])}


def config(**changes: Any) -> ModelConfig:
    return ModelConfig(**{"encoder": "resnet18", **changes})


def read(path: Path) -> dict[str, torch.Tensor]:
    return encoder_state(torch.nn.Identity(), config(encoder_weights=str(path)))


def assert_same(state: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert list(state) == list(expected)
    assert all(torch.equal(state[name], expected[name]) for name in expected)


def test_the_encoder_is_taken_out_of_a_whole_model_and_an_encoder_stays_as_it_is() -> None:
    whole = {f"encoder.{name}": value for name, value in TENSORS.items()} | {"decoder.encoder.x": torch.zeros(1)}
    assert_same(encoder_part(whole), TENSORS)
    assert_same(encoder_part(encoder_part(whole)), TENSORS)
    assert_same(encoder_part(TENSORS), TENSORS)


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.bin", "w.checkpoint"])
def test_a_file_of_torch_gives_its_tensors(tmp_path: Path, name: str, wrapped: bool) -> None:
    state: dict[str, Any] = {**TENSORS, "epoch": 3}
    torch.save({"state_dict": state, "optimizer": {}} if wrapped else state, tmp_path / name)
    assert_same(read(tmp_path / name), TENSORS)


def test_a_file_of_safetensors_gives_the_same(tmp_path: Path) -> None:
    save_file({f"encoder.{name}": value for name, value in TENSORS.items()}, tmp_path / "w.safetensors")
    state = read(tmp_path / "w.safetensors")
    assert_same(dict(sorted(state.items(), reverse=True)), TENSORS)


class Payload:
    """What would run if objects were unpickled."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("ran"),))


def test_what_is_pickled_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"conv.weight": Payload()}, tmp_path / "w.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Payload()))
    for name in ("w.pth", "plain.pth"):
        with pytest.raises(ConfigError, match=rf"model\.encoder_weights: .*{name}"):
            read(tmp_path / name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
@pytest.mark.parametrize("content", [b"", b"no weights at all", bytes(64)])
def test_damaged_and_missing_files_are_named(tmp_path: Path, name: str, content: bytes) -> None:
    with pytest.raises(ConfigError, match=rf"no file .*{name}"):
        read(tmp_path / name)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=rf"model\.encoder_weights: .*{name}"):
        read(tmp_path / name)
    if name == "w.pth":
        torch.save([1, 2], tmp_path / name)
        assert read(tmp_path / name) == {}
    else:
        save_file(TENSORS, tmp_path / name)
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-1])
        with pytest.raises(ConfigError, match="cannot be read"):
            read(tmp_path / name)


def test_a_name_that_nobody_published_is_answered_with_those_that_are() -> None:
    ensure_torchvision()
    with pytest.raises(ConfigError, match=r"'imagnet' is neither a file nor published for resnet18; .*\bimagenet\b"):
        encoder_state(torch.nn.Identity(), config(encoder_weights="imagnet"))
    with pytest.raises(ConfigError, match="timm has none for no_such_model"):
        encoder_state(torch.nn.Identity(), config(encoder="tu-no_such_model", encoder_weights="imagenet"))


def test_without_a_network_it_says_so_at_once_and_what_else_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda *_, **__: None)
    started = time.monotonic()
    for value, reason in (("1", "HF_HUB_OFFLINE is set"), ("true", "HF_HUB_OFFLINE is set"), ("0", "does not answer")):
        monkeypatch.setenv("HF_HUB_OFFLINE", value)
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        with pytest.raises(ConfigError, match=rf"some/repo of resnet18 .*{reason}.*none for random weights"):
            fetch("some/repo", "model.safetensors", revision=None, encoder="resnet18")
    assert time.monotonic() - started < 4
    monkeypatch.setattr(published, "unreachable", lambda: None)
    monkeypatch.setattr(hub, "hf_hub_download", lambda *_, **__: exec("raise OSError('gone\\nand more')"))
    with pytest.raises(ConfigError, match=r"\(OSError: gone\); with a file"):
        fetch("some/repo", "model.safetensors", revision=None, encoder="resnet18")


def test_what_is_in_the_cache_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    save_file(TENSORS, tmp_path / "model.safetensors")
    asked = []

    def cached(repo: str, name: str, *, revision: str | None) -> str:
        asked.append((repo, name, revision))
        return str(tmp_path / name)

    ensure_torchvision()
    monkeypatch.setattr(hub, "try_to_load_from_cache", cached)
    state = encoder_state(torch.nn.Identity(), config(encoder_weights="imagenet"))
    assert_same(dict(sorted(state.items(), reverse=True)), TENSORS)
    ((repo, name, revision),) = asked
    assert "resnet18" in repo and name == "model.safetensors" and revision
