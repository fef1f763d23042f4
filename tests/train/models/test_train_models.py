"""Networks by name, weights without surprises."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from qpkit.errors import ConfigError
from qpkit_train.loop import fit
from qpkit_train.models.registry import build_model
from qpkit_train.recipe.settings import ModelConfig
from tests.train.tiny_tiles import MakeTiles, tiny_recipe

SMALL = {"encoder_depth": 3, "options": {"decoder_channels": [16, 8, 8]}}


def small(**changes: object) -> ModelConfig:
    return ModelConfig(**{"encoder": "resnet18", "encoder_weights": "none", **SMALL, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("encoder", ["resnet18", "tu-resnet18"])
@pytest.mark.parametrize(
    "architecture",
    ["unet", "UnetPlusPlus", "manet", "linknet", "FPN", "pspnet", "deeplabv3", "deeplabv3plus", "pan", "upernet",
     "segformer"],
)  # fmt: skip
def test_any_architecture_gives_one_channel_per_class_at_full_size(architecture: str, encoder: str) -> None:
    config = ModelConfig(architecture=architecture, encoder=encoder, encoder_weights="none")
    with torch.inference_mode():
        assert build_model(config, 4).eval()(torch.zeros(1, 3, 128, 160)).shape == (1, 4, 128, 160)


def test_torchvision_imports_beside_a_cpu_torch() -> None:
    shim = "from qpkit_train.machine.torchvision_shim import ensure_torchvision as e"
    code = f"{shim}; e(); e(); import torchvision.ops, timm"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "call", ["encoder_depth(ModelConfig())", "build_untrained(ModelConfig(), 2)", "build_model(ModelConfig("
             "architecture='tile-classifier', encoder_weights='none'), 2)"]
)  # fmt: skip
def test_every_door_works_first_in_a_process(call: str) -> None:
    code = f"""
from qpkit_train.models.registry import build_model, build_untrained, encoder_depth
from qpkit_train.recipe.settings import ModelConfig
{call}
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_unknown_architecture_or_encoder_is_refused_with_close_ones() -> None:
    with pytest.raises(ConfigError, match=r"model\.architecture 'unett' is unknown; did you mean 'unet'"):
        build_model(small(architecture="unett"), 2)
    with pytest.raises(ConfigError, match=r"model\.encoder 'resnet19' is unknown; did you mean 'resnet1"):
        build_model(small(encoder="resnet19"), 2)


def test_options_that_do_not_fit_are_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match="cannot be built"):
        build_model(small(options={"no_such_option": 1}), 2)
    with pytest.raises(ConfigError, match="cannot be built"):
        build_model(small(options={"decoder_channels": [16, 8]}), 2)
    with pytest.raises(ConfigError, match="cannot be built"):
        build_model(small(encoder="tu-no_such_model"), 2)


def test_weights_that_cannot_be_fetched_fail_fast_and_say_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_, **__: None)
    for offline, endpoint in (("1", "https://huggingface.co"), ("0", "http://127.0.0.1:9")):
        monkeypatch.setenv("HF_HUB_OFFLINE", offline)
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        started = time.perf_counter()
        for encoder in ("resnet18", "tu-resnet18"):
            with pytest.raises(ConfigError, match=r"path/to/model\.safetensors, or none for random weights"):
                build_model(small(encoder=encoder, encoder_weights="imagenet"), 2)
        assert time.perf_counter() - started < 10


def test_a_network_that_cannot_be_had_leaves_no_folder(make_tiles: MakeTiles, tmp_path: Path) -> None:
    recipe = tiny_recipe('model.encoder_weights="no-such-file.pth"')
    with pytest.raises(ConfigError, match="no-such-file"):
        fit(make_tiles(), tmp_path / "run", recipe)
    assert not (tmp_path / "run").exists()


def test_unpublished_weights_are_refused_with_the_published_ones() -> None:
    with pytest.raises(ConfigError, match="neither a file nor published for resnet18; published are imagenet"):
        build_model(small(encoder_weights="imagenett"), 2)


def test_encoder_weights_come_from_a_local_file_of_an_encoder_or_of_a_whole_model(tmp_path: Path) -> None:
    trained = build_model(small(), 3)
    whole = {name: value.clone() for name, value in trained.state_dict().items()}
    encoder = {name.removeprefix("encoder."): v for name, v in whole.items() if name.startswith("encoder.")}
    save_file(whole, tmp_path / "whole.safetensors")
    save_file(encoder | {"fc.weight": torch.zeros(3)}, tmp_path / "encoder.safetensors")
    torch.save(encoder, tmp_path / "encoder.pth")
    for name in ("whole.safetensors", "encoder.safetensors", "encoder.pth"):
        loaded = build_model(small(encoder_weights=str(tmp_path / name)), 2).state_dict()
        assert all(torch.equal(loaded[f"encoder.{key}"], value) for key, value in encoder.items())


@pytest.mark.parametrize("encoder", ["densenet121", "mit_b0", "vgg16", "efficientnet-b0", "mobilenet_v2"])
def test_files_of_encoders_of_every_family_load_whole(tmp_path: Path, encoder: str) -> None:
    """Also DenseNets by their published names, and beside a classifier."""
    config = ModelConfig(encoder=encoder, encoder_weights="none")
    whole = {name: value.clone() for name, value in build_model(config, 2).state_dict().items()}
    part = {name.removeprefix("encoder."): v for name, v in whole.items() if name.startswith("encoder.")}
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", name): value for name, value in part.items()}
    save_file(old | {"classifier.weight": torch.zeros(3)}, tmp_path / "file.safetensors")
    loaded = build_model(ModelConfig(encoder=encoder, encoder_weights=str(tmp_path / "file.safetensors")), 2)
    assert all(torch.equal(loaded.state_dict()[f"encoder.{name}"], value) for name, value in part.items())


def test_weights_of_another_encoder_or_no_weights_at_all_are_refused(tmp_path: Path) -> None:
    save_file({"conv1.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    (tmp_path / "broken.pth").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="does not fit the encoder"):
        build_model(small(encoder_weights=str(tmp_path / "other.safetensors")), 2)
    for name in ("broken.safetensors", "broken.pth"):
        with pytest.raises(ConfigError, match="broken"):
            build_model(small(encoder_weights=str(tmp_path / name)), 2)
    with pytest.raises(ConfigError, match="no file"):
        build_model(small(encoder_weights="gone.safetensors"), 2)
