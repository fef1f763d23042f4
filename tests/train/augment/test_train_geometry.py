"""Moves of image and mask: they agree, no label is made up, nothing is folded, what is off changes no bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from augmenting import MOVES, augmented, config_of
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from qpkit.ops.scores.confusion import IGNORE_INDEX
from qpkit_train.augment.augmenter import Augmenter
from qpkit_train.augment.random import Stream
from qpkit_train.augment.sampling import moves_of, places_of, reach, sample_image, sample_mask, warp, without_margin
from qpkit_train.recipe.settings import AugmentConfig

SIDE = 48
COLORS = torch.tensor([[20, 30, 40], [220, 40, 60], [60, 210, 80], [90, 70, 230]], dtype=torch.uint8)
"""By class index, further apart than any interpolation of a pixel with itself can lead."""

move = pytest.mark.parametrize("move", MOVES)
places = st.tuples(st.integers(0, 10_000), st.integers(0, 10_000))


def stream(seed: int) -> Stream:
    return lambda name: np.random.default_rng((seed, *name.encode()))


def blobs(seed: int, count: int = 4, side: int = SIDE) -> Tensor:
    """(count, side, side) uint8 class indices in patches of 8 px."""
    coarse = np.random.default_rng(seed).integers(0, len(COLORS), (count, side // 8, side // 8), dtype=np.uint8)
    return torch.from_numpy(coarse.repeat(8, axis=1).repeat(8, axis=2))


def painted(mask: Tensor) -> Tensor:
    """(n, 3, h, w) uint8: a mask in the colours of its classes."""
    return COLORS[mask.long()].movedim(-1, 1).contiguous()


def drawn_places(settings_of: dict[str, Any], seed: int, *, count: int = 4, side: int = SIDE) -> tuple[Tensor, Tensor]:
    drawn = [move.draw(count, side, side, stream(seed)) for move in moves_of(config_of(**settings_of))]
    return places_of(drawn, np.arange(count), side, side, device=torch.device("cpu"))


@move
@given(places)
@settings(deadline=None, max_examples=20)
def test_a_mask_painted_in_colours_still_shows_the_mask(move: str, at: tuple[int, int]) -> None:
    """Where the four pixels around a place are of one class, the colour names the class that the mask has."""
    mask = blobs(at[0])
    images, targets = augmented(MOVES[move], painted(mask), mask, at=at)
    distance = (images.unsqueeze(1) * 255 - COLORS.view(1, -1, 3, 1, 1)).abs().amax(dim=2)
    is_pure = distance.amin(dim=1) < 0.5
    known = is_pure & (targets != IGNORE_INDEX)
    assert known.float().mean() > 0.2
    assert torch.equal(distance.argmin(dim=1)[known], targets[known].long())


@move
@given(places)
@settings(deadline=None, max_examples=20)
def test_image_and_mask_are_taken_from_the_same_place_to_half_a_pixel(move: str, at: tuple[int, int]) -> None:
    """The mask numbers the columns (then the rows), the image has the same numbers as brightness."""
    for axis in (0, 1):
        ramp = torch.arange(SIDE, dtype=torch.uint8).unsqueeze(axis).expand(SIDE, SIDE).expand(3, SIDE, SIDE)
        images, targets = augmented(MOVES[move], ramp.unsqueeze(1).expand(3, 3, SIDE, SIDE), ramp, at=at)
        known = targets != IGNORE_INDEX
        assert (images[:, 0][known] * 255 - targets[known]).abs().max() <= 0.5 + 1e-3


@move
@given(places, st.sets(st.integers(0, 255), min_size=1, max_size=6))
@settings(deadline=None, max_examples=20)
def test_no_label_is_made_up(move: str, at: tuple[int, int], values: set[int]) -> None:
    chosen = np.random.default_rng(at).choice(np.array(sorted(values), np.uint8), (3, 24, 24))
    mask = torch.from_numpy(chosen)
    images, targets = augmented(MOVES[move], torch.zeros(3, 3, 24, 24, dtype=torch.uint8), mask, at=at)
    assert targets.dtype == torch.uint8 and targets.shape == mask.shape
    for before, after in zip(mask, targets, strict=True):
        assert set(after.unique().tolist()) <= set(before.unique().tolist()) | {IGNORE_INDEX}
    assert not images.any()


@move
def test_what_no_crop_was_chosen_for_changes_no_bit(move: str) -> None:
    mask = blobs(0)
    strengths = {name: 0 for name in MOVES[move] if not name.endswith(("_p", "_cell_px"))}
    probabilities = {name: 0 for name in MOVES[move] if name.endswith("_p") or name in ("hflip", "vflip", "rot90")}
    for off in (strengths, probabilities):
        images, targets = augmented({**MOVES[move], **off}, painted(mask), mask, at=(1, 2))
        assert torch.equal(targets, mask)
        assert torch.equal(images, painted(mask).float() / 255)


@move
@given(places)
@settings(deadline=None, max_examples=10)
def test_the_same_place_gives_the_same_move_and_another_gives_another(move: str, at: tuple[int, int]) -> None:
    mask = blobs(7, count=8)
    once, again = (augmented(MOVES[move], painted(mask), mask, at=at) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))
    other = augmented(MOVES[move], painted(mask), mask, at=(at[0], at[1] + 1))
    assert not torch.equal(once[1], other[1])


@move
def test_what_happens_to_a_crop_does_not_depend_on_what_its_neighbours_show(move: str) -> None:
    mask = blobs(3)
    images, targets = augmented(MOVES[move], painted(mask), mask, at=(0, 0))
    for kept in range(len(mask)):
        others = blobs(4)
        others[kept] = mask[kept]
        alone_images, alone_targets = augmented(MOVES[move], painted(others), others, at=(0, 0))
        assert torch.equal(alone_images[kept], images[kept])
        assert torch.equal(alone_targets[kept], targets[kept])


@pytest.mark.parametrize("move", [name for name in MOVES if name not in ("flips and turns", "everything")])
def test_every_crop_with_a_chance_of_one_moves_and_about_half_with_a_half(move: str) -> None:
    name = next(key for key in MOVES[move] if key.endswith("_p"))
    mask = blobs(5, count=64, side=24)
    before = painted(mask)
    for probability, low, high in ((1.0, 64, 64), (0.5, 20, 44)):
        images, _ = augmented({**MOVES[move], name: probability}, before, mask, at=(0, 0))
        assert low <= sum(not torch.equal(a / 255, b) for a, b in zip(before, images, strict=True)) <= high


@pytest.mark.parametrize("move", [name for name in MOVES if name not in ("flips and turns", "everything")])
def test_the_chance_decides_whether_a_crop_moves_and_not_where_to(move: str) -> None:
    name = next(key for key in MOVES[move] if key.endswith("_p"))
    mask = blobs(5, count=32)
    always, sometimes = (
        augmented({**MOVES[move], name: probability}, painted(mask), mask, at=(0, 0))[1] for probability in (1.0, 0.5)
    )
    for before, whole, after in zip(mask, always, sometimes, strict=True):
        assert torch.equal(after, before) or torch.equal(after, whole)


def test_a_flip_or_a_quarter_turn_exchanges_pixels_and_nothing_else() -> None:
    numbers = torch.arange(36, dtype=torch.uint8).view(1, 6, 6).expand(40, 6, 6)
    images, targets = augmented(MOVES["flips and turns"], numbers.unsqueeze(1).expand(40, 3, 6, 6), numbers, at=(0, 0))
    assert torch.equal((images[:, 0] * 255).round().to(torch.uint8), targets)
    ways = {tuple(target.flatten().tolist()) for target in targets}
    wanted = {tuple(torch.rot90(n, k).flatten().tolist()) for n in (numbers[0], numbers[0].flip(0)) for k in range(4)}
    assert ways == wanted


def test_tiles_that_are_not_square_are_moved_too() -> None:
    mask = blobs(1)[:, :32]
    for chosen in MOVES.values():
        images, targets = augmented(chosen, painted(mask), mask, at=(0, 0))
        assert images.shape == (4, 3, 32, SIDE) and targets.shape == (4, 32, SIDE)


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=30)
def test_turns_keep_distances_and_slants_keep_areas(seed: int) -> None:
    x, y = drawn_places({"rotate": 180, "shift": 0.3}, seed)
    for d_row, d_col in ((0, 1), (1, 0), (7, 5)):
        away = [v[:, d_row:, d_col:] - v[:, : SIDE - d_row, : SIDE - d_col] for v in (x, y)]
        assert torch.allclose(torch.hypot(*away), torch.tensor(float(np.hypot(d_row, d_col))), atol=1e-3)
    x, y = drawn_places({"rotate": 30, "shear": 40}, seed)
    assert torch.allclose(area(x, y), torch.ones(1), atol=1e-3)


def area(x: Tensor, y: Tensor) -> Tensor:
    """Source area of each pixel, with its sign: below 0 it would be folded."""
    dx, dy = (v[:, :-1, 1:] - v[:, :-1, :-1] for v in (x, y))
    ex, ey = (v[:, 1:, :-1] - v[:, :-1, :-1] for v in (x, y))
    return dx * ey - dy * ex


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=30)
def test_strengths_bound_what_is_drawn(seed: int) -> None:
    x, y = drawn_places({"scale": 0.5}, seed)
    factor = (x[:, 0, -1] - x[:, 0, 0]) / (SIDE - 1)
    assert ((factor >= 1 / 1.5 - 1e-4) & (factor <= 1.5 + 1e-4)).all() and factor.std() > 0
    own = torch.arange(SIDE) + 0.5
    x, y = drawn_places({"shift": 0.25}, seed)
    assert (x - own).abs().max() <= 0.25 * SIDE + 1e-3 and (y - own.view(-1, 1)).abs().max() <= 0.25 * SIDE + 1e-3
    x, y = drawn_places({"elastic_px": 4, "elastic_cell_px": 16}, seed)
    moved = torch.stack([x - own, y - own.view(-1, 1)])
    assert 0.2 < moved.abs().max() <= 4 + 1e-3
    x, y = drawn_places({"grid": 0.9}, seed)
    assert x.min() >= 0 and x.max() <= SIDE and y.min() >= 0 and y.max() <= SIDE


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=30)
def test_the_strongest_bends_that_a_recipe_may_ask_for_fold_nothing(seed: int) -> None:
    strongest = {"elastic_px": 4, "elastic_cell_px": 16, "grid": 0.9, "rotate": 180, "scale": 1, "shear": 45}
    x, y = drawn_places(strongest, seed)
    assert area(x, y).min() > 0


def test_what_comes_from_outside_is_ignored_and_shows_the_mirrored_tissue() -> None:
    x = (torch.arange(6) + 0.5 - 2).expand(1, 6, 6)
    y = (torch.arange(6) + 0.5).view(1, 6, 1).expand(1, 6, 6)
    mask = torch.arange(36, dtype=torch.uint8).view(1, 6, 6)
    assert sample_mask(mask, x, y)[0, 0].tolist() == [IGNORE_INDEX, IGNORE_INDEX, 0, 1, 2, 3]
    down = sample_mask(mask, y.transpose(1, 2), x.transpose(1, 2))[0, :, 0]
    assert down.tolist() == [IGNORE_INDEX, IGNORE_INDEX, 0, 6, 12, 18]
    shown = sample_image(mask.unsqueeze(1).float(), x, y)[0, 0, 0]
    assert torch.allclose(shown, torch.tensor([1.0, 0, 0, 1, 2, 3]), atol=1e-4)
    for config in ({"shift": 0.5}, {"rotate": 45}):
        where = drawn_places(config, 0)
        inside = (where[0] >= 0) & (where[0] < SIDE) & (where[1] >= 0) & (where[1] < SIDE)
        _, targets = warp(torch.zeros(4, 3, SIDE, SIDE), blobs(0), config_of(**config), stream(0))
        assert not inside.all()
        assert torch.equal(targets != IGNORE_INDEX, inside)


@move
@given(places)
@settings(deadline=None, max_examples=20)
def test_with_as_much_around_as_a_move_may_reach_nothing_is_unknown_and_the_move_is_the_same(
    move: str, at: tuple[int, int]
) -> None:
    config = config_of(**MOVES[move])
    margin = reach(config, SIDE)
    assert (margin == 0) == (move in ("flips and turns", "grid"))
    side = SIDE + 2 * margin
    numbers = torch.arange(side * side).view(side, side).remainder(251).to(torch.uint8).expand(4, side, side)
    slope = (torch.arange(side).view(-1, 1) + torch.arange(side)).mul(250).div(2 * side).to(torch.uint8)
    images = slope.expand(4, 3, side, side)
    augment = Augmenter(config, seed=1)
    pixels, targets = augment(images, numbers, epoch=at[0], step=at[1], margin=margin)
    assert pixels.shape == (4, 3, SIDE, SIDE) and not (targets == IGNORE_INDEX).any()
    inner = (without_margin(images, margin), without_margin(numbers, margin))
    alone_pixels, alone = augment(*inner, epoch=at[0], step=at[1])
    known = alone != IGNORE_INDEX
    assert (targets == alone)[known].float().mean() > 0.995  # places between two pixels round either way
    assert torch.allclose(pixels[:, 0][known], alone_pixels[:, 0][known], atol=4 / 255)  # half a px of the edge


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=40)
def test_no_pixel_comes_from_further_away_than_the_reach(seed: int) -> None:
    rng = np.random.default_rng(seed)
    strengths = {
        "rotate": rng.uniform(0, 180), "scale": rng.uniform(0, 1), "shear": rng.uniform(0, 45),
        "shift": rng.uniform(0, 0.5), "grid": rng.uniform(0, 0.9), "elastic_px": rng.uniform(0, 4),
        "elastic_cell_px": 16,
    }  # fmt: skip
    chosen = {name: value for name, value in strengths.items() if rng.random() < 0.5}
    margin = reach(config_of(**chosen), SIDE)
    for places in drawn_places(chosen, seed, count=16):
        assert places.min() >= -margin and places.max() <= SIDE + margin


def test_one_change_more_alters_no_other() -> None:
    mask = blobs(2)
    some = {**MOVES["affine"], **MOVES["elastic"]}
    _, before = augmented(some, painted(mask), mask, at=(3, 4))
    _, after = augmented(
        {**some, "gamma": 1, "noise": 0.1, "clahe": 3, "blur_px": 1, "stain": 0.2}, painted(mask), mask, at=(3, 4)
    )
    assert torch.equal(before, after)


def test_recipes_from_before_these_changes_get_what_they_got() -> None:
    """Figures of the version that had flips, turns, colours and stains only."""
    images = (torch.arange(2 * 3 * 4 * 4) * 37 % 256).to(torch.uint8).view(2, 3, 4, 4)
    targets = (torch.arange(32) % 5).to(torch.uint8).view(2, 4, 4)
    changed, moved = Augmenter(AugmentConfig(stain=0.2, hflip=1), seed=3)(images, targets, epoch=1, step=2)
    wanted = [
        [0.7517183423042297, 0.1258300542831421, 0.3770725131034851],
        [0.592092752456665, 0.9021832942962646, 0.31972169876098633],
    ]
    assert torch.allclose(changed[:, :, 1, 2], torch.tensor(wanted), atol=1e-5)
    assert moved[:, 0].tolist() == [[2, 3, 4, 0], [4, 3, 2, 1]]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@move
def test_a_gpu_moves_as_the_processor_does(move: str) -> None:
    mask = blobs(6)
    here, there = (augmented(MOVES[move], painted(mask).to(d), mask.to(d), at=(0, 0)) for d in ("cpu", "cuda"))
    assert (here[1] != there[1].cpu()).float().mean() < 0.001
    assert (here[0] - there[0].cpu()).abs().mean() < 0.001
