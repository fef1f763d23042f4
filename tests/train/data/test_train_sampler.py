"""The sampler's laws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_tiles import LABELS, record

from qpkit.dataset import TileRecord
from qpkit.errors import ConfigError, LabelError
from qpkit_train.data.sampler import BalancedSampler


def tiles_of(*values: tuple[int, ...]) -> list[TileRecord]:
    """One 8 x 8 tile per tuple; half of each is background unless the tuple says only 255."""
    tiles = []
    for i, shown in enumerate(values):
        mask = np.zeros((8, 8), np.uint8)
        if shown == (255,):
            mask[:] = 255
        for j, value in enumerate(shown):
            mask[j, :] = value if shown != (255,) else 255
        tiles.append(record(i, "train", mask))
    return tiles


def counts(positive: int, negative: int, unknown: int = 0) -> list[TileRecord]:
    return tiles_of(*[(1,)] * positive, *[(0,)] * negative, *[(255,)] * unknown)


sizes = st.integers(1, 40)


@given(sizes, sizes, st.integers(1, 3), st.integers(1, 4), st.integers(1, 9), st.integers(0, 5))
def test_every_epoch_shows_every_positive_tile_in_the_exact_ratio(
    positive: int, negative: int, share: int, other: int, batch: int, epoch: int
) -> None:
    tiles = counts(positive, negative)
    drawn = BalancedSampler(tiles, LABELS, ratio=[share, other], batch_size=batch, seed=3).epoch(epoch)
    shown = drawn.tiles < positive
    assert set(range(positive)) <= set(drawn.tiles.tolist())
    assert shown.sum() * other == (~shown).sum() * share
    assert np.array_equal(drawn.groups == 0, shown)


@given(sizes, sizes, st.integers(2, 12))
def test_every_batch_is_within_one_tile_of_the_ratio(positive: int, negative: int, batch: int) -> None:
    drawn = BalancedSampler(counts(positive, negative), LABELS, ratio=[1, 3], batch_size=batch, seed=0).epoch(0)
    for start, stop in zip(drawn.starts[:-1], drawn.starts[1:], strict=True):
        shown = (drawn.tiles[start:stop] < positive).sum()
        assert abs(shown - (stop - start) / 4) <= 1


@given(sizes, st.integers(1, 120))
def test_negatives_come_back_only_after_all_were_shown(positive: int, negative: int) -> None:
    sampler = BalancedSampler(counts(positive, negative), LABELS, ratio=[1, 1], batch_size=4, seed=0)
    if positive >= negative:
        return
    row = np.concatenate([t[t >= positive] for t in (sampler.epoch(i).tiles for i in range(8))])
    times = np.bincount(row - positive, minlength=negative)
    assert times.max() - times.min() <= 1 + (len(row) % negative != 0)
    assert len(set(row[: min(negative, positive)].tolist())) == min(negative, positive)


@given(sizes, sizes, st.integers(1, 9), st.integers(0, 3), st.integers(0, 1000))
def test_seed_and_epoch_alone_decide(positive: int, negative: int, batch: int, epoch: int, seed: int) -> None:
    def sampler() -> BalancedSampler:
        return BalancedSampler(counts(positive, negative), LABELS, ratio=[1, 3], batch_size=batch, seed=seed)

    used = sampler()
    for earlier in range(epoch):
        used.epoch(earlier)
    assert np.array_equal(used.epoch(epoch).tiles, sampler().epoch(epoch).tiles)


@given(sizes, sizes, st.integers(2, 9))
def test_batches_cover_the_epoch_and_none_is_a_single_tile(positive: int, negative: int, batch: int) -> None:
    drawn = BalancedSampler(counts(positive, negative), LABELS, ratio=[1, 3], batch_size=batch, seed=0).epoch(0)
    lengths = np.diff(drawn.starts)
    assert lengths.sum() == len(drawn.tiles)
    assert lengths.min() >= 2
    assert lengths.max() <= batch + 1


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 20), st.integers(1, 20))
def test_a_class_ratio_holds_and_shows_every_tile_of_every_class(a: int, b: int, both: int, empty: int) -> None:
    tiles = tiles_of(*[(1,)] * a, *[(3,)] * b, *[(1, 3)] * both, *[(0,)] * empty)
    ratio = {"Lesion": 2, "background": 1, "Other": 1}
    sampler = BalancedSampler(tiles, LABELS, ratio=ratio, batch_size=4, seed=0)
    drawn = sampler.epoch(1)
    per_group = {group.name: (drawn.groups == i).sum() for i, group in enumerate(sampler.groups)}
    assert per_group["Lesion"] == 2 * per_group["Other"] == 2 * per_group["background"]
    assert set(range(a + b + both)) <= set(drawn.tiles.tolist())
    for i, group in enumerate(sampler.groups):
        assert set(drawn.tiles[drawn.groups == i].tolist()) <= set(group.tiles.tolist())


def test_unknown_tiles_are_left_out_and_counted() -> None:
    sampler = BalancedSampler(counts(3, 4, unknown=5), LABELS, ratio=[1, 1], batch_size=2, seed=0)
    assert sampler.describe()["unlabelled_tiles_left_out"] == 5
    assert max(int(sampler.epoch(i).tiles.max()) for i in range(9)) < 7


def test_steps_per_epoch_sets_the_length_and_keeps_the_ratio() -> None:
    sampler = BalancedSampler(counts(100, 300), LABELS, ratio=[1, 3], batch_size=8, seed=0, steps_per_epoch=5)
    drawn = sampler.epoch(0)
    assert (len(drawn), len(drawn.tiles), (drawn.tiles < 100).sum()) == (5, 40, 10)


def test_the_description_says_what_an_epoch_shows() -> None:
    described = BalancedSampler(counts(2, 3), LABELS, ratio=[1, 3], batch_size=4, seed=0).describe()
    assert described["groups"] == [
        {"name": "positive", "tiles": 2, "per_epoch": 2, "repeats": 1.0},
        {"name": "negative", "tiles": 3, "per_epoch": 6, "repeats": 2.0},
    ]
    assert described["pixels_per_epoch"] == {"background": 2 * 56 + 6 * 64, "Lesion": 16, "Other": 0}


def test_no_negative_tile_is_said_aloud() -> None:
    sampler = BalancedSampler(counts(3, 0), LABELS, ratio=[1, 3], batch_size=2, seed=0)
    assert "positive tiles only" in sampler.notes[0]
    assert sorted(sampler.epoch(0).tiles.tolist()) == [0, 1, 2]


def test_no_positive_tile_is_an_error() -> None:
    with pytest.raises(LabelError, match="none of 4 training tiles shows a class \\(Lesion, Other\\)"):
        BalancedSampler(counts(0, 4), LABELS, ratio=[1, 3], batch_size=2, seed=0)


def test_a_class_without_tiles_is_an_error_that_names_it() -> None:
    with pytest.raises(LabelError, match="asks for 'Other', but no training tile shows it"):
        BalancedSampler(counts(2, 2), LABELS, ratio={"Lesion": 1, "Other": 1}, batch_size=2, seed=0)


def test_rejected_places_are_a_kind_of_their_own() -> None:
    tiles = tiles_of((1,), (0,), (0,), (1,))
    tiles[2:] = [replace(tile, origins={"rejected": 4}) for tile in tiles[2:]]
    ratio = {item.name: 1.0 for item in LABELS.classes[:1]} | {item.name: 0.0 for item in LABELS.classes[1:]}
    ratio |= {"background": 1.0, "rejected": 2.0}
    sampler = BalancedSampler(tiles, LABELS, ratio=ratio, batch_size=4, seed=0)
    rejected = next(group for group in sampler.groups if group.name == "rejected")
    assert rejected.tiles.tolist() == [2, 3]
    assert [group.draws for group in sampler.groups] == [2, 2, 4]
    with pytest.raises(LabelError, match="export with --reviewed"):
        BalancedSampler(tiles[:2], LABELS, ratio=ratio, batch_size=4, seed=0)


def test_a_ratio_names_classes_that_exist_and_leaves_none_out_silently() -> None:
    with pytest.raises(ConfigError, match=r"'lesion' is no class, did you mean 'Lesion'.*'Other' has no weight"):
        BalancedSampler(counts(2, 2), LABELS, ratio={"lesion": 1}, batch_size=2, seed=0)
    sampler = BalancedSampler(counts(2, 2), LABELS, ratio={"Lesion": 1, "Other": 0}, batch_size=2, seed=0)
    assert [group.name for group in sampler.groups] == ["Lesion"]
    assert sampler.describe()["other_tiles_left_out"] == 2


def weighted(tiles: list[TileRecord], **settings: object) -> BalancedSampler:
    return BalancedSampler(tiles, LABELS, ratio=[1, 1], batch_size=4, seed=0, **settings)  # type: ignore[arg-type]


@given(st.lists(st.integers(1, 12), min_size=2, max_size=5), st.integers(1, 30), st.integers(0, 9))
def test_slides_count_alike_and_every_positive_tile_is_still_shown(
    sizes_of_slides: list[int], negative: int, epoch: int
) -> None:
    """Positive tiles: each once, the rest so that slides are equal; negatives: slides within one draw a tile."""
    tiles = []
    for slide, size in enumerate(sizes_of_slides):
        tiles += [replace(t, slide=f"s{slide}", group=f"s{slide}") for t in counts(size, 0)]
    tiles += counts(0, negative)
    total = 3 * sum(sizes_of_slides)
    sampler = BalancedSampler(tiles, LABELS, ratio=[1, 0], batch_size=1, seed=1, steps_per_epoch=total, balance="slide")
    drawn = sampler.epoch(epoch).tiles
    assert len(drawn) == total
    shown = np.bincount(drawn, minlength=len(tiles))[: sum(sizes_of_slides)]
    assert (shown >= 1).all()
    start, extra = 0, total - sum(sizes_of_slides)
    for size in sizes_of_slides:
        mine = shown[start : start + size] - 1
        assert abs(mine.sum() - extra / len(sizes_of_slides)) < size + 1
        start += size


def test_over_many_epochs_slides_are_shown_equally_often() -> None:
    tiles = [replace(t, slide="many") for t in counts(0, 30)] + [replace(t, slide="few") for t in counts(0, 3)]
    tiles += [replace(t, slide="positive") for t in counts(11, 0)]
    sampler = weighted(tiles, balance="slide")
    drawn = np.concatenate([sampler.epoch(epoch).tiles for epoch in range(200)])
    many, few = (drawn < 30).sum(), ((drawn >= 30) & (drawn < 33)).sum()
    assert abs(many / few - 1) < 0.05


@given(st.lists(st.integers(1, 7), min_size=2, max_size=20), st.sampled_from([0.5, 1.0, 2.0]), st.integers(0, 5))
def test_area_decides_how_often_a_tile_is_repeated(rows: list[int], power: float, epoch: int) -> None:
    tiles = []
    for i, count in enumerate(rows):
        mask = np.zeros((8, 8), np.uint8)
        mask[:count] = 1
        tiles.append(record(i, "train", mask))
    total = 10 * len(rows)
    sampler = BalancedSampler(
        tiles, LABELS, ratio=[1, 0], batch_size=1, seed=1, steps_per_epoch=total, area_power=power
    )
    shown = np.bincount(sampler.epoch(epoch).tiles, minlength=len(rows)) - 1
    share = np.array(rows, float) ** power
    expected = share / share.sum() * (total - len(rows))
    assert (abs(shown - expected) < 1 + 1e-9).all()


@given(st.lists(st.integers(0, 10), min_size=2, max_size=12), st.floats(0.1, 5), st.integers(0, 4))
def test_tiles_are_drawn_by_where_their_labels_come_from(shares: list[int], human: float, epoch: int) -> None:
    mask = np.ones((10, 1), np.uint8)
    tiles = [
        replace(record(i, "train", mask), origins={"human": share, "reviewed": 10 - share, "rejected": 0})
        for i, share in enumerate(shares)
    ]
    total = 10 * len(tiles)
    kinds = {"ratio": [1, 0], "batch_size": 1, "seed": 1, "steps_per_epoch": total}
    sampler = BalancedSampler(tiles, LABELS, **kinds, origins={"human": human})
    shown = np.bincount(sampler.epoch(epoch).tiles, minlength=len(tiles)) - 1
    counts_for = np.array([(share * human + 10 - share) / 10 for share in shares])
    expected = counts_for / counts_for.sum() * (total - len(tiles))
    assert (abs(shown - expected) < 1 + 1e-9).all()
    plain = BalancedSampler(tiles, LABELS, **kinds)
    same = BalancedSampler(tiles, LABELS, **kinds, origins={"human": 1.0, "reviewed": 1.0})
    assert np.array_equal(plain.epoch(epoch).tiles, same.epoch(epoch).tiles)


@given(st.integers(1, 20), st.integers(1, 60), st.floats(0, 1), st.integers(0, 4), st.data())
def test_hard_negatives_are_drawn_by_error_and_leave_the_ratio_alone(
    positive: int, negative: int, share: float, epoch: int, data: st.DataObject
) -> None:
    tiles = counts(positive, negative)
    sampler = weighted(tiles, hard_negatives=share)
    wrong = data.draw(st.sets(st.integers(0, negative - 1)))
    errors = np.full(len(tiles), np.nan, np.float32)
    errors[[positive + i for i in wrong]] = 0.5
    plain, hard = sampler.epoch(epoch), sampler.epoch(epoch, errors)
    assert len(plain.tiles) == len(hard.tiles)
    assert ((hard.tiles < positive) == (hard.groups == 0)).all()
    assert (hard.groups == 0).sum() == (hard.groups == 1).sum() == positive
    shown = sum(int(t) - positive in wrong for t in hard.tiles)
    assert shown >= min(round(share * positive), len(wrong))
    again = sampler.epoch(epoch, errors)
    assert np.array_equal(hard.tiles, again.tiles)


def test_tiles_with_larger_errors_are_drawn_more_often() -> None:
    tiles = counts(10, 40)
    sampler = weighted(tiles, hard_negatives=0.5)
    errors = np.concatenate([np.zeros(10), np.full(20, 0.02), np.full(20, 0.4)]).astype(np.float32)
    drawn = np.concatenate([sampler.epoch(epoch, errors).tiles for epoch in range(300)])
    small, large = ((drawn >= 10) & (drawn < 30)).sum(), (drawn >= 30).sum()
    assert large > 2 * small


@given(sizes, sizes, st.integers(2, 9), st.integers(1, 4), st.integers(0, 3))
def test_the_shares_of_all_ranks_are_disjoint_and_complete_in_every_batch(
    positive: int, negative: int, batch: int, ranks: int, epoch: int
) -> None:
    whole = BalancedSampler(counts(positive, negative), LABELS, ratio=[1, 1], batch_size=batch, seed=0).epoch(epoch)
    for b in range(len(whole)):
        shares = [whole.places(b, rank=rank, ranks=ranks) for rank in range(ranks)]
        assert np.array_equal(np.concatenate(shares), np.arange(whole.starts[b], whole.starts[b + 1]))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_the_description_counts_draws_by_patient() -> None:
    tiles = [replace(t, group="P1") for t in counts(2, 1)] + [replace(t, group="P2") for t in counts(1, 5)]
    described = weighted(tiles).describe()
    assert described["by_group"]["P1"]["tiles"] == 3 and described["by_group"]["P1"]["positive"] == 2
    assert sum(row["negative"] for row in described["by_group"].values()) == 3
    assert described["tiles_with_class"]["Lesion"] == 3


@given(sizes, sizes, st.integers(0, 5), st.sampled_from([0.25, 0.33, 0.5]), st.integers(2, 12), st.integers(0, 3))
def test_so_many_draws_are_sure_to_show_a_class_and_the_others_are_any_labelled_tile(
    positive: int, negative: int, unknown: int, fraction: float, batch: int, epoch: int
) -> None:
    tiles = counts(positive, negative, unknown)
    sampler = BalancedSampler(
        tiles, LABELS, ratio=[1, 3], batch_size=batch, seed=0, steps_per_epoch=100, foreground=fraction
    )
    drawn = sampler.epoch(epoch)
    sure = drawn.groups == 0
    assert [group.name for group in sampler.groups] == ["foreground", "any"]
    assert sure.sum() == round(fraction * batch * 100)
    assert (drawn.tiles[sure] < positive).all() and (drawn.tiles < positive + negative).all()
    assert sampler.groups[0].wanted == (1, 2) and sampler.groups[1].wanted == ()
    assert set(sampler.groups[1].tiles) == set(range(positive + negative))
    for start, stop in zip(drawn.starts[:-1], drawn.starts[1:], strict=True):
        assert abs(sure[start:stop].sum() - fraction * (stop - start)) <= 1


def test_foreground_alone_draws_nothing_else_and_needs_a_class() -> None:
    alone = BalancedSampler(counts(3, 4), LABELS, ratio=[1, 3], batch_size=2, seed=0, foreground=1.0)
    assert set(alone.epoch(0).tiles) == {0, 1, 2} and len(alone.groups) == 1
    with pytest.raises(LabelError, match="none of 4 training tiles shows a class"):
        BalancedSampler(counts(0, 4), LABELS, ratio=[1, 3], batch_size=2, seed=0, foreground=0.33)
