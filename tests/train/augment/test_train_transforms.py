"""Each transform by itself: off or without a chance it gives back the same batch, on it keeps to its own words."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from augmenting import PICTURES
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from qpkit_train.augment.random import Rows, chosen_of, drawn_for, replaced
from qpkit_train.augment.sampling import places_of
from qpkit_train.augment.transforms import Move, Recolor, Transform, transforms
from qpkit_train.augment.transforms.affine import Affine
from qpkit_train.augment.transforms.blur import Blur
from qpkit_train.augment.transforms.clahe import Clahe
from qpkit_train.augment.transforms.color import Color
from qpkit_train.augment.transforms.elastic import Elastic
from qpkit_train.augment.transforms.emboss import Emboss
from qpkit_train.augment.transforms.flips import Flips
from qpkit_train.augment.transforms.gamma import Gamma
from qpkit_train.augment.transforms.glass import Glass
from qpkit_train.augment.transforms.grid import Grid
from qpkit_train.augment.transforms.motion import Motion
from qpkit_train.augment.transforms.noise import Noise
from qpkit_train.augment.transforms.nuclei import Nuclei
from qpkit_train.augment.transforms.optical import Optical
from qpkit_train.augment.transforms.pca import Pca
from qpkit_train.augment.transforms.style import Style
from qpkit_train.luma import LUMA

ON: dict[type[Transform], dict[str, Any]] = {
    Flips: {"hflip": 0.5, "vflip": 0.5, "rot90": True},
    Affine: {"rotate": 30, "scale": 0.3, "shear": 10, "shift": 0.1, "affine_p": 1},
    Grid: {"grid": 0.5, "grid_p": 1},
    Elastic: {"elastic_px": 4, "elastic_cell_px": 16, "elastic_p": 1},
    Color: {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.2, "stain": 0.2},
    Nuclei: {"nuclei": 0.4, "nuclei_p": 1},
    Gamma: {"gamma": 1, "gamma_p": 1},
    Clahe: {"clahe": 5, "clahe_p": 1},
    Blur: {"blur_px": 2, "blur_p": 1},
    Noise: {"noise": 0.2, "noise_p": 1},
    Motion: {"motion_px": 6, "motion_p": 1},
    Glass: {"glass_px": 2, "glass_p": 1},
    Emboss: {"emboss": 1, "emboss_p": 1},
    Pca: {"pca": 0.5, "pca_p": 1},
    Style: {"style": 1, "style_p": 1},
    Optical: {"optical": 0.3, "optical_p": 1},
}
"""Every transform with strengths that one sees."""

OFF = {Flips: {"hflip": 0, "vflip": 0, "rot90": False}, Color: dict.fromkeys(ON[Color], 0)}
RECOLORS = [kind for kind in ON if issubclass(kind, Recolor)]
MOVES = [kind for kind in ON if issubclass(kind, Move)]


def stream(name: str) -> np.random.Generator:
    return np.random.default_rng((3, *name.encode()))


def batch(seed: int, count: int = 3, side: int = 16) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random((count, 3, side, side), np.float32))


def test_every_transform_is_tried_here() -> None:
    assert set(ON) == set(transforms())


@pytest.mark.parametrize("kind", RECOLORS, ids=lambda kind: kind.__name__)
def test_a_recolouring_that_is_off_or_has_no_chance_gives_the_same_bits(kind: type[Recolor]) -> None:
    images = batch(1)
    off = {name: 0 if not name.endswith("_p") else 1 for name in ON[kind]}
    assert torch.equal(kind(**off).seeing(PICTURES).apply(images, stream), images)
    chances = {name: 0 for name in ON[kind] if name.endswith("_p")}
    if chances:
        assert kind(**{**ON[kind], **chances}).seeing(PICTURES).apply(images, stream) is images


@pytest.mark.parametrize("kind", RECOLORS, ids=lambda kind: kind.__name__)
@given(st.integers(0, 99))
@settings(max_examples=10)
def test_a_recolouring_stays_in_bounds_and_leaves_the_batch_as_it_was(kind: type[Recolor], seed: int) -> None:
    images = batch(seed)
    before = images.clone()
    made = kind(**ON[kind]).seeing(PICTURES).apply(images, stream)
    assert torch.equal(images, before) and not torch.equal(made, images)
    assert made.shape == images.shape and made.dtype == torch.float32
    assert made.isfinite().all() and made.min() >= 0 and made.max() <= 1


@pytest.mark.parametrize("kind", MOVES, ids=lambda kind: kind.__name__)
def test_a_move_that_is_off_or_has_no_chance_moves_nothing(kind: type[Move]) -> None:
    off = {name: 1 if name.endswith(("_p", "_cell_px")) else 0 for name in ON[kind]}
    off |= {"elastic_cell_px": 16} if kind is Elastic else {}
    chances = {name: 0 for name in ON[kind] if name.endswith("_p")}
    for changes in (off, {**ON[kind], **chances}):
        drawn = kind(**changes).draw(4, 20, 30, stream)
        assert not drawn.moved.any()
        x, y = places_of([drawn], np.arange(4), 20, 30, device=torch.device("cpu"))
        assert np.allclose(x, np.broadcast_to(np.arange(30) + 0.5, (4, 20, 30)), atol=1e-5)
        assert np.allclose(y, np.broadcast_to((np.arange(20) + 0.5)[:, None], (4, 20, 30)), atol=1e-5)


@pytest.mark.parametrize("kind", MOVES, ids=lambda kind: kind.__name__)
@given(st.integers(0, 50))
@settings(max_examples=10)
def test_no_move_comes_from_further_than_it_says(kind: type[Move], seed: int) -> None:
    side = 24
    move = kind(**ON[kind])
    drawn = move.draw(3, side, side, lambda name: np.random.default_rng((seed, *name.encode())))
    assert drawn.moved.all()
    x, y = places_of([drawn], np.arange(3), side, side, device=torch.device("cpu"))
    farthest = max((x - side / 2).abs().max().item(), (y - side / 2).abs().max().item())
    assert farthest <= move.reach(side / 2, side) + 1e-4


def test_a_turn_alone_keeps_distances_and_a_shift_moves_all_alike() -> None:
    cpu = torch.device("cpu")
    x, y = places_of([Affine(rotate=90, affine_p=1).draw(5, 32, 32, stream)], np.arange(5), 32, 32, device=cpu)
    assert np.allclose((x[:, 0, 0] - x[:, 0, 31]) ** 2 + (y[:, 0, 0] - y[:, 0, 31]) ** 2, 31**2, rtol=1e-4)
    assert np.allclose((x[:, 0, 0] + x[:, 31, 31]) / 2, 16, atol=1e-3)
    x, y = places_of([Affine(shift=0.25, affine_p=1).draw(5, 32, 32, stream)], np.arange(5), 32, 32, device=cpu)
    moved = x[:, 0] - (torch.arange(32) + 0.5)
    assert np.allclose(moved, moved[:, :1].expand(5, 32), atol=1e-4) and moved.abs().max() <= 8


def test_a_grid_keeps_its_edges_and_its_order() -> None:
    drawn = Grid(grid=0.9, grid_p=1).draw(6, 40, 60, stream)
    for knots, length in ((drawn.knots_x, 60), (drawn.knots_y, 40)):
        assert (knots[:, 0] == 0).all() and np.allclose(knots[:, -1], length)
        assert (np.diff(knots, axis=1) > 0).all()
        widths = np.diff(knots, axis=1)
        assert (widths.max(axis=1) / widths.min(axis=1) <= 19 + 1e-9).all()


def test_the_strongest_bend_that_is_allowed_folds_nothing_and_a_stronger_one_is_a_fault() -> None:
    elastic = Elastic(elastic_px=4, elastic_cell_px=16, elastic_p=1)
    x, y = places_of([elastic.draw(20, 48, 48, stream)], np.arange(20), 48, 48, device=torch.device("cpu"))
    assert (x.diff(dim=2) > 0).all() and (y.diff(dim=1) > 0).all()
    assert list(elastic.faults()) == []
    assert "a quarter" in next(Elastic(elastic_px=4.1, elastic_cell_px=16).faults())
    assert [len(list(Clahe(clahe=limit).faults())) for limit in (0, 0.5, 1, 10)] == [0, 1, 0, 0]


@given(st.integers(0, 99), st.booleans())
@settings(max_examples=20)
def test_flips_exchange_pixels_of_image_and_mask_alike(seed: int, is_square: bool) -> None:
    images = torch.arange(4 * 12 * (12 if is_square else 8)).view(4, 1, 12, -1)
    flips = Flips(**ON[Flips])
    made, masks = flips.apply(images, images[:, 0], np.random.default_rng(seed))
    assert torch.equal(made[:, 0], masks)
    assert torch.equal(made.flatten(1).sort().values, images.flatten(1))
    turns = [pixels.rot90(k, (-2, -1)) for pixels in images for k in (range(4) if is_square else (0, 2))]
    for number, pixels in enumerate(made):
        own = turns[number * (4 if is_square else 2) :][: 4 if is_square else 2]
        assert any(torch.equal(pixels, t) or torch.equal(pixels, t.flip(-1)) for t in own)
    same, _ = Flips(**OFF[Flips]).apply(images, images[:, 0], np.random.default_rng(seed))
    assert same is images


def test_colours_without_strength_draw_as_many_numbers_as_with() -> None:
    """What is drawn after them in a batch must not change."""
    left = []
    for strengths in (ON[Color], OFF[Color]):
        rng = np.random.default_rng(7)
        Color(**strengths).apply(batch(2), lambda name, rng=rng: rng)  # type: ignore[misc]
        left.append(rng.random())
    assert left[0] == left[1]


def test_saturation_keeps_luma_and_luma_is_pillows() -> None:
    assert math.isclose(sum(LUMA), 1)
    images = 0.25 + batch(3) / 2
    weights = torch.tensor(LUMA).view(1, 3, 1, 1)
    only = {**OFF[Color], "saturation": 0.3}
    made = Color(**only).apply(images, stream)
    assert torch.allclose((made * weights).sum(dim=1), (images * weights).sum(dim=1), atol=1e-5)
    pixels = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    assert np.abs(np.asarray(Image.fromarray(pixels).convert("L")) - pixels @ np.array(LUMA)).max() <= 1


# Random numbers


@given(st.integers(1, 9), st.data())
def test_a_part_of_a_batch_gets_the_numbers_that_the_whole_one_would_give_it(total: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, total - 1))
    count = data.draw(st.integers(1, total))
    whole, part = Rows((1, 2), first=0, total=total), Rows((1, 2), first=first, total=total)
    rows = [min(first + k, total - 1) for k in range(count)]
    for draw in (
        lambda rng, n: rng.random(n),
        lambda rng, n: rng.uniform(-1, 1, (n, 3)),
        lambda rng, n: rng.integers(0, 9, n),
    ):
        assert np.array_equal(draw(part, count), draw(whole, total)[rows])


@given(st.integers(0, 8), st.sampled_from([0.0, 0.3, 1.0]))
def test_images_that_are_not_chosen_keep_their_bits(count: int, probability: float) -> None:
    chosen = chosen_of(np.random.default_rng(1), count, probability)
    assert len(chosen) == {0.0: 0, 1.0: count}.get(probability, len(chosen))
    images = torch.rand(count, 3, 2, 2)
    made = replaced(images, chosen, lambda part: part + 1)
    for number in range(count):
        assert torch.equal(made[number], images[number] + (number in chosen))
    numbers, moved = drawn_for(
        lambda rng, n: np.ones((n, 2)), np.random.default_rng(1), count, probability, is_on=True, still=np.zeros(2)
    )
    assert np.array_equal(np.flatnonzero(moved), chosen) and np.array_equal(numbers[:, 0], moved)


def test_a_lens_moves_pixels_along_their_radius_and_folds_nothing() -> None:
    lens = Optical(optical=0.3, optical_p=1)
    x, y = places_of([lens.draw(20, 40, 60, stream)], np.arange(20), 40, 60, device=torch.device("cpu"))
    assert (x.diff(dim=2) > 0).all() and (y.diff(dim=1) > 0).all()
    across, down = torch.arange(60) + 0.5 - 30, (torch.arange(40) + 0.5 - 20)[:, None]
    assert ((x - 30) * down - (y - 20) * across).abs().max() < 1e-2
    grown = torch.hypot(x - 30, y - 20) / torch.hypot(across, down) - 1
    squared = (across**2 + down**2) / (30**2 + 20**2)
    assert torch.allclose(grown, grown[:, :1, :1] / squared[0, 0] * squared, atol=1e-4)
    assert grown.min() < -0.1 and grown.max() > 0.1 and grown.abs().max() <= 0.3
