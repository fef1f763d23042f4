"""Vision transformers as encoders: pyramids, what learns, where weights are from. Small random ones stand in."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tiny_tiles import MakeTiles, tiny_recipe

from qpkit.errors import ConfigError
from qpkit_train.loop import fit
from qpkit_train.models.foundation import FOUNDATIONS, terms_of
from qpkit_train.models.own.vit import DenseViT, build_vit
from qpkit_train.models.registry import build_model
from qpkit_train.recipe.settings import ModelConfig, Recipe
from qpkit_train.run_folder.run import load_run

TINY: dict[str, Any] = {"embed_dim": 24, "depth": 4, "num_heads": 2}
SWIGLU = {"mlp_layer": "swiglu-packed", "act_layer": "silu", "reg_tokens": 8, "no_embed_class": True,
          "init_values": 1e-5, "mlp_ratio": 5.33334, "img_size": 56}  # fmt: skip

CONSTRUCTIONS = {
    "plain": ("tu-vit_tiny_patch16_224", TINY),
    "DINOv2": ("tu-vit_small_patch14_reg4_dinov2", {**TINY, "img_size": 56}),
    "DINOv3": ("tu-vit_small_patch16_dinov3", TINY),
    "UNI2-h": ("tu-vit_giant_patch14_224", {**TINY, **SWIGLU}),
}


def small(kind: str = "plain", **options: Any) -> DenseViT:
    torch.manual_seed(0)
    encoder, vit = CONSTRUCTIONS[kind]
    return build_vit(3, encoder=encoder, depth=5, width=8, vit=vit, **options)


def config(**changes: Any) -> ModelConfig:
    options = {"width": 8, "vit": TINY, **changes.pop("options", {})}
    plain = {"architecture": "vit", "encoder": "tu-vit_tiny_patch16_224", "encoder_weights": "none"}
    return ModelConfig(**{**plain, "options": options, **changes})


def recipe(*overrides: str) -> Recipe:
    model = ("model.architecture=vit", "model.encoder=tu-vit_tiny_patch16_224", "model.encoder_depth=0",
             "model.options={width = 8, decoder = 'fpn', vit = {embed_dim = 24, depth = 4, num_heads = 2}}",
             "optim.epochs=1", "optim.steps_per_epoch=2")  # fmt: skip
    return tiny_recipe(*model, *overrides)


@pytest.mark.parametrize("decoder", ["upernet", "fpn", "unet"])
@pytest.mark.parametrize("kind", CONSTRUCTIONS)
def test_every_construction_answers_at_full_size_for_every_multiple_of_the_stride(kind: str, decoder: str) -> None:
    network = small(kind, decoder=decoder, adapter="cnn").eval()
    with torch.inference_mode():
        for height, width in ((32, 32), (64, 96), (224, 224)):
            assert network(torch.zeros(1, 3, height, width)).shape == (1, 3, height, width)


@pytest.mark.parametrize(("kind", "token_px", "side"), [("plain", 16, 64), ("plain", 8, 128), ("DINOv2", 16, 56)])
def test_there_is_a_token_for_so_many_px_whatever_the_patches_are(kind: str, token_px: int, side: int) -> None:
    network, seen = small(kind, token_px=token_px).eval(), []
    network.encoder.register_forward_hook(lambda _, inputs, maps: seen.append((inputs[0], maps)))
    network(torch.zeros(1, 3, 64, 64))
    image, maps = seen[0]
    assert image.shape[-2:] == (side, side)
    assert [tuple(part.shape[-2:]) for part in maps[1:]] == [(64 // token_px,) * 2] * 4


def test_features_of_the_pyramid_come_from_ever_deeper_layers() -> None:
    """Silencing the last layer changes the coarsest level alone."""
    network, image = small().eval(), torch.randn(1, 3, 64, 64, generator=torch.manual_seed(1))
    before = network._pyramid(image)[2:]
    for parameter in network.encoder.blocks[-1].parameters():  # type: ignore[union-attr, index]
        torch.nn.init.zeros_(parameter)
    after = network._pyramid(image)[2:]
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [True, True, True, False]


def test_low_rank_matrices_start_as_nothing_and_belong_to_their_copy() -> None:
    plain, network = small(), small(lora_rank=2)
    network.load_state_dict(plain.state_dict(), strict=False)
    image = torch.randn(1, 3, 64, 64, generator=torch.manual_seed(1))
    network.eval(), plain.eval()
    assert torch.allclose(network(image), plain(image), atol=1e-6)
    assert set(network.encoder.state_dict()) == set(plain.encoder.state_dict())
    assert len(network.low_rank) == 2 * TINY["depth"]
    other = copy.deepcopy(network)
    for part in other.low_rank:
        torch.nn.init.ones_(part.widen.weight)  # type: ignore[union-attr, arg-type]
    assert torch.allclose(network(image), plain(image), atol=1e-6)
    assert not torch.allclose(other(image), plain(image), atol=1e-6)


def test_only_the_last_layers_learn_where_so_many_are_asked_for() -> None:
    network = small(last_layers=1)
    learning = {name for name, value in network.encoder.named_parameters() if value.requires_grad}
    assert learning and all(name.startswith(("blocks.3.", "norm.")) for name in learning)
    assert not any(value.requires_grad for value in small(last_layers=0).encoder.parameters())
    assert all(value.requires_grad for value in network.decoder.parameters())


@pytest.mark.parametrize("more", ["lora_rank=2", "adapter=cnn"])
def test_beside_a_frozen_transformer_the_rest_learns(more: str, make_tiles: MakeTiles, tmp_path: Path) -> None:
    frozen = recipe("model.freeze_encoder=true", f"model.options.{more}")
    report = fit(make_tiles(), tmp_path / "run", frozen)
    assert 0 < report.parameters["learning"] < report.parameters["all"]
    trained = load_run(tmp_path / "run").load_model()
    fit(make_tiles(name="same"), tmp_path / "again", frozen)
    part = trained.low_rank if "lora" in more else trained.stem
    for (name, value), first in zip(part.named_parameters(), _first(frozen, more), strict=True):  # type: ignore[union-attr]
        assert not torch.equal(value, first) or "running" in name
    again = load_run(tmp_path / "again").load_model().encoder.state_dict()  # type: ignore[union-attr]
    assert all(torch.equal(value, again[name]) for name, value in trained.encoder.state_dict().items())  # type: ignore[union-attr]


def _first(frozen: Recipe, more: str) -> list[torch.Tensor]:
    torch.manual_seed(1)
    network = build_model(frozen.model, 3)
    part = network.low_rank if "lora" in more else network.stem
    return [value.detach() for value in part.parameters()]  # type: ignore[union-attr]


def test_weights_of_a_folder_are_loaded_to_the_bit_and_others_are_told_what_to_set(tmp_path: Path) -> None:
    trained = small()
    save_file(trained.encoder.state_dict(), tmp_path / "model.safetensors")
    about = {"architecture": "vit_tiny_patch16_224", "model_args": {"img_size": 224, "init_values": 1e-5}}
    (tmp_path / "config.json").write_text(json.dumps(about))
    for path in (tmp_path, tmp_path / "model.safetensors"):
        loaded = build_model(config(encoder_weights=str(path)), 3).encoder.state_dict()  # type: ignore[union-attr]
        assert all(torch.equal(value, loaded[name]) for name, value in trained.encoder.state_dict().items())
    small_images = config(encoder_weights=str(tmp_path), options={"vit": {**TINY, "img_size": 64}})
    with pytest.raises(
        ConfigError, match=r"first 'pos_embed'; say the image size and further options of those weights in"
    ):
        build_model(small_images, 3)
    (tmp_path / "config.json").write_text(json.dumps({**about, "architecture": "vit_large_patch16_224"}))
    with pytest.raises(
        ConfigError, match=r"is of vit_large_patch16_224; set model\.encoder=tu-vit_large_patch16_224 and"
    ):
        build_model(config(encoder_weights=str(tmp_path)), 3)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError, match="is not JSON"):
        build_model(config(encoder_weights=str(tmp_path)), 3)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"holds neither model\.safetensors nor pytorch_model\.bin"):
        build_model(config(encoder_weights=str(tmp_path / "empty")), 3)


def test_weights_that_cannot_be_fetched_say_how_to_give_a_file_and_what_the_licence_forbids() -> None:
    """HF_HUB_OFFLINE is set in these tests."""
    with pytest.raises(ConfigError) as err:
        build_model(config(encoder_weights="hub:MahmoodLab/UNI"), 3)
    for said in ("--set model.encoder_weights=path/to/", "UNI is gated: ask at https://huggingface.co/MahmoodLab/UNI",
                 "CC BY-NC-ND 4.0, which forbids commercial use"):  # fmt: skip
        assert said in str(err.value)
    assert terms_of("bioptimus/H-optimus-0") == terms_of("somebody/else") == ""


@pytest.mark.parametrize("known", FOUNDATIONS, ids=lambda known: known.name)
def test_published_transformers_are_built_with_their_published_number_of_parameters(known: Any) -> None:
    with torch.device("meta"):
        network = build_vit(2, encoder=known.encoder, depth=5, vit=known.vit)
    assert sum(value.numel() for value in network.encoder.parameters()) / 1e6 == pytest.approx(known.millions, abs=0.1)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"encoder": "tu-resnet18", "options": {"vit": {}}}, "is no plain transformer"),
        ({"encoder": "resnet18"}, "vit takes tu-NAME"),
        ({"encoder": "tu-vit_nowhere"}, "vit takes tu-NAME"),
        ({"encoder_depth": 4}, "leave model.encoder_depth out"),
        ({"options": {"token_px": 12}}, "token_px of 8, 16 or 32"),
        ({"options": {"decoder": "dpt"}}, "only upernet, fpn and unet"),
        ({"options": {"adapter": "vit"}}, "only none and cnn"),
        ({"options": {"vit": {**TINY, "depth": 2}}}, "at least 4 are needed"),
        ({"options": {"vit": {"colour": 1}}}, "cannot be built"),
    ],
)
def test_what_makes_no_network_is_one_clear_line(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as err:
        build_model(config(**changes), 3)
    assert "\n" not in str(err.value) and len(str(err.value)) < 250


def test_what_onnx_cannot_do_is_one_line(
    make_tiles: MakeTiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """timm resamples positions in a way that ONNX has no operation for."""
    pytest.importorskip("onnx", reason="onnx is not installed (extra: onnx)")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra: onnx)")
    from qpkit_train.inference.running.onnx_export import export_onnx

    fit(make_tiles(), tmp_path / "run", recipe())
    with pytest.raises(ConfigError, match=r"the network cannot be written as ONNX \(.*bicubic"):
        export_onnx(tmp_path / "run", tmp_path / "model.onnx")
    assert not capsys.readouterr().out and not (tmp_path / "model.onnx").exists()


def test_a_teacher_drops_features_of_a_transformer_too(make_tiles: MakeTiles, tmp_path: Path) -> None:
    with_teacher = recipe("semi.weight=0.5", "semi.feature_dropout=0.5")
    assert fit(make_tiles(train={0: 4, 1: 3, 3: 2, 255: 3}), tmp_path / "run", with_teacher).epochs == 1
