"""Our networks by their formulas: sizes counted by hand, answers worked out with numpy."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qpkit_train.models.own.dense_unet import build_dense_unet
from qpkit_train.models.own.tile_classifier import TileClassifier, build_tile_classifier


def block_size(channels: int, out: int, layers: int, growth: int) -> int:
    """Parameters of a dense block: a norm and a 3 x 3 convolution per layer, a norm and a 1 x 1 convolution."""
    seen = [channels + i * growth for i in range(layers)]
    whole = channels + layers * growth
    return sum(2 * width + 9 * width * growth for width in seen) + 2 * whole + whole * out


@settings(max_examples=15)
@given(st.lists(st.integers(1, 7), min_size=2, max_size=6), st.integers(1, 3), st.integers(1, 4), st.integers(1, 5))
def test_a_dense_unet_has_the_parameters_of_its_formula_and_answers_at_full_size(
    channels: list[int], layers: int, growth: int, classes: int
) -> None:
    network = build_dense_unet(classes, channels=channels, layers=layers, growth=growth).eval()
    first = channels[0]
    expected = 27 * first + block_size(first, first, layers, growth) + 2 * first + first * classes + classes
    for fine, coarse in pairwise(channels):
        expected += block_size(fine, coarse, layers, growth) + block_size(fine + coarse, fine, layers, growth)
    assert sum(parameter.numel() for parameter in network.parameters()) == expected
    side = 2 ** (len(channels) - 1)
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, side, 2 * side)).shape == (1, classes, side, 2 * side)


def test_a_dense_unet_answers_each_image_by_itself() -> None:
    torch.manual_seed(0)
    network = build_dense_unet(2, channels=[4, 6], layers=2, growth=3).eval()
    images = torch.randn(3, 3, 16, 16)
    with torch.inference_mode():
        together = network(images)
        alone = torch.cat([network(image[None]) for image in images])
    assert torch.allclose(together, alone, atol=1e-5)
    assert not torch.allclose(together[0], together[1], atol=1e-3)


@pytest.mark.parametrize(
    "wrong", [{"channels": [8]}, {"channels": [8] * 7}, {"channels": [8, 0]}, {"layers": 0}, {"growth": 0}]
)
def test_sizes_that_make_no_network_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="dense-unet takes 2 to 6 stages"):
        build_dense_unet(2, **wrong)  # type: ignore[arg-type]


class Features(torch.nn.Module):
    """An encoder that gives what it is fed; the deepest features are every other pixel."""

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [x, x[:, :, ::2, ::2]]


def test_a_tile_classifier_weighs_the_mean_of_the_deepest_features() -> None:
    torch.manual_seed(1)
    network = TileClassifier(Features(), 3, 4).eval()
    pixels = np.random.default_rng(0).normal(size=(2, 3, 8, 6)).astype(np.float32)
    weight = network.segmentation_head[0].weight.detach().numpy()[:, :, 0, 0]
    bias = network.segmentation_head[0].bias.detach().numpy()
    with torch.inference_mode():
        logits = network(torch.from_numpy(pixels)).numpy()
    expected = pixels[:, :, ::2, ::2].mean(axis=(2, 3)) @ weight.T + bias
    assert logits.shape == (2, 4, 1, 1)
    np.testing.assert_allclose(logits[:, :, 0, 0], expected, rtol=1e-5, atol=1e-6)


def test_a_tile_classifier_is_built_of_the_encoder_that_is_named() -> None:
    network = build_tile_classifier(2, encoder="resnet18", depth=3).eval()
    assert network.segmentation_head[0].weight.shape == (2, 128, 1, 1)
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, 32, 64)).shape == (1, 2, 1, 1)
