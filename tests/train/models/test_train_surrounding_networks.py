"""Networks that see surroundings: branches meet px on px, every image counts, sizes are as said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tiny_tiles import HOOKNET, MakeTiles, tiny_recipe
from torch import Tensor, nn

from qpkit.errors import ConfigError
from qpkit_train.inference.running.torch_model import Predictor
from qpkit_train.loop import fit
from qpkit_train.losses.answers import loss_of_answers
from qpkit_train.losses.loss import make_loss
from qpkit_train.models import parts
from qpkit_train.models.own import hooknet, multires
from qpkit_train.models.own.hooknet import HookNet
from qpkit_train.models.own.multires import MultiResolution
from qpkit_train.models.parts import aligned_depth, as_the_tile, middle_of
from qpkit_train.models.registry import build_model, build_untrained
from qpkit_train.recipe.load import load_recipe
from qpkit_train.recipe.settings import LossConfig, ModelConfig
from qpkit_train.run_folder.run import load_run

SMALL = ModelConfig(architecture="hooknet", encoder="none", encoder_weights="none", context=[4],
                    options={"depth": 2, "filters": 4})  # fmt: skip
MULTIRES = ModelConfig(architecture="multires", encoder="resnet18", encoder_weights="none", context=[4],
                       encoder_depth=3)  # fmt: skip
STACK = ModelConfig(architecture="context-stack", encoder="resnet18", encoder_weights="none", context=[4])


class Pooling(nn.Module):
    """An encoder of 3 x 3 convolutions and means, which has no strides that see only the left of two px."""

    def __init__(self, depth: int = 2, width: int = 4) -> None:
        super().__init__()
        self.out_channels = [3, *[width] * depth]
        self.blocks = nn.ModuleList(nn.Conv2d(a, width, 3, padding=1) for a in self.out_channels[:-1])

    def forward(self, x: Tensor) -> list[Tensor]:
        found = [x]
        for block in self.blocks:
            found.append(F.relu(F.avg_pool2d(block(found[-1]), 2)))
        return found


def small_hooknet(factors: tuple[int, ...]) -> nn.Module:
    return HookNet(2, factors=factors, depth=2, filters=4)


def small_multires(factors: tuple[int, ...]) -> nn.Module:
    return MultiResolution(2, Pooling(), Pooling(), factor=factors[1], channels=(8, 8))


NETWORKS = [(small_hooknet, (1, 2)), (small_hooknet, (1, 2, 8)), (small_multires, (1, 2))]


@pytest.mark.parametrize(
    ("name", "options", "millions"),
    [
        ("multires-efficientnet-b0", {}, 12.53),
        ("multires-efficientnet-b4", {}, 40.51),
        ("multires-efficientnet-b4", {"share_encoder": True}, 22.96),
        ("hooknet", {}, 13.58),
        ("context-stack", {}, 14.34),
    ],
)
def test_shipped_networks_have_as_many_parameters_as_is_said(
    name: str, options: dict[str, bool], millions: float
) -> None:
    config = load_recipe(name).model
    with torch.device("meta"):
        network = build_untrained(ModelConfig(**{**_fields(config), "options": {**config.options, **options}}), 3)
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)


def _fields(config: ModelConfig) -> dict[str, object]:
    return {name: getattr(config, name) for name in config.__struct_fields__}


def test_the_published_hooknet_meets_where_um_per_px_times_two_to_the_depth_agree() -> None:
    config = load_recipe("hooknet").model
    network = build_untrained(config, 2)
    assert isinstance(network, HookNet)
    assert (config.mpp, config.factors, network.meets) == ([0.5, 2, 8], (1, 4, 16), [2, 2])
    for fine, wide, meet in zip(config.mpp, config.mpp[1:], network.meets, strict=False):
        assert fine * 2**4 == wide * 2**meet
    assert [aligned_depth(4, factor) for factor in (2, 4, 8, 16)] == [3, 2, 1, 0]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"context": [3]}, "agree nowhere"),
        ({"context": [8]}, "powers of 2, at most 4"),
        ({"context": [2, 6]}, "agree nowhere"),
        ({"options": {"depth": 5}}, "depth of 1 to 4"),
        ({"options": {"factors": [1, 2]}}, "multiple values for keyword argument 'factors'"),
        ({"architecture": "multires", "encoder": "resnet18", "options": {}, "context": [32]}, "at most 16"),
        ({"architecture": "multires", "encoder": "resnet18", "options": {}, "context": [2, 4]}, "takes 2 images"),
        (
            {"architecture": "multires", "encoder": "resnet18", "options": {"decoder_channels": [8]}},
            "one for each of the 5",
        ),
    ],
)
def test_branches_that_never_meet_are_refused(config: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        build_model(ModelConfig(**{**_fields(SMALL), **config}), 2)  # type: ignore[arg-type]
    assert len(str(caught.value)) < 220


@pytest.mark.parametrize("config", [SMALL, MULTIRES, STACK])
def test_answers_have_the_size_of_the_tile_and_branches_answer_while_training(config: ModelConfig) -> None:
    network = build_untrained(config, 3).eval()
    branches = int(getattr(network, "branches", 0))
    assert branches == {"hooknet": 1, "multires": 2, "context-stack": 0}[config.architecture]
    pixels = torch.randn(2, 6, 64, 96)
    with torch.inference_mode():
        assert network(pixels).shape == (2, 3, 64, 96)
        found = network.train()(pixels)
        answers = found if branches else (found,)
        assert [answer.shape for answer in answers] == (1 + branches) * [(2, 3, 64, 96)]


@pytest.mark.parametrize("config", [SMALL, MULTIRES])
def test_every_parameter_moves_the_weighted_answers(config: ModelConfig) -> None:
    torch.manual_seed(0)
    network = build_untrained(ModelConfig(**{**_fields(config), "encoder_depth": 0}), 2).train()  # type: ignore[arg-type]
    sum(answer.square().sum() for answer in network(torch.randn(2, 6, 64, 64))).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in network.parameters())


@pytest.mark.parametrize("config", [SMALL, MULTIRES, STACK])
def test_what_lies_beside_the_tile_changes_the_answer(config: ModelConfig) -> None:
    torch.manual_seed(0)
    network = build_untrained(config, 2).eval()
    pixels = torch.randn(1, 6, 64, 64)
    other = pixels.clone()
    other[:, 3:, :20] += 1  # above the middle quarter, where the tile is
    with torch.inference_mode():
        assert (network(pixels) - network(other)).abs().max() > 1e-6


def test_the_middle_resized_is_px_on_px() -> None:
    scene = torch.randn(1, 1, 64, 64).cumsum(-1).cumsum(-2)
    wide = F.avg_pool2d(F.pad(scene, (96, 96, 96, 96)), 4)
    assert torch.equal(middle_of(wide, 4), F.avg_pool2d(scene, 4))
    assert as_the_tile(wide, 4).shape == scene.shape
    assert torch.allclose(F.avg_pool2d(as_the_tile(wide, 4), 4), F.avg_pool2d(scene, 4), atol=scene.abs().max() / 10)


def uniform(network: nn.Module) -> nn.Module:
    """Make every convolution a mean, so that what comes of a landmark lies evenly around it."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.fill_(1 / module.weight[0].numel())
                if module.bias is not None:
                    module.bias.zero_()
    return network.eval()


