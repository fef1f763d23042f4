"""Reading, cropping and augmenting."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny_tiles import LABELS, MakeTiles, tiny_recipe

from qpkit.dataset import read_tile_set
from qpkit.errors import FormatError, LabelError
from qpkit.ops.scores.confusion import IGNORE_INDEX
from qpkit_train.augment.augmenter import Augmenter
from qpkit_train.data.batches import EpochBatches, Prefetcher, TileReader, WholeTiles, _cut, crop_corner
from qpkit_train.data.normalization import named_normalization
from qpkit_train.data.sampler import BalancedSampler
from qpkit_train.data.training_tiles import training_tiles_of
from qpkit_train.models.forward import cropped, forward, padded_targets
from qpkit_train.preview import augmented_batches
from qpkit_train.recipe.settings import AugmentConfig

PLAIN = AugmentConfig(hflip=0, vflip=0, rot90=False, brightness=0, contrast=0, saturation=0, hue=0)


def test_masks_become_class_indices_and_unknown_pixels_ignore(make_tiles: MakeTiles) -> None:
    tile_set = read_tile_set(make_tiles(train={0: 1, 3: 1, 255: 1}))
    reader = TileReader(tile_set)
    ground, other, unknown = (reader.read(tile)[1] for tile in tile_set.tiles[:3])
    assert set(np.unique(ground)) == {0}
    assert set(np.unique(other)) == {0, 2}
    assert set(np.unique(unknown)) == {IGNORE_INDEX}


def test_a_mask_value_outside_the_map_is_an_error_that_names_file_and_value(make_tiles: MakeTiles) -> None:
    tile_set = read_tile_set(make_tiles())
    path = tile_set.root / tile_set.tiles[0].mask
    Image.fromarray(np.full((64, 64), 7, np.uint8)).save(path)
    with pytest.raises(LabelError, match=r"0-mask\.png: mask of tile .* has value 7, the label map only 0, 1, 3, 255"):
        TileReader(tile_set).read(tile_set.tiles[0])


def test_a_missing_tile_is_an_error_that_names_it(make_tiles: MakeTiles) -> None:
    tile_set = read_tile_set(make_tiles())
    (tile_set.root / tile_set.tiles[2].image).unlink()
    batches = WholeTiles(TileReader(tile_set), tile_set.tiles, batch_size=2)
    for workers in (0, 2):
        with pytest.raises(FormatError, match=r"2\.png: tile cannot be read"):
            list(Prefetcher(batches, workers=workers))


def test_the_cache_changes_no_pixel_and_keeps_its_bound(make_tiles: MakeTiles) -> None:
    tile_set = read_tile_set(make_tiles())
    bare, cached = TileReader(tile_set), TileReader(tile_set, cache_mb=1)
    for _ in range(2):
        for tile in tile_set.tiles:
            for one, other in zip(bare.read(tile), cached.read(tile), strict=True):
                assert np.array_equal(one, other)
    tile = tile_set.tiles[0]
    (tile_set.root / tile.image).unlink()
    cached.read(tile)
    with pytest.raises(FormatError):
        bare.read(tile)


def epoch_batches(root: Path, *, epoch: int = 0, crop: int = 32, rank: int = 0, ranks: int = 1) -> EpochBatches:
    tile_set = read_tile_set(root)
    train = tile_set.of_split("train")
    sampler = BalancedSampler(train, LABELS, ratio=[1, 3], batch_size=4, seed=0)
    return EpochBatches(
        TileReader(tile_set), train, sampler.epoch(epoch), groups=sampler.groups, crop_px=crop, key=(0, epoch),
        rank=rank, ranks=ranks,
    )  # fmt: skip


def test_threads_give_the_batches_that_no_threads_give(make_tiles: MakeTiles) -> None:
    root = make_tiles()
    plain, threaded = (list(Prefetcher(epoch_batches(root), workers=n)) for n in (0, 3))
    assert len(plain) == len(threaded) > 1
    for one, other in zip(plain, threaded, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.targets, other.targets)


@pytest.mark.parametrize("ranks", [3, 5])
def test_shares_hold_the_tiles_of_the_batch_and_an_empty_one_a_tile_without_labels(
    make_tiles: MakeTiles, ranks: int
) -> None:
    """Batches have four tiles, so the first of three processes takes two, and the last of five none."""
    root = make_tiles()
    whole, shares = epoch_batches(root), [epoch_batches(root, rank=rank, ranks=ranks) for rank in range(ranks)]
    for index in range(len(whole)):
        batch, parts = whole[index], [share[index] for share in shares]
        assert {part.total for part in parts} == {len(batch.images)}
        filled = [part for part in parts if part.tiles.tolist() != [-1]]
        assert len(filled) == min(ranks, len(batch.images))
        assert torch.equal(torch.cat([part.images for part in filled]), batch.images)
        assert torch.equal(torch.cat([part.targets for part in filled]), batch.targets)
        for part in parts[len(filled) :]:
            assert len(part.images) == 1 and (part.targets == IGNORE_INDEX).all()


def test_crops_differ_between_epochs_and_not_between_runs(make_tiles: MakeTiles) -> None:
    root = make_tiles()
    first, again, later = (epoch_batches(root, epoch=e)[0].images for e in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, later)


@given(st.integers(0, 1000), st.integers(1, 20), st.integers(0, 60))
@settings(deadline=None)
def test_a_crop_with_a_margin_is_the_crop_with_what_is_around_it(seed: int, side: int, margin: int) -> None:
    """Beyond the tile the image is mirrored, again and again if need be, and the mask is unknown."""
    rng = np.random.default_rng(seed)
    image, mask = rng.integers(0, 250, (20, 20, 3), np.uint8), rng.integers(0, 3, (20, 20), np.uint8)
    row, col = rng.integers(0, 21 - side, 2).tolist()
    whole = np.pad(image, ((80, 80), (80, 80), (0, 0)), mode="symmetric")
    known = np.pad(mask, 80, constant_values=IGNORE_INDEX)
    place = (slice(80 + row - margin, 80 + row + side + margin), slice(80 + col - margin, 80 + col + side + margin))
    assert np.array_equal(_cut(image, row, col, side, margin), whole[place])
    assert np.array_equal(_cut(mask, row, col, side, margin, beyond=IGNORE_INDEX), known[place])


def test_crops_of_a_training_are_cut_with_what_its_changes_reach(make_tiles: MakeTiles) -> None:
    """Wherever the tile goes on, a turned crop is known to its corners; whole tiles have nothing around them."""
    tiles = make_tiles(train={0: 3, 1: 3}, size=128)
    settings = ("data.crop_px=32", "augment.rotate=45", "augment.affine_p=1.0", "augment.rot90=false")
    unknown = {}
    for crop in (32, 0):
        recipe = tiny_recipe(*settings, f"data.crop_px={crop}")
        shown = augmented_batches(tiles, recipe, count=6, versions=3)
        assert {pair[1].shape for item in shown.tiles for pair in item.versions} == {(crop or 128, crop or 128)}
        unknown[crop] = shown.unknown
    assert unknown[32][0] == unknown[0][0] == 0
    assert unknown[32][1] < 0.05 < unknown[0][1]


def test_every_crop_of_a_positive_tile_shows_a_class(make_tiles: MakeTiles) -> None:
    tile_set = read_tile_set(make_tiles())
    train = tile_set.of_split("train")
    sampler = BalancedSampler(train, LABELS, ratio=[1, 1], batch_size=5, seed=0)
    for epoch in range(4):
        drawn = sampler.epoch(epoch)
        batches = EpochBatches(TileReader(tile_set), train, drawn, groups=sampler.groups, crop_px=32, key=(0, epoch))
        targets = torch.cat([batches[i].targets for i in range(len(batches))])
        assert (targets > 0).flatten(1).any(dim=1).tolist() == (drawn.groups == 0).tolist()


@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(1, 20))
def test_a_crop_lies_in_its_tile_and_holds_a_wanted_pixel(seed: int, side: int, marked: int) -> None:
    rng = np.random.default_rng(seed)
    target = np.full((20, 20), IGNORE_INDEX, np.uint8)
    target.flat[rng.choice(400, 30, replace=False)] = 0
    target.flat[rng.choice(400, marked, replace=False)] = 1
    row, col = crop_corner(target, (1,), side=side, rng=rng)
    assert 0 <= row <= 20 - side
    assert 0 <= col <= 20 - side
    assert (target[row : row + side, col : col + side] == 1).any()


@given(st.integers(0, 50), st.integers(0, 50))
@settings(deadline=None)
def test_image_and_mask_move_together(epoch: int, step: int) -> None:
    targets = torch.randint(0, 200, (5, 8, 8), generator=torch.manual_seed(epoch), dtype=torch.uint8)
    images = targets[:, None].expand(5, 3, 8, 8)
    config = AugmentConfig(hflip=0.5, vflip=0.5, rot90=True, brightness=0, contrast=0, saturation=0, hue=0)
    moved, moved_targets = Augmenter(config, seed=1)(images, targets, epoch=epoch, step=step)
    assert torch.equal((moved[:, 0] * 255).round().to(torch.uint8), moved_targets)
    for before, after in zip(targets, moved_targets, strict=True):
        turns = [torch.rot90(flipped, k) for flipped in (before, before.flip(0)) for k in range(4)]
        assert any(torch.equal(after, turned) for turned in turns)


def test_without_strength_nothing_changes() -> None:
    images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    targets = torch.zeros(2, 8, 8, dtype=torch.uint8)
    changed, _ = Augmenter(PLAIN, seed=0)(images, targets, epoch=0, step=0)
    assert torch.equal(changed, images.float() / 255)


@pytest.mark.parametrize("field", ["brightness", "contrast", "saturation", "hue", "stain"])
def test_every_colour_change_changes_colours_within_bounds_and_repeats(field: str) -> None:
    images = torch.randint(60, 200, (4, 3, 8, 8), dtype=torch.uint8)
    targets = torch.randint(0, 3, (4, 8, 8), dtype=torch.uint8)
    config = AugmentConfig(**{**{f: getattr(PLAIN, f) for f in PLAIN.__struct_fields__}, field: 0.3})
    augment = Augmenter(config, seed=0)
    changed, same_targets = augment(images, targets, epoch=0, step=0)
    again, _ = augment(images, targets, epoch=0, step=0)
    other, _ = augment(images, targets, epoch=0, step=1)
    assert torch.equal(same_targets, targets)
    assert torch.equal(changed, again)
    assert not torch.equal(changed, other)
    difference = (changed - images.float() / 255).abs()
    assert 0.001 < difference.mean() < 0.5
    assert changed.min() >= 0
    assert changed.max() <= 1


def test_hue_and_saturation_leave_grey_alone() -> None:
    grey = torch.full((2, 3, 4, 4), 128, dtype=torch.uint8)
    config = AugmentConfig(hflip=0, vflip=0, rot90=False, brightness=0, contrast=0, saturation=0.5, hue=0.3)
    changed, _ = Augmenter(config, seed=0)(grey, torch.zeros(2, 4, 4, dtype=torch.uint8), epoch=0, step=0)
    assert torch.allclose(changed, grey.float() / 255, atol=1e-5)


def test_padding_is_ignored_and_normalisation_is_imagenets() -> None:
    pixels = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1).expand(1, 3, 40, 33)
    padded = forward(torch.nn.Identity(), pixels, named_normalization("imagenet"))
    targets = padded_targets(torch.zeros(1, 40, 33, dtype=torch.uint8))
    assert padded.shape == (1, 3, 64, 64)
    assert padded.abs().max() < 1e-6
    assert cropped(padded, height=40, width=33, halo=2).shape == (1, 3, 36, 29)
    assert (targets == IGNORE_INDEX).sum() == 64 * 64 - 40 * 33


def test_fewer_tiles_are_measured_in_the_same_shares_and_it_is_said(make_tiles: MakeTiles) -> None:
    tile_set = read_tile_set(make_tiles())
    whole = training_tiles_of(tile_set, tiny_recipe())
    part = training_tiles_of(tile_set, tiny_recipe("early_stopping.tiles=2"))
    assert len(part.measured) == 2 < len(whole.measured)
    assert all(tile in whole.measured for tile in part.measured)
    assert any("2 of" in note for note in part.notes)
    positive = [any(t.pixels.get(v) for v in (1, 3)) for t in whole.measured]
    shown = [any(t.pixels.get(v) for v in (1, 3)) for t in part.measured]
    assert abs(sum(shown) - 2 * sum(positive) / len(positive)) <= 1


def test_a_few_measured_tiles_show_a_lesion_however_sparse_lesions_are(make_tiles: MakeTiles) -> None:
    tile_set = read_tile_set(make_tiles(val={1: 1, 0: 30}))
    part = training_tiles_of(tile_set, tiny_recipe("early_stopping.tiles=3"))
    assert [bool(tile.pixels.get(1)) for tile in part.measured] == [True, False, False]
    assert part.metric == "dice"
