"""Colours, blur and noise: the mask stays, pixels stay in 0..1, and each change does what it is called after."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from augmenting import MOVES, PICTURES, RECOLORINGS, augmented, config_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch import Tensor

from qpkit.core.tiles import Tile
from qpkit.slides import open_slide
from qpkit_train.augment.sampling import warp
from qpkit_train.augment.transforms import Recolor, of_kind, stream_numbers
from qpkit_train.augment.transforms.blur import Blur
from qpkit_train.augment.transforms.clahe import CELLS, equalized_luma
from qpkit_train.augment.transforms.emboss import Emboss
from qpkit_train.augment.transforms.gamma import Gamma
from qpkit_train.augment.transforms.glass import Glass
from qpkit_train.augment.transforms.motion import Motion
from qpkit_train.augment.transforms.noise import Noise
from qpkit_train.augment.transforms.nuclei import Nuclei, hue_saturation_value
from qpkit_train.augment.transforms.pca import Pca
from shared_data import SHARED

change = pytest.mark.parametrize("change", RECOLORINGS)
WITH_CHANCE = [name for name, how in RECOLORINGS.items() if any(key.endswith("_p") for key in how)]


def stream(name: str) -> np.random.Generator:
    return np.random.default_rng((5, *name.encode()))


def chance_of(change: str) -> str:
    """The setting that is the probability of a change."""
    return next(key for key in RECOLORINGS[change] if key.endswith("_p"))


def tissue(seed: int, count: int = 4, side: int = 32) -> tuple[Tensor, Tensor]:
    """Pictures of every colour, and a mask."""
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(rng.integers(0, 256, (count, 3, side, side), dtype=np.uint8))
    return images, torch.from_numpy(rng.integers(0, 4, (count, side, side), dtype=np.uint8))


@change
@given(st.integers(0, 10_000), st.integers(0, 10_000))
@settings(deadline=None, max_examples=20)
def test_the_mask_stays_and_pixels_stay_in_bounds(change: str, seed: int, step: int) -> None:
    images, mask = tissue(seed)
    changed, targets = augmented(RECOLORINGS[change], images, mask, at=(0, step))
    assert torch.equal(targets, mask)
    assert changed.dtype == torch.float32 and changed.isfinite().all()
    assert changed.min() >= 0 and changed.max() <= 1
    assert not torch.equal(changed, images / 255)
    again, _ = augmented(RECOLORINGS[change], images, mask, at=(0, step))
    other, _ = augmented(RECOLORINGS[change], images, mask, at=(0, step + 1))
    assert torch.equal(changed, again) and not torch.equal(changed, other)


@change
def test_black_white_and_grey_pictures_stay_numbers(change: str) -> None:
    flat = torch.tensor([0, 128, 255], dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 3, 16, 16)
    for step in range(20):
        changed, _ = augmented(RECOLORINGS[change], flat, torch.zeros(3, 16, 16, dtype=torch.uint8), at=(0, step))
        assert changed.isfinite().all() and changed.min() >= 0 and changed.max() <= 1


@change
def test_without_strength_or_chance_no_bit_changes(change: str) -> None:
    images, mask = tissue(0)
    strength = next(iter(RECOLORINGS[change]))
    probabilities = {name: 0 for name in RECOLORINGS[change] if name.endswith("_p")}
    for off in ({strength: 0}, *([{**RECOLORINGS[change], **probabilities}] if probabilities else [])):
        assert torch.equal(augmented(off, images, mask, at=(0, 0))[0], images / 255)


@change
def test_a_picture_is_changed_alike_whatever_its_neighbours_are(change: str) -> None:
    images, mask = tissue(1)
    changed, _ = augmented(RECOLORINGS[change], images, mask, at=(0, 0))
    for kept in range(len(images)):
        others, _ = tissue(2)
        others[kept] = images[kept]
        assert torch.equal(augmented(RECOLORINGS[change], others, mask, at=(0, 0))[0][kept], changed[kept])


@pytest.mark.parametrize("change", WITH_CHANCE)
def test_about_half_of_the_pictures_change_with_a_chance_of_a_half(change: str) -> None:
    images, mask = tissue(3, count=64, side=8)
    least = 55 if change == "blur" else 64  # a blur by under a tenth of a pixel changes nothing
    for probability, low, high in ((1.0, least, 64), (0.5, 20, 44)):
        changed, _ = augmented({**RECOLORINGS[change], chance_of(change): probability}, images, mask, at=(0, 0))
        assert low <= sum(not torch.equal(a / 255, b) for a, b in zip(images, changed, strict=True)) <= high


@pytest.mark.parametrize("change", WITH_CHANCE)
def test_the_chance_decides_whether_a_picture_changes_and_not_how(change: str) -> None:
    images, mask = tissue(3, count=32, side=16)
    always, sometimes = (
        augmented({**RECOLORINGS[change], chance_of(change): probability}, images, mask, at=(0, 0))[0]
        for probability in (1.0, 0.5)
    )
    for before, whole, after in zip(images / 255, always, sometimes, strict=True):
        assert torch.equal(after, before) or torch.equal(after, whole)


def test_every_change_has_a_random_stream_of_its_own() -> None:
    asked: list[str] = []

    def watched(name: str) -> np.random.Generator:
        asked.append(name)
        return stream(name)

    strengths = {
        key: value for kind in (MOVES["affine"], MOVES["grid"], MOVES["elastic"]) for key, value in kind.items()
    }
    for change in RECOLORINGS.values():
        strengths |= change
    config, pixels = config_of(**strengths), torch.rand(2, 3, 16, 16)
    warp(pixels, torch.zeros(2, 16, 16, dtype=torch.uint8), config, watched)
    for recolor in of_kind(Recolor, config):
        recolor.seeing(PICTURES).apply(pixels, watched)
    assert sorted(name for name in asked if name != "batch") == sorted(stream_numbers())
    assert len(set(stream_numbers().values())) == len(stream_numbers())


def test_gamma_is_one_power_for_a_picture_within_its_bounds() -> None:
    ramp = torch.linspace(0.05, 0.95, 90).view(1, 1, 9, 10).expand(200, 3, 9, 10)
    powers = Gamma.of(config_of(gamma=1)).apply(ramp, stream).log() / ramp.log()
    flat = powers.flatten(1)
    assert torch.allclose(flat, flat[:, :1].expand_as(flat), atol=1e-3)
    assert 0.5 <= flat.min() < 0.6 and 1.8 < flat.max() <= 2 + 1e-3
    ends = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2).expand(4, 3, 1, 2)
    assert torch.equal(Gamma.of(config_of(gamma=1)).apply(ends, stream), ends)


def test_blur_is_scipys_gaussian_filter() -> None:
    images = (tissue(4)[0] / 255).contiguous()
    config = config_of(blur_px=2.0)
    found = Blur.of(config).apply(images, stream)
    rng = stream("blur")
    rng.random(4)
    for picture, blurred, deviation in zip(images, found, 2.0 * rng.uniform(0, 1, 4), strict=True):
        wanted = ndimage.gaussian_filter(
            picture.numpy().astype(np.float64), (0, deviation, deviation), mode="nearest", radius=(0, 6, 6)
        )
        assert np.abs(wanted - blurred.numpy()).max() < 1e-5


def test_noise_has_the_deviation_that_was_drawn_and_no_mean() -> None:
    grey = torch.full((50, 3, 32, 32), 0.5)
    grains = Noise.of(config_of(noise=0.1, noise_p=0.7)).apply(grey, stream) - 0.5
    deviations = grains.flatten(1).std(dim=1)
    rng = stream("noise")
    is_chosen = torch.from_numpy(rng.random(50) < 0.7)
    assert 20 < is_chosen.sum() < 50
    wanted = torch.from_numpy(0.1 * rng.uniform(0, 1, 50)).float() * is_chosen
    assert torch.allclose(deviations, wanted, atol=0.005)
    assert grains.mean().abs() < 0.001
    shown = int(wanted.argmax())
    assert (grains[shown, 0] - grains[shown, 1]).abs().max() > 0


def test_equalising_with_the_lowest_limit_changes_nothing_that_can_be_seen() -> None:
    dull = (0.5 + 0.05 * torch.randn(4, 64, 64, generator=torch.manual_seed(0))).clamp(0, 1)
    for luma in (tissue(6)[0][:, 0] / 255, dull):
        assert (equalized_luma(luma, torch.ones(4)) - luma).abs().max() < 0.6 / 255


def test_equalising_without_a_limit_is_histogram_equalisation() -> None:
    """All cells show the same pixels, so that blending between cells is the identity."""
    cell = np.random.default_rng(0).normal(120, 20, (1, 16, 16)).clip(0, 255).astype(np.uint8)
    luma = np.tile(cell, (1, CELLS, CELLS))
    counts = np.bincount(cell.ravel(), minlength=256)
    below = (np.cumsum(counts) - counts / 2) / counts.sum()
    wanted = below[luma] * 256 / 255 - 0.5 / 255
    found = equalized_luma(torch.from_numpy(luma).float() / 255, torch.tensor([256.0]))
    assert np.abs(found.numpy() - wanted.clip(0, 1)).max() < 1e-4


@given(st.integers(0, 1000), st.integers(9, 40), st.integers(9, 40), st.floats(1, 10))
@settings(deadline=None, max_examples=30)
def test_equalising_keeps_the_order_of_levels_of_any_shape(seed: int, height: int, width: int, limit: float) -> None:
    """Two pictures that differ by one brighter pixel of the same cell cannot change places: curves rise."""
    rng = np.random.default_rng(seed)
    levels = torch.from_numpy(np.sort(rng.integers(0, 256, (1, 1, width)), axis=2)).float() / 255
    luma = levels.expand(1, height, width)
    found = equalized_luma(luma, torch.tensor([limit]))
    assert found.shape == luma.shape and found.min() >= 0 and found.max() <= 1
    assert torch.allclose(found, found[:, :1].expand_as(found), atol=1e-5)


def test_between_the_middles_of_two_cells_the_curves_are_blended_evenly() -> None:
    """Every other row is grey; what is between gets brighter from cell to cell, and the grey gets darker for it."""
    side, cells = 16, np.arange(CELLS).repeat(16)
    noise = np.random.default_rng(0).uniform(0.2, 0.8, (CELLS * side, CELLS * side)) + 0.04 * (cells - 3.5)
    noise[::2] = 0.5
    grey = equalized_luma(torch.from_numpy(noise).float().unsqueeze(0), torch.tensor([8.0]))[0, side // 2].numpy()
    bends = np.abs(np.diff(grey, 2))
    middle = np.arange(1, len(grey) - 1)
    at_middle = np.isin(middle % side, (side // 2 - 1, side // 2))
    assert bends[~at_middle].max() < 1e-5 < bends[at_middle].max()
    assert grey[0] - grey[-1] > 0.1 and grey[0] == grey[side // 2 - 1]


def test_equalising_raises_the_contrast_of_a_dull_picture_up_to_its_limit() -> None:
    dull = (0.5 + 0.03 * torch.randn(1, 64, 64, generator=torch.manual_seed(0))).clamp(0, 1)
    spreads = [float(equalized_luma(dull, torch.tensor([limit])).std()) for limit in (1.0, 2.0, 4.0, 10.0)]
    assert spreads == sorted(spreads) and spreads[-1] > 2 * spreads[0]


@given(st.integers(0, 1000), st.floats(1, 10))
@settings(deadline=None, max_examples=30)
def test_equalising_raises_no_contrast_by_more_than_its_limit(seed: int, limit: float) -> None:
    """All cells show the same pixels: then two levels are nowhere further apart than limit times before."""
    cell = np.random.default_rng(seed).normal(120, 5, (1, 12, 12)).clip(0, 255).round()
    luma = torch.from_numpy(np.tile(cell, (1, CELLS, CELLS))).float() / 255
    found, order = (
        equalized_luma(luma, torch.tensor([limit]))[0, :12, :12].flatten(),
        luma[0, :12, :12].flatten().sort().indices,
    )
    rise, run = found[order].diff(), luma[0, :12, :12].flatten()[order].diff()
    assert (rise <= limit * run * 1.01 + 1e-5).all() and (rise >= -1e-5).all()


NUCLEI = {"haematoxylin": (0.35, 0.25, 0.55), "DAB": (0.55, 0.35, 0.2)}
OTHERS = {"eosin": (0.86, 0.55, 0.72), "glass": (0.95, 0.94, 0.95), "green": (0.3, 0.6, 0.3), "grey": (0.5, 0.5, 0.5)}


@pytest.mark.parametrize("name", NUCLEI)
def test_nuclei_change_in_saturation_and_value_and_keep_their_hue(name: str) -> None:
    before = torch.tensor(NUCLEI[name]).view(1, 3, 1, 1).expand(100, 3, 2, 2)
    after = Nuclei.of(config_of(nuclei=0.2)).apply(before, stream)
    old, new = hue_saturation_value(before), hue_saturation_value(after)
    assert (old[0] - new[0]).abs().max() < 0.5
    for part in (1, 2):
        moved = new[part] - old[part]
        assert moved.abs().max() <= 0.2 + 1e-4 and moved.min() < -0.15 and moved.max() > 0.15


@pytest.mark.parametrize("name", OTHERS)
def test_what_has_no_colour_of_a_nucleus_stays(name: str) -> None:
    before = torch.tensor(OTHERS[name]).view(1, 3, 1, 1).expand(20, 3, 2, 2)
    assert torch.allclose(Nuclei.of(config_of(nuclei=0.5)).apply(before, stream), before, atol=1e-6)


def test_brown_and_blue_are_shifted_apart_from_each_other() -> None:
    both = torch.tensor(list(NUCLEI.values())).T.view(1, 3, 1, 2).expand(100, 3, 1, 2)
    moved = (
        hue_saturation_value(Nuclei.of(config_of(nuclei=0.2)).apply(both, stream))[2] - hue_saturation_value(both)[2]
    )
    assert abs(float(torch.corrcoef(moved[:, 0].T)[0, 1])) < 0.4


@pytest.mark.parametrize("name", ["scikit-image/ihc.png", "2022-qupath-cell-detection/OS-2-vsi.ome.tif"])
def test_on_real_immunohistochemistry_blue_and_brown_change_apart_and_the_rest_does_not(name: str) -> None:
    path = SHARED / "data/slides" / name
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    with open_slide(path) as slide:
        pixels = slide.read(Tile(col=0, row=0, x=0, y=0, width=512, height=512))
    before = torch.from_numpy(pixels).movedim(-1, 0)[None] / 255
    hue, saturation, _ = hue_saturation_value(before)
    stained = saturation > 0.2
    blue, brown = stained & (hue > 195) & (hue < 265), stained & (hue > 5) & (hue < 50)
    assert blue.float().mean() > 0.005 and brown.float().mean() > 0.005
    moved = [
        (after - before).abs().mean(dim=1)
        for seed in range(8)
        for after in [Nuclei.of(config_of(nuclei=0.3, nuclei_p=1.0)).apply(before, lambda _, s=seed: seeded(s))]
    ]
    shares = torch.tensor([[m[blue].mean(), m[brown].mean()] for m in moved])
    assert (shares.amax(dim=0) > 0.1).all()
    assert shares.log().diff(dim=1).abs().max() > 1  # not always by as much
    assert max(float(m[saturation < 0.1].max()) for m in moved) == 0


def seeded(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_measured_nuclei_vary_as_far_as_was_measured() -> None:
    ranges = {"haematoxylin": ((-40, 61), (-60, 61)), "DAB": ((-30, 81), (-80, 81))}
    for name, bounds in ranges.items():
        before = torch.tensor(NUCLEI[name]).view(1, 3, 1, 1).expand(300, 3, 1, 1)
        after = Nuclei.of(config_of(nuclei=1, nuclei_range="measured")).apply(before, stream)
        for part, (low, high) in zip((1, 2), bounds, strict=True):
            old, new = (hue_saturation_value(images)[part] for images in (before, after))
            moved = (new - old) * 255
            most = torch.tensor(255.0) - old.max() * 255
            assert low - 0.1 <= moved.min() < low + 5
            assert min(high, float(most)) - 5 < moved.max() <= min(high, float(most)) + 0.1


def test_motion_is_the_mean_along_a_line_and_keeps_what_is_straight() -> None:
    rng = np.random.default_rng(1)
    images = torch.from_numpy(rng.random((20, 3, 33, 33), np.float32))
    made = Motion(motion_px=8, motion_p=1).apply(images, stream)
    assert torch.allclose(made[..., 8:-8, 8:-8].mean(), images[..., 8:-8, 8:-8].mean(), atol=0.02)
    assert made.var() < images.var()
    point = torch.zeros(20, 1, 33, 33)
    point[..., 16, 16] = 1
    spread = Motion(motion_px=8, motion_p=1).apply(point, stream)
    assert torch.allclose(spread.sum((1, 2, 3)), torch.ones(20), atol=1e-3)
    rows, columns = np.mgrid[-16:17, -16:17]
    for picture in spread[:, 0].numpy():
        moments = [[(picture * a * b).sum() for b in (columns, rows)] for a in (columns, rows)]
        across, along = np.linalg.eigvalsh(moments)
        # A line of at most 8 px has a variance of 8 ** 2 / 12; interpolation adds to both.
        assert across < 0.5 and along < 8**2 / 12 * 1.3 + 0.5


def test_frosted_glass_makes_no_colour_that_is_not_near() -> None:
    images, _ = tissue(3, side=24)
    before = images.float() / 255
    made = Glass(glass_px=2, glass_p=1).apply(before, stream)
    for channel in range(3):
        low, high = (
            np.stack([extreme(picture, size=7, mode="mirror") for picture in before[:, channel].numpy()])
            for extreme in (ndimage.minimum_filter, ndimage.maximum_filter)
        )
        found = made[:, channel].numpy()
        assert (found[:, 3:-3, 3:-3] >= low[:, 3:-3, 3:-3] - 1e-5).all()
        assert (found[:, 3:-3, 3:-3] <= high[:, 3:-3, 3:-3] + 1e-5).all()


def test_light_from_one_side_shows_edges_and_leaves_what_is_flat() -> None:
    flat = torch.full((30, 3, 16, 16), 0.4)
    assert torch.equal(Emboss(emboss=2, emboss_p=1).apply(flat, stream), flat)
    ramp = (torch.arange(16) / 60 + 0.3).expand(30, 3, 16, 16)
    lifted = Emboss(emboss=2, emboss_p=1).apply(ramp, stream) - ramp
    assert torch.allclose(lifted[..., 1:-1], lifted[..., 1:2].expand_as(lifted[..., 1:-1]), atol=1e-5)
    assert lifted.abs().max() <= 2 / 60 + 1e-5
    assert lifted[:, 0, 0, 8].min() < -0.005 and lifted[:, 0, 0, 8].max() > 0.005


def test_colours_are_shifted_along_their_own_axes() -> None:
    rng = np.random.default_rng(2)
    mixed = rng.normal(0, 1, (12, 3, 3)) @ rng.normal(0, 0.03, (12, 3, 400)) + 0.5
    images = torch.from_numpy(mixed.reshape(12, 3, 20, 20).astype(np.float32)).clamp(0.3, 0.7)
    shift = (Pca(pca=0.5, pca_p=1).apply(images, stream) - images).flatten(2)
    assert shift.std(dim=2).max() < 1e-5
    for picture, moved in zip(images.flatten(2).numpy(), shift.mean(dim=2).numpy(), strict=True):
        variances, axes = np.linalg.eigh(np.cov(picture, bias=True))
        steps = axes.T @ moved / np.sqrt(variances)
        assert np.abs(steps).max() <= 0.5 + 1e-2 and np.abs(steps).max() > 0
