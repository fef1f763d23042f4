"""Augmentation of samples with surroundings: a landmark stays at one place of the slide in every image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from augmenting import MOVES, PICTURES, RECOLORINGS, config_of
from numpy.typing import NDArray
from torch import Tensor

from qpkit_train.augment.augmenter import Augmenter
from qpkit_train.augment.sampling import reach
from qpkit_train.augment.transforms import Recolor, transforms
from qpkit_train.recipe.settings import AugmentConfig

FACTORS = (1, 2, 4)
SIDE = 96
WIDTH = 7.0
"""Standard deviation of a landmark, px of the tile."""


def sample(places: NDArray[np.float64], margin: int) -> Tensor:
    """(n, 9, side, side) uint8: black, with a bright landmark at (x, y) from the common centre, px of the tile."""
    side = SIDE + 2 * margin
    images = []
    for factor in FACTORS:
        at = (np.arange(side) + 0.5 - side / 2) * factor
        across, down = np.meshgrid(at, at)
        squares = (across - places[:, 0, None, None]) ** 2 + (down - places[:, 1, None, None]) ** 2
        images += [np.exp(-squares / (2 * WIDTH**2))] * 3
    return torch.from_numpy((np.stack(images, axis=1) * 255).round().astype(np.uint8))


def places_in(pixels: Tensor) -> NDArray[np.float64]:
    """(n, images, 2) where the landmarks are from the common centre, px of the tile."""
    n, channels, side, _ = pixels.shape
    weights = pixels.view(n, channels // 3, 3, side, side).mean(dim=2).double().numpy()
    weights = np.where(weights > 0.04, weights, 0)
    at = np.arange(side) + 0.5 - side / 2
    total = np.maximum(weights.sum(axis=(2, 3)), 1e-9)
    found = [(weights * grid).sum(axis=(2, 3)) / total for grid in (at[None, None, None, :], at[None, None, :, None])]
    return np.stack(found, axis=-1) * np.array(FACTORS[: channels // 3])[None, :, None]


def changed(changes: dict[str, Any], places: NDArray[np.float64], *, step: int) -> NDArray[np.float64]:
    config: AugmentConfig = config_of(**changes)
    margin = reach(config, SIDE)
    images = sample(places, margin)
    targets = torch.zeros((len(places), *images.shape[-2:]), dtype=torch.uint8)
    pixels, _ = Augmenter(config, seed=1, factors=FACTORS)(images, targets, epoch=0, step=step, margin=margin)
    assert pixels.shape == (len(places), 9, SIDE, SIDE)
    return places_in(pixels)


@pytest.mark.parametrize("name", MOVES)
def test_a_landmark_in_the_tile_is_at_the_same_place_in_every_image_after_any_move(name: str) -> None:
    rng = np.random.default_rng(0)
    before = rng.uniform(-10, 10, (8, 2))
    after = changed(MOVES[name], before, step=3)
    # It does move; near the middle a lens does little.
    assert np.abs(after[:, 0] - before).max() > (0.2 if name == "optical" else 1)
    # A tenth of the widest image's px; bends have another shape in each.
    limit = 1.2 if "elastic_px" in MOVES[name] else 0.4
    assert np.abs(after - after[:, :1]).max() < limit


@pytest.mark.parametrize("name", ["flips and turns", "rotate", "scale", "shear", "shift", "affine"])
def test_a_landmark_beside_the_tile_moves_as_one_in_it_would(name: str) -> None:
    angles = np.random.default_rng(1).uniform(0, 2 * np.pi, 8)
    before = 60 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    x2, x4 = np.moveaxis(changed(MOVES[name], before, step=3)[:, 1:], 1, 0)
    whole = np.abs(x4).max(axis=1) < 75  # in the second image, which shows 96 px each way
    assert whole.sum() > 3 and np.abs(x2 - x4)[whole].max() < 0.5
    # These moves are affine: what a fifth of the way does in the tile, five fifths do beside it.
    inside = changed(MOVES[name], before / 5, step=3)[:, 0]
    still = changed(MOVES[name], before * 0, step=3)[:, 0]
    assert np.abs(still + 5 * (inside - still) - x4).max() < 1


def test_an_image_that_is_cut_one_px_off_fails_the_law() -> None:
    before = np.random.default_rng(0).uniform(-10, 10, (8, 2))
    config = config_of(**MOVES["affine"])
    margin = reach(config, SIDE)
    images = sample(before, margin)
    images[:, 6:] = images[:, 6:].roll(1, dims=-1)
    targets = torch.zeros((8, *images.shape[-2:]), dtype=torch.uint8)
    after = places_in(Augmenter(config, seed=1, factors=FACTORS)(images, targets, epoch=0, step=3, margin=margin)[0])
    assert np.abs(after[:, 2] - after[:, 0]).max() > 3


@pytest.mark.parametrize("name", [*RECOLORINGS])
def test_the_same_colour_becomes_the_same_colour_in_every_image(name: str) -> None:
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (6, 3, 48, 48), dtype=np.uint8))
    targets = torch.zeros((6, 48, 48), dtype=torch.uint8)
    config, repeated = config_of(**RECOLORINGS[name]), image.repeat(1, 2, 1, 1)
    alone, both = (
        Augmenter(config, seed=1, source=PICTURES, factors=factors)(pixels, targets, epoch=0, step=2)[0]
        for pixels, factors in ((image, (1,)), (repeated, (1, 4)))
    )
    tile, wide = both.chunk(2, dim=1)
    assert torch.equal(tile, alone) and not torch.equal(tile, image.float() / 255)
    change, wide_change = (float((part - image / 255).abs().mean()) for part in (tile, wide))
    if any(kind.shrinks and kind.shrinks[0] in RECOLORINGS[name] for kind in transforms() if issubclass(kind, Recolor)):
        # A length in um, or a mean over more of it.
        assert 0 < wide_change < 0.8 * change
    else:
        assert torch.equal(tile, wide)


def test_contrast_changes_about_the_mean_of_the_tile() -> None:
    rng = np.random.default_rng(0)
    tile = torch.from_numpy(rng.integers(60, 120, (4, 3, 32, 32), dtype=np.uint8))
    wide = torch.full_like(tile, 200)
    wide[..., 8:24, 8:24] = tile[..., ::2, ::2]
    targets = torch.zeros((4, 32, 32), dtype=torch.uint8)
    pixels = Augmenter(config_of(contrast=0.3), seed=1, factors=(1, 4))(
        torch.cat([tile, wide], dim=1), targets, epoch=0, step=0
    )[0]
    assert torch.equal(pixels[:, :3, ::2, ::2], pixels[:, 3:, 8:24, 8:24])
