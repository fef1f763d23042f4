"""Features of patches: from every kind of encoder, and one line where they cannot be had."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from tiny_tiles import MakeTiles, tiny_recipe

from qpkit.errors import QpkitError
from qpkit_train.loop import fit
from qpkit_train.machine.torchvision_shim import ensure_torchvision
from qpkit_train.models.registry import build_model, encoder_of
from qpkit_train.recipe.settings import ModelConfig
from qpkit_train.run_folder.initial_network import ENCODER_NAME, PRETRAINED_NAME
from qpkit_train.unsupervised.patch_features import open_encoder, patch_features, picture_tokens

CPU = torch.device("cpu")
TINY = "tu-vit_tiny_patch16_224"


def patches(count: int, side: int = 48) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def test_an_encoder_gives_the_mean_of_its_deepest_features_and_says_which() -> None:
    encoder = open_encoder("resnet18:random", device=CPU)
    found = patch_features(patches(35), encoder)
    assert found.shape == (35, 512) and found.dtype == np.float32 and np.isfinite(found).all()
    assert encoder.described == (
        "mean of the deepest features of resnet18 with random weights, which have learned nothing, patches as they are"
    )
    again = patch_features(patches(35), open_encoder("resnet18:random", device=CPU))
    other = patch_features(patches(35), open_encoder("resnet18:random", device=CPU, seed=1))
    assert np.array_equal(found, again) and not np.allclose(found, other)
    assert np.allclose(found[:3], patch_features(patches(35)[:3], encoder), rtol=0.05, atol=1e-2)


def test_a_transformer_gives_its_cls_token_with_the_weights_of_a_file(tmp_path: Path) -> None:
    ensure_torchvision()
    import timm

    torch.manual_seed(1)
    whole = timm.create_model("vit_tiny_patch16_224", pretrained=False, num_classes=0).eval()
    save_file(whole.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"architecture": "vit_tiny_patch16_224"}')
    encoder = open_encoder(f"{TINY}:{tmp_path}", device=CPU)
    assert encoder.described.startswith("[CLS] token of") and encoder.described.endswith("patches at 224 px")
    found = patch_features(patches(2, 224), encoder)
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    seen = torch.from_numpy((patches(2, 224) / 255 - mean) / deviation).float().movedim(-1, 1)
    with torch.inference_mode():
        wanted = whole.forward_features(seen)[:, 0].numpy()
    assert np.allclose(found, wanted, atol=0.1)  # bfloat16 where the CPU multiplies it
    small = open_encoder(f"{TINY}:{tmp_path}", device=CPU, input_px=0)
    assert patch_features(patches(3), small).shape == (3, 192)


@pytest.mark.filterwarnings("ignore:.timm-. encoders are deprecated:DeprecationWarning")
def test_encoders_with_blocks_are_no_transformers() -> None:
    """EfficientNets of timm have blocks, too, and no [CLS] token."""
    for name in ("timm-tf_efficientnet_lite0", "mit_b0"):
        encoder = open_encoder(f"{name}:random", device=CPU)
        assert not encoder.is_transformer and patch_features(patches(3), encoder).ndim == 2


@pytest.mark.parametrize(("text", "shape"), [(f"{TINY}:random", (13, 17, 192)), ("resnet18:random", (16, 20, 64))])
def test_a_picture_has_a_token_every_four_pixels(text: str, shape: tuple[int, int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    encoder = open_encoder(text, device=CPU)
    assert picture_tokens(picture, encoder).shape == shape
    assert patch_features(patches(1), encoder).shape[0] == 1  # the encoder is as it was


def test_the_encoder_of_a_pre_training_is_taken_from_its_folder(tmp_path: Path) -> None:
    config = ModelConfig(architecture="unet", encoder="resnet18", encoder_weights="none")
    torch.manual_seed(3)
    weights = encoder_of(build_model(config, 2), config).state_dict()
    save_file(weights, tmp_path / ENCODER_NAME)
    (tmp_path / PRETRAINED_NAME).write_text('{"settings": {"encoder": "resnet18"}}')
    encoder = open_encoder(f"run:{tmp_path}", device=CPU)
    assert encoder.described.startswith("mean of the deepest features of resnet18 pre-trained in ")
    by_file = open_encoder(f"resnet18:{tmp_path / ENCODER_NAME}", device=CPU)
    assert np.array_equal(patch_features(patches(2), encoder), patch_features(patches(2), by_file))
    (tmp_path / PRETRAINED_NAME).write_text('{"settings": 3}')
    with pytest.raises(QpkitError, match="names no encoder"):
        open_encoder(f"run:{tmp_path}", device=CPU)


def test_the_encoder_of_a_run_is_taken_with_what_it_was_trained_to_see(make_tiles: MakeTiles, tmp_path: Path) -> None:
    tiles, run = make_tiles(), tmp_path / "run"
    fit(tiles, run, tiny_recipe("optim.epochs=1", "data.normalization=signed"))
    encoder = open_encoder(f"run:{run}", device=CPU)
    assert encoder.normalization.mean == (0.5, 0.5, 0.5) and " of run " in encoder.described
    assert np.isfinite(patch_features(patches(2), encoder)).all()


def test_features_that_cannot_be_had_are_one_line_that_says_which_file_to_give() -> None:
    for text, said in (
        ("dino", "model.safetensors of hf.co/timm/vit_base_patch16_224.dino"),
        ("dino:nowhere.pth", "no file nowhere.pth; take the folder of hf.co/timm"),
        ("resnet18", "say dino, dino:FOLDER, run:DIR"),
        ("resnet18:none", "say resnet18:random"),
        ("resnet34:imagenet", "cannot be fetched; say resnet34:FILE, or run:DIR"),
        ("resnet18:nowhere.safetensors", "no file nowhere.safetensors"),
        ("run:nowhere", "nowhere"),
        ("resnet1:random", "resnet"),
    ):
        with pytest.raises(QpkitError) as err:
            open_encoder(text, device=CPU)
        assert said in str(err.value) and len(str(err.value)) < 200 and "\n" not in str(err.value)