def place_of_answer(network: nn.Module, factors: tuple[int, ...], number: int, place: tuple[int, int]) -> list[float]:
    """Where the answer changes by a landmark in one image, (x, y) px of the tile; it lies on a corner of px there."""
    side, factor = 128, factors[number]
    image = torch.zeros(1, 3 * len(factors), side, side)
    x, y = ((at - side // 2) // factor + side // 2 for at in place)
    image[:, 3 * number : 3 * number + 3, y - 2 : y + 2, x - 2 : x + 2] = 1
    with torch.inference_mode():
        found = (network(image) - network(torch.zeros_like(image))).abs().sum(dim=(0, 1))
    at = torch.arange(side) + 0.5
    return [float((found.sum(dim=axis) * at).sum() / found.sum()) for axis in (0, 1)]


@pytest.mark.parametrize(("build", "factors"), NETWORKS)
def test_a_landmark_in_any_image_changes_the_answer_where_it_is(
    build: Callable[[tuple[int, ...]], nn.Module], factors: tuple[int, ...]
) -> None:
    network, place = uniform(build(factors)), (64, 64)
    for number in range(len(factors)):
        assert place_of_answer(network, factors, number, place) == pytest.approx(place, abs=0.02)
    # Off the middle, where a wrong magnification would show.
    for number in range(2):
        assert place_of_answer(network, factors, number, (72, 56)) == pytest.approx((72, 56), abs=0.6)


@pytest.mark.parametrize(("build", "factors"), NETWORKS)
def test_a_middle_cut_one_px_off_moves_the_answer(
    build: Callable[[tuple[int, ...]], nn.Module], factors: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (hooknet, multires, parts):
        monkeypatch.setattr(module, "middle_of", lambda features, factor: middle_of(features.roll(1, -1), factor))
    x, y = place_of_answer(uniform(build(factors)), factors, 1, (64, 64))
    assert x > 65 and y == pytest.approx(64, abs=0.02)


@pytest.mark.parametrize(("build", "factors"), NETWORKS)
def test_a_shift_of_the_slide_shifts_the_answer(
    build: Callable[[tuple[int, ...]], nn.Module], factors: tuple[int, ...]
) -> None:
    """By what all branches halve: px of the widest image times 2^depth."""
    torch.manual_seed(0)
    network, side = build(factors).eval(), 128
    step = factors[-1] * 4
    scene = torch.rand(1, 3, side * factors[-1] + step, side * factors[-1] + step)

    def seen(offset: int) -> Tensor:
        images = []
        for factor in factors:
            start = offset + side * (factors[-1] - factor) // 2
            part = scene[..., start : start + side * factor, start : start + side * factor]
            images.append(F.avg_pool2d(part, factor))
        with torch.inference_mode():
            answer: Tensor = network(torch.cat(images, dim=1))
        return answer

    one, other = seen(0), seen(step)
    inside = side // 2 - 22 - step
    middle = slice(side // 2 - inside // 2, side // 2 + inside // 2)
    behind = slice(middle.start + step, middle.stop + step)
    differs, unmoved = (
        float((one[..., behind, behind] - other[..., part, part]).abs().max()) for part in (middle, behind)
    )
    assert differs < 2e-6 and unmoved > 20 * differs


def test_the_loss_adds_up_the_answers_of_branches_by_their_weights() -> None:
    loss = make_loss(LossConfig(terms="ce+dice"), background=0)
    logits, target = torch.randn(2, 9, 8, 8, requires_grad=True), torch.randint(0, 3, (2, 8, 8))
    answers = [(part, target) for part in logits.chunk(3, dim=1)]
    parts_ = [loss(*answer) for answer in answers]
    total = loss_of_answers(loss, answers, (1.0, 0.5, 0.25))
    assert torch.allclose(total, parts_[0] + 0.5 * parts_[1] + 0.25 * parts_[2])
    alone = loss_of_answers(loss, answers, (1.0, 0.0, 0.0))
    assert torch.equal(alone, parts_[0])
    alone.backward()
    assert logits.grad is not None and not logits.grad[:, 3:].any()


def test_stacked_images_start_with_the_published_weights_shared_out() -> None:
    one = build_untrained(ModelConfig(encoder="resnet18", encoder_weights="none"), 2)
    stacked = build_untrained(STACK, 2)
    from qpkit_train.models.registry import load_encoder

    load_encoder(stacked.encoder, one.encoder.state_dict(), source="test")  # type: ignore[arg-type, union-attr, operator]
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        deep = one.eval().encoder(image)[-1]  # type: ignore[operator]
        assert torch.allclose(stacked.eval().encoder(image.repeat(1, 2, 1, 1))[-1], deep, atol=1e-5)  # type: ignore[operator]


def test_a_run_with_surroundings_starts_from_a_run_and_freezes_both_encoders(
    make_tiles: MakeTiles, tmp_path: Path
) -> None:
    small = ("model.architecture=multires", "model.options={}", "optim.epochs=1", "optim.steps_per_epoch=1")
    fit(make_tiles(), tmp_path / "one", tiny_recipe("optim.epochs=1"))
    tiles = make_tiles(context=(4,), name="wide")
    report = fit(
        tiles,
        tmp_path / "two",
        tiny_recipe(*small, "model.context=[4]", f"model.encoder_weights=run:{tmp_path / 'one'}",
                    "model.freeze_encoder=true"),
    )  # fmt: skip
    one, two = (load_run(tmp_path / name).load_model() for name in ("one", "two"))
    for encoder in (two.encoder, two.context_encoders[0]):  # type: ignore[index]
        for name, value in one.encoder.state_dict().items():  # type: ignore[operator, union-attr]
            assert torch.equal(encoder.state_dict()[name], value)  # type: ignore[operator, union-attr]
    assert report.parameters["learning"] < report.parameters["all"]


@pytest.mark.parametrize(
    "changes",
    [
        HOOKNET,
        ("model.architecture=multires", "model.options={}", "model.context=[4]", "loss.branch_weights=[0.5,0.5]"),
        ("model.architecture=context-stack", "model.context=[4]"),
    ],
)
def test_networks_with_surroundings_are_exported_and_agree_with_torch(
    make_tiles: MakeTiles, tmp_path: Path, changes: tuple[str, ...]
) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed (extra: onnx)")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra: onnx)")
    from qpkit_train.inference.running.onnx_export import TOLERANCE, export_onnx
    from qpkit_train.inference.running.onnx_model import OnnxModel

    fit(make_tiles(context=(4,)), tmp_path / "run", tiny_recipe(*changes, "optim.epochs=1"))
    assert export_onnx(tmp_path / "run", tmp_path / "model.onnx").difference <= TOLERANCE
    card, other = Predictor(load_run(tmp_path / "run"), device="cpu").card, OnnxModel(tmp_path / "model.onnx").card
    assert (card.factors, card.stride) == (other.factors, other.stride) == ((1, 4), 32)
