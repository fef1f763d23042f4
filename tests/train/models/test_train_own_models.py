"""Our own architectures: found by name, trained and exported like any other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_tiles import MakeTiles, tiny_recipe

from qpkit.errors import ConfigError
from qpkit_train.loop import fit
from qpkit_train.machine.torchvision_shim import ensure_torchvision
from qpkit_train.models.card import STRIDE
from qpkit_train.models.own import Architecture, own_architectures
from qpkit_train.models.registry import build_model
from qpkit_train.recipe.settings import ModelConfig, Recipe

DENSE = (
    "model.architecture=dense-unet",
    "model.encoder=none",
    "model.encoder_depth=0",
    "model.options={channels = [8, 12, 16], layers = 2, growth = 4}",
)


def dense_recipe(*overrides: str) -> Recipe:
    return tiny_recipe(*DENSE, "optim.epochs=2", *overrides)


def dense(**changes: object) -> ModelConfig:
    plain = {"architecture": "dense-unet", "encoder": "none", "encoder_weights": "none"}
    return ModelConfig(**{**plain, **changes})  # type: ignore[arg-type]


def test_every_file_of_the_folder_is_found_and_no_name_hides_a_foreign_one() -> None:
    ensure_torchvision()
    import segmentation_models_pytorch as smp

    assert {"dense-unet", "tile-classifier"} <= set(own_architectures())
    assert not set(own_architectures()) & set(smp.MODEL_ARCHITECTURES_MAPPING)


def test_one_entry_makes_an_architecture_trainable(
    make_tiles: MakeTiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(classes: int, *, width: int = 4) -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Conv2d(3, width, 3, padding=1), torch.nn.Conv2d(width, classes, 1))

    monkeypatch.setitem(own_architectures(), "pixelwise", Architecture("pixelwise", build, False, 0))
    recipe = tiny_recipe("model.architecture=pixelwise", "model.encoder=none", "model.encoder_depth=0",
                         "model.options={width = 6}")  # fmt: skip
    report = fit(make_tiles(), tmp_path / "run", recipe)
    assert report.parameters == {"all": 6 * 28 + 3 * 7, "learning": 6 * 28 + 3 * 7}


def test_dense_unet_answers_at_full_size_for_every_multiple_of_its_stride() -> None:
    model = build_model(dense(), 4).eval()
    with torch.inference_mode():
        for height, width in ((STRIDE, STRIDE), (2 * STRIDE, 3 * STRIDE)):
            assert model(torch.zeros(1, 3, height, width)).shape == (1, 4, height, width)
    parameters = sum(p.numel() for p in model.parameters())
    assert 2.1e6 < parameters < 2.2e6


def test_layers_of_a_dense_block_see_the_outputs_of_all_before_them() -> None:
    block = build_model(dense(options={"channels": [6, 8], "layers": 3, "growth": 5}), 2).down[0]
    assert [layer[2].weight.shape[:2] for layer in block.layers] == [(5, 6), (5, 11), (5, 16)]
    assert block.squeeze[2].weight.shape[:2] == (6, 21)


def test_every_parameter_of_a_dense_unet_moves_the_answer() -> None:
    torch.manual_seed(0)
    model = build_model(dense(options={"channels": [6, 8, 10], "layers": 2, "growth": 4}), 2)
    model(torch.randn(2, 3, 32, 32)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 1e-6 for parameter in model.parameters())


def test_what_an_architecture_without_encoder_cannot_have_is_refused() -> None:
    for changes in ({"encoder": "resnet18"}, {"encoder_weights": "imagenet"}, {"encoder_depth": 4},
                    {"freeze_encoder": True}):  # fmt: skip
        with pytest.raises(ConfigError, match=r"dense-unet has no encoder; set model\.encoder=none"):
            build_model(dense(**changes), 2)
    for options in ({"channels": [8]}, {"layers": 0}, {"depth": 3}):
        with pytest.raises(ConfigError, match=r"model: dense-unet and options .* cannot be built"):
            build_model(dense(options=options), 2)


def test_a_trained_dense_unet_is_exported_and_agrees_with_torch(make_tiles: MakeTiles, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed (extra: onnx)")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra: onnx)")
    from qpkit_train.inference.running.onnx_export import TOLERANCE, export_onnx

    fit(make_tiles(), tmp_path / "run", dense_recipe())
    assert export_onnx(tmp_path / "run", tmp_path / "model.onnx").difference <= TOLERANCE


def test_dropout_changes_logits_in_training_only() -> None:
    for config in (dense(dropout=0.5), ModelConfig(encoder="resnet18", encoder_weights="none", dropout=0.5)):
        torch.manual_seed(0)
        model = build_model(config, 2)
        pixels = torch.randn(2, 3, 64, 64, generator=torch.manual_seed(0))
        with torch.inference_mode():
            share = (model.train()(pixels) == 0).float().mean()
            assert 0.45 < share < 0.55
            assert (model.eval()(pixels) == 0).float().mean() < 0.01
