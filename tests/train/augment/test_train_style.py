"""The staining of other slides: what is asked of a target arrives, and what is no tissue stays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from augmenting import PICTURES, config_of
from numpy.typing import NDArray
from skimage import color
from torch import Tensor

from qpkit_train.augment.stainings import fourier, macenko, reinhard, stains, statistics, to_lab, to_rgb
from qpkit_train.augment.transforms.style import Style, drawn_statistics

WAYS = {"reinhard": reinhard, "macenko": macenko, "fourier": fourier}
HE = np.array([[0.65, 0.07], [0.70, 0.99], [0.29, 0.11]])
PURPLE = np.array([[0.55, 0.20], [0.75, 0.90], [0.37, 0.39]])
"""Haematoxylin and eosin, optical density of red, green and blue; and as of another laboratory."""


def stained(vectors: NDArray[np.float64], seed: int, *, strength: float = 1.0) -> Tensor:
    """Pictures of two stains, some pixels of one of them alone, as (2, 3, 48, 48)."""
    rng = np.random.default_rng(seed)
    amounts = rng.uniform(0.2, 1.0, (2, 2, 48 * 48)) * strength
    amounts[:, 0, :300] = 0
    amounts[:, 1, 300:600] = 0
    density = vectors / np.linalg.norm(vectors, axis=0) @ amounts
    return torch.from_numpy((10**-density).reshape(2, 3, 48, 48).astype(np.float32))


ALL = torch.ones(2)
NONE = torch.zeros(2)


def test_lab_is_that_of_others_and_leads_back() -> None:
    images = torch.rand(2, 3, 20, 20, generator=torch.Generator().manual_seed(1))
    lab = to_lab(images)
    for own, picture in zip(lab, images, strict=True):
        assert np.allclose(own.movedim(0, -1), color.rgb2lab(picture.movedim(0, -1).numpy()), atol=0.05)
    assert torch.allclose(to_rgb(lab), images, atol=2e-4)


@pytest.mark.parametrize("way", WAYS)
def test_a_strength_of_0_changes_nothing_and_the_own_staining_neither(way: str) -> None:
    images, targets = stained(HE, 1), stained(PURPLE, 2)
    assert torch.allclose(WAYS[way](images, targets, NONE)(images), images, atol=1e-4)
    assert torch.allclose(WAYS[way](images, images, ALL)(images), images, atol=1e-3)


def test_reinhard_gives_the_mean_and_deviation_of_the_target() -> None:
    images, targets = stained(HE, 1, strength=0.6), stained(PURPLE, 2, strength=0.6)
    made = reinhard(images, targets, ALL)(images)
    for found, wanted in zip(statistics(made), statistics(targets), strict=True):
        assert (found - wanted).abs().max() < 1
    half = reinhard(images, targets, ALL / 2)(images)
    means = [statistics(pictures)[0] for pictures in (images, half, targets)]
    assert torch.allclose(means[1], (means[0] + means[2]) / 2, atol=1)


def test_macenko_finds_the_stains_and_exchanges_them() -> None:
    images, targets = stained(HE, 1), stained(PURPLE, 2, strength=0.7)
    for pictures, vectors in ((images, HE), (targets, PURPLE)):
        found, _ = stains(pictures)
        assert np.abs(found.numpy() - vectors / np.linalg.norm(vectors, axis=0)).max() < 0.03
    expected = stained(PURPLE, 1, strength=0.7)
    assert (macenko(images, targets, ALL)(images) - expected).abs().mean() < 0.01
    assert (images - expected).abs().mean() > 0.1


def test_fourier_gives_low_frequencies_and_keeps_phases() -> None:
    images, targets = stained(HE, 1) * 0.4 + 0.3, stained(PURPLE, 2) * 0.4 + 0.3
    made = fourier(images, targets, ALL)(images)
    assert torch.allclose(made.mean((2, 3)), targets.mean((2, 3)), atol=1e-4)
    own, found = torch.fft.rfft2(images), torch.fft.rfft2(made)
    far = np.s_[..., 3:20, 3:]
    assert torch.allclose(own[far], found[far], atol=1e-2)


@pytest.mark.parametrize("way", ["reinhard", "macenko"])
def test_glass_stays_glass_and_pictures_without_tissue_stay(way: str) -> None:
    images, targets = stained(HE, 1), stained(PURPLE, 2)
    images[..., :20] = 0.97
    made = WAYS[way](images, targets, ALL)(images)
    assert (made[..., :20] - 0.97).abs().max() < 0.02 and (made[..., 24:] - images[..., 24:]).abs().mean() > 0.02
    glass = torch.full((2, 3, 48, 48), 0.96)
    assert torch.equal(WAYS[way](glass, targets, ALL)(glass), glass) or way == "macenko"
    assert torch.allclose(WAYS[way](glass, targets, ALL)(glass), glass, atol=1e-4)
    assert torch.allclose(WAYS[way](images, glass, ALL)(images), images, atol=1e-4)


def test_drawn_stainings_vary_as_those_that_were_seen() -> None:
    rng = np.random.default_rng(3)
    means, spreads = rng.normal(50, 4, (40, 3)), rng.normal(10, 1, (40, 3))
    made, spread = drawn_statistics(means, spreads, rng.random((4000, 2, 3)))
    assert np.allclose(made.mean(axis=0), means.mean(axis=0), atol=0.5)
    assert np.allclose(made.std(axis=0), means.std(axis=0), rtol=0.2) and (spread > 0).all()
    assert (np.abs(made - means.mean(axis=0)) <= 2 * means.std(axis=0) + 1e-9).all()


def test_every_picture_is_a_target_and_a_step_gives_the_same_again() -> None:
    styled = Style.of(config_of(style=1, style_p=1)).seeing(PICTURES)
    images = stained(HE, 1).repeat(20, 1, 1, 1)
    made = [styled.apply(images, lambda _, seed=seed: np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])
    assert len({tuple(picture.mean((1, 2)).tolist()) for picture in made[0][::2]}) > 5
