"""The networks of the BCSS comparison: their sizes, what they answer in training and otherwise, what they refuse."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_tiles import MakeTiles, tiny_recipe

from qpkit.errors import ConfigError
from qpkit_train.loop import fit
from qpkit_train.models.card import STRIDE
from qpkit_train.models.own.nnunet import build_nnunet
from qpkit_train.models.own.transunet import build_transunet
from qpkit_train.models.own.vanilla_unet import build_vanilla_unet
from qpkit_train.models.registry import build_untrained
from qpkit_train.planning.memory import parameters
from qpkit_train.recipe.load import load_recipe
from qpkit_train.recipe.settings import ModelConfig
from shared_data import DOCS

SMALL_VIT = {"width": 24, "layers": 2, "heads": 3, "mlp": 48, "image_px": 64}

VANILLA = ("model.architecture=vanilla-unet", "model.encoder=none", "model.options={channels = [6, 8, 10]}")
NNUNET = ("model.architecture=nnunet", "model.encoder=none", "model.options={channels = [6, 8, 10, 12]}")
TRANSUNET = (
    "model.architecture=transunet",
    "model.encoder=resnet18",
    "model.options={width = 24, layers = 1, heads = 3, mlp = 48, image_px = 64, decoder_channels = [16, 8, 8, 4]}",
)
DEPTH = "model.encoder_depth=0"


def sized(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def shapes_only(name: str) -> torch.nn.Module:
    """The network of a recipe for three classes; its tensors take no memory."""
    with torch.device("meta"):
        return build_untrained(load_recipe(name, ["model.encoder_weights=none"]).model, 3)


def small(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    if name == "transunet":
        return build_transunet(2, encoder="resnet18", depth=4, decoder_channels=(16, 8, 8, 4), **SMALL_VIT)  # type: ignore[arg-type]
    build = build_vanilla_unet if name == "vanilla-unet" else build_nnunet
    return build(2, channels=(6, 8, 10, 12))


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("bcss-unet", 31_037_763),
        ("bcss-transunet", 101_924_659),
        ("bcss-transunet-small", 6_621_939),
        ("bcss-nnunet", 20_619_116),
        ("bcss-unet-resnet101", 51_513_523),
    ],
)
def test_the_networks_have_the_parameters_that_the_docs_say(name: str, count: int) -> None:
    assert sized(shapes_only(name)) == count
    row = next(
        line
        for line in (DOCS / "training.md").read_text().splitlines()
        if line.startswith(f"| `{name}` | ") and "M |" in line
    )
    assert f"| {count / 1e6:.1f} M |" in row


def test_the_published_transunet_is_ours_with_three_more_blocks_in_the_third_stage() -> None:
    """It has nine of them: 105.3 million parameters."""
    network = shapes_only("bcss-transunet")
    block = sized(network.encoder.layer3[-1])  # type: ignore[union-attr, index]
    assert (sized(network) + 3 * block) / 1e6 == pytest.approx(105.28, abs=0.01)
    assert len(network.transformer.blocks) == 12  # type: ignore[union-attr, arg-type]
    assert not hasattr(network.encoder, "layer4")


@settings(max_examples=10)
@given(st.lists(st.integers(1, 7), min_size=2, max_size=6), st.integers(1, 4))
def test_a_vanilla_unet_has_the_parameters_of_its_formula(channels: list[int], classes: int) -> None:
    def twice(before: int, after: int) -> int:
        return 9 * before * after + 9 * after * after + 4 * after

    expected = sum(twice(before, after) for before, after in pairwise([3, *channels]))
    for fine, coarse in pairwise(channels):
        expected += 4 * coarse * fine + fine + twice(2 * fine, fine)
    assert sized(build_vanilla_unet(classes, channels=channels)) == expected + (channels[0] + 1) * classes


@settings(max_examples=10)
@given(st.lists(st.integers(1, 7), min_size=2, max_size=6), st.integers(1, 4), st.booleans())
def test_an_nnunet_has_the_parameters_that_its_plan_counts(channels: list[int], classes: int, deep: bool) -> None:
    network = build_nnunet(classes, channels=channels, deep_supervision=deep)
    coarser = max(len(channels) - 3, 0) if deep else 0
    assert sized(network) == parameters(channels, classes=classes, coarser=coarser)
    sides = {layer.kernel_size for layer in network.grow}
    assert sides == {(2, 2)}


@pytest.mark.parametrize("name", ["vanilla-unet", "nnunet", "transunet"])
def test_one_answer_at_full_size_for_every_multiple_of_the_stride(name: str) -> None:
    network = small(name).eval()
    with torch.inference_mode():
        for height, width in ((STRIDE, STRIDE), (2 * STRIDE, 3 * STRIDE)):
            assert network(torch.zeros(1, 3, height, width)).shape == (1, 2, height, width)


@pytest.mark.parametrize("name", ["vanilla-unet", "nnunet", "transunet"])
def test_every_parameter_moves_an_answer(name: str) -> None:
    network = small(name)
    found = network(torch.randn(2, 3, 64, 64))
    answers = found if isinstance(found, tuple) else (found,)
    sum(answer.square().sum() for answer in answers).backward()  # type: ignore[union-attr]
    # A bias before an instance norm is taken off again.
    free = {key for key, _ in network.named_parameters() if name == "nnunet" and key.endswith((".0.bias", ".3.bias"))}
    free -= {"segmentation_head.0.bias"}
    still = [key for key, value in network.named_parameters() if value.grad is None or not value.grad.abs().max() > 0]
    assert not set(still) - free


def test_an_nnunet_answers_at_halved_sizes_in_training_and_once_otherwise() -> None:
    network = build_nnunet(2, channels=(4, 4, 4, 4, 4))
    answers = network(torch.zeros(1, 3, 64, 32))
    assert isinstance(answers, tuple)
    assert [tuple(answer.shape[-2:]) for answer in answers] == [(64, 32), (32, 16), (16, 8)]
    assert isinstance(network.eval()(torch.zeros(1, 3, 64, 32)), torch.Tensor)
    plain = build_nnunet(2, channels=(4, 4, 4, 4, 4), deep_supervision=False)
    assert isinstance(plain(torch.zeros(1, 3, 64, 32)), torch.Tensor)


def test_a_transunet_looks_across_the_whole_image() -> None:
    """What stands in one corner changes the answer in the other, further than its convolutions reach.

    By a millionth, more or less, as the random weights are: too little for float32.
    """
    network = small("transunet").eval().double()
    image = torch.zeros(1, 3, 512, 512, dtype=torch.float64)
    changed = image.clone()
    changed[..., -64:, -64:] = 5
    with torch.inference_mode():
        apart = (network(changed) - network(image)).abs()[..., :64, :64]
        network.transformer.blocks = torch.nn.Identity()  # type: ignore[assignment]
        convolved = (network(changed) - network(image)).abs()[..., :64, :64]
    assert apart.max() > 1e-9 and convolved.max() == 0


def test_positions_are_as_learned_at_their_own_size_and_interpolated_at_others() -> None:
    network = small("transunet").eval()
    features = torch.zeros(1, 256, 4, 4)
    transformer = network.transformer
    transformer.blocks = transformer.norm = torch.nn.Identity()  # type: ignore[union-attr, assignment]
    with torch.inference_mode():
        bias = transformer.embed.bias.view(1, -1, 1, 1)  # type: ignore[union-attr, operator]
        assert torch.allclose(transformer(features) - bias, transformer.positions, atol=1e-6)  # type: ignore[operator]
        doubled = transformer(torch.zeros(1, 256, 8, 8)) - bias  # type: ignore[operator]
    wanted = torch.nn.functional.interpolate(transformer.positions, scale_factor=2, mode="bilinear")  # type: ignore[arg-type]
    assert torch.allclose(doubled, wanted, atol=1e-6)


@pytest.mark.parametrize("settings_of_model", [VANILLA, NNUNET, TRANSUNET], ids=["vanilla-unet", "nnunet", "transunet"])
def test_a_trained_network_is_exported_and_agrees_with_torch(
    settings_of_model: tuple[str, ...], make_tiles: MakeTiles, tmp_path: Path
) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed (extra: onnx)")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra: onnx)")
    from qpkit_train.inference.running.onnx_export import TOLERANCE, export_onnx

    recipe = tiny_recipe(*settings_of_model, DEPTH, "optim.epochs=1", "optim.steps_per_epoch=2")
    fit(make_tiles(), tmp_path / "run", recipe)
    assert export_onnx(tmp_path / "run", tmp_path / "model.onnx").difference <= TOLERANCE


def test_crops_that_leave_an_nnunet_a_single_pixel_are_refused_before_the_first_step(
    make_tiles: MakeTiles, tmp_path: Path
) -> None:
    recipe = tiny_recipe(*NNUNET[:2], DEPTH, "data.crop_px=32", "model.options={channels=[4,4,4,4,4,4]}")
    with pytest.raises(
        ConfigError, match=r"nnunet .* cannot take tiles of 32 x 32 px \(6 stages leave a single"
    ) as err:
        fit(make_tiles(), tmp_path / "run", recipe)
    assert len(str(err.value)) < 200 and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"architecture": "transunet", "options": {"decoder_channels": [8, 8]}}, "4 decoder_channels"),
        ({"architecture": "transunet", "options": {"heads": 5}}, "multiple of heads"),
        ({"architecture": "transunet", "options": {"image_px": 100}}, "multiple of 16"),
        ({"architecture": "transunet", "encoder": "tu-vit_tiny_patch16_224"}, "no.* features of strides 2 to 16; take"),
        ({"architecture": "transunet", "encoder": "mit_b0", "options": {"heads": 3}}, "not have features of strides 2"),
        ({"architecture": "vanilla-unet", "encoder": "none", "options": {"channels": [8]}}, "2 to 6 stages"),
        ({"architecture": "nnunet", "encoder": "none", "options": {"channels": [8] * 7}}, "2 to 6 stages"),
    ],
)
def test_sizes_that_make_no_network_are_one_clear_line(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as err:
        build_untrained(ModelConfig(**{"encoder": "resnet18", "encoder_weights": "none", **changes}), 2)  # type: ignore[arg-type]
    assert "\n" not in str(err.value) and len(str(err.value)) < 200
