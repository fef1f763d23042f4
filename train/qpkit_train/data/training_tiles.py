"""What a training works on: the tiles of each split, the sampler over them, and the weights that follow from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qpkit.core.labels import LabelMap
from qpkit.dataset import TileRecord, TileSet
from qpkit.dataset.counts import count_tiles, single_value
from qpkit.errors import ConfigError, LabelError, listed
from qpkit_train.data.batches import class_index_table
from qpkit_train.data.one_object import OBJECT_LABELS
from qpkit_train.data.sampler import BalancedSampler
from qpkit_train.data.surroundings import require_surroundings
from qpkit_train.data.tile_labels import count_partly_labelled, tile_label_map, tile_label_table, tiles_with_label
from qpkit_train.data.unlabelled import unlabelled_tiles
from qpkit_train.recipe.settings import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingTiles:
    """The tiles that are trained on and those that are measured, with the sampler and the labels.

    Args:
        tile_set: Of everything.
        train: Tiles of the train split.
        measured: Tiles that the best epoch is chosen on.
        shows_class: (measured,) bool, whether each of those shows a class.
        stands_for: How many labelled tiles of their split a measured tile stands for that shows no class, and one that
            does; 1 if all were measured.
        validated_on: Where those are from, "val" or "train".
        metric: What chooses the best epoch: "dice", "iou" or "loss".
        labels: What the model's channels mean: channel i is labels.trained_values[i]. Those of a tile classifier, and
            of a network that answers clicks, are not those of the tiles.
        table: (256,) uint8, class index by value of the tiles' masks.
        names: Of the model's channels.
        background: Channel of the background.
        sampler: Of the training epochs.
        unlabelled: (n,) indices of the training tiles that a mean teacher labels; empty without one.
        notes: What the user has to know.
    """

    tile_set: TileSet
    train: tuple[TileRecord, ...]
    measured: tuple[TileRecord, ...]
    shows_class: NDArray[np.bool_]
    stands_for: tuple[float, float]
    validated_on: str
    metric: str
    labels: LabelMap
    table: NDArray[np.uint8]
    names: tuple[str, ...]
    background: int
    sampler: BalancedSampler
    unlabelled: NDArray[np.int64]
    notes: tuple[str, ...]


def training_tiles_of(tile_set: TileSet, recipe: Recipe) -> TrainingTiles:
    """Sort a set of tiles into what is trained on and what is measured on.

    Without a labelled tile in the val split, the tiles of the first training epoch are measured instead.

    Raises:
        LabelError: There is no training tile, or none shows a class.
        ConfigError: The sampler's ratio does not fit the classes.
    """
    if recipe.data.free_crops and tile_set.info.get("store") != "none":
        raise ConfigError(
            f"data.free_crops: the tiles in {tile_set.root} are cut already; export them with --store none"
        )
    require_one_class_a_pixel(tile_set)
    require_surroundings(tile_set, recipe)
    labels, indices, notes = tile_set.labels, None, list[str]()
    train, val = tile_set.of_split("train"), tile_set.of_split("val")
    if recipe.classifies_tiles:
        labels, indices = tile_label_map(labels, recipe.positive), tile_label_table(labels, recipe.positive)
        train, val = tiles_with_label(train, indices), tiles_with_label(val, indices)
        notes += _partly_labelled_notes(train + val, tile_set.tile_size)
    if not train:
        raise LabelError(f"{tile_set.root}: no tile is in the train split; export again with another split")
    sampler = BalancedSampler(
        train,
        labels,
        ratio=recipe.sampler.ratio,
        batch_size=recipe.data.batch_size,
        seed=recipe.seed,
        steps_per_epoch=recipe.optim.steps_per_epoch,
        balance=recipe.sampler.balance,
        area_power=recipe.sampler.area_power,
        origins=recipe.sampler.origins,
        hard_negatives=recipe.sampler.hard_negatives,
        foreground=recipe.sampler.foreground,
    )
    unlabelled = _unlabelled(train, labels, tile_set, recipe)
    if len(unlabelled):
        notes.append(f"a mean teacher labels {len(unlabelled)} of {len(train)} training tiles ([semi])")
    # A tile without a class shows no object to click on.
    asked = labels.trained_values
    if recipe.model.click_px:
        asked = tuple(value for value in asked if value != labels.background)
    measured = there = _showing(val, asked)
    notes += [*_single_value(train, labels), *sampler.notes, *_never_shown(train, labels)]
    if not measured:
        notes.append(
            "no labelled tile is in the val split: the best epoch was chosen on training tiles, "
            "so the figures are better than the model is"
        )
        measured = tuple(train[i] for i in np.unique(sampler.epoch(0).tiles))
        there = _showing(train, asked)
    classes = [value for value in labels.trained_values if value != labels.background]
    wanted = recipe.early_stopping.tiles
    if 0 < wanted < len(measured):
        notes.append(f"the best epoch was chosen on {wanted} of {len(measured)} tiles (early_stopping.tiles)")
        measured = _even_choice(measured, classes, wanted)
    metric = recipe.early_stopping.metric
    if metric != "loss" and not _shows(measured, classes).any():
        notes.append(f"no validation tile shows a class: the best epoch was chosen by loss instead of {metric}")
        metric = "loss"
    found = OBJECT_LABELS if recipe.model.click_px else labels
    return TrainingTiles(
        train=train,
        measured=measured,
        shows_class=_shows(measured, classes),
        stands_for=_stands_for(_shows(there, classes), _shows(measured, classes)),
        validated_on="val" if val and measured[0].split == "val" else "train",
        metric=metric,
        labels=found,
        table=class_index_table(tile_set.labels, indices),
        names=tuple(found.name_of(value) for value in found.trained_values),
        background=found.trained_values.index(found.background),
        sampler=sampler,
        unlabelled=unlabelled,
        tile_set=tile_set,
        notes=tuple(notes),
    )


def require_one_class_a_pixel(tile_set: TileSet) -> None:
    """Refuse multi-label masks.

    Raises:
        LabelError: The tiles have them.
    """
    if tile_set.labels.masks == "multi-label":
        raise LabelError(
            f"{tile_set.root}: has multi-label masks, and qpkit train learns one class a pixel; export with "
            'masks = "single"'
        )


def _unlabelled(train: Sequence[TileRecord], labels: LabelMap, tile_set: TileSet, recipe: Recipe) -> NDArray[np.int64]:
    if not recipe.semi.weight:
        return np.zeros(0, np.int64)
    least = recipe.semi.unlabelled_from
    found = unlabelled_tiles(train, labels, tile_size=tile_set.tile_size, least=least)
    if not len(found):
        raise ConfigError(
            f"{tile_set.root}: no training tile is unlabelled to {least:.0%} (semi.unlabelled_from); export without "
            '--only-annotated, with unannotated = "ignore" in labels.toml'
        )
    return found


def _single_value(train: Sequence[TileRecord], labels: LabelMap) -> list[str]:
    note = single_value(count_tiles(train, labels).pixels, labels)
    return [note] if note else []


def _never_shown(train: Sequence[TileRecord], labels: LabelMap) -> list[str]:
    return [
        f"no training tile shows {labels.name_of(value)!r}: the model cannot learn it; give the train split a slide "
        "that has it, or take it out of the label map"
        for value in labels.trained_values
        if value != labels.background and not any(tile.pixels.get(value) for tile in train)
    ]


def _partly_labelled_notes(tiles: Sequence[TileRecord], tile_size: int) -> list[str]:
    count = count_partly_labelled(tiles, tile_size)
    if not count:
        return []
    return [f"{count} tiles without it are known in part only: what is unknown counts as without"]


def _even_choice(tiles: Sequence[TileRecord], classes: Sequence[int], count: int) -> tuple[TileRecord, ...]:
    """Every n-th tile, positive and negative ones in their fractions, and at least one positive if there is any."""
    is_positive = _shows(tiles, classes)
    ordered = [*np.flatnonzero(is_positive), *np.flatnonzero(~is_positive)]
    places = [int((i + 0.5) * len(ordered) / count) for i in range(count)]
    if is_positive.any():
        places[0] = min(places[0], int(is_positive.sum()) - 1)
    return tuple(tiles[ordered[place]] for place in places)


def _showing(tiles: Sequence[TileRecord], values: Sequence[int]) -> tuple[TileRecord, ...]:
    return tuple(tile for tile, shows in zip(tiles, _shows(tiles, values), strict=True) if shows)


def _shows(tiles: Sequence[TileRecord], values: Sequence[int]) -> NDArray[np.bool_]:
    """(tiles,) whether each has a pixel of any of these mask values."""
    return np.array([any(tile.pixels.get(value) for value in values) for tile in tiles], bool)


def _stands_for(there: NDArray[np.bool_], measured: NDArray[np.bool_]) -> tuple[float, float]:
    """How many of the tiles that are there one of the measured ones stands for: without a class, and with one."""
    without, with_class = (float((there == kind).sum() / max((measured == kind).sum(), 1)) for kind in (False, True))
    return without, with_class


def class_weights(recipe: Recipe, names: Sequence[str], pixels: Mapping[str, int]) -> list[float] | None:
    """Weights of the loss in the order of the classes, or None for all equal.

    Args:
        recipe: Says which; "balanced" is inverse to `pixels` with mean 1.
        names: Of the classes.
        pixels: That an epoch shows, by class.

    Raises:
        ConfigError: The recipe weighs a class that is not there.
    """
    wanted = recipe.loss.class_weights
    if wanted in ("none", "dynamic"):
        return None
    if isinstance(wanted, dict):
        unknown = [name for name in wanted if name not in names]
        if unknown:
            raise ConfigError(f"loss.class_weights: no class {listed(unknown)}; the tiles have {listed(names)}")
        return [wanted.get(name, 1.0) for name in names]
    rarity = [1 / max(pixels[name], 1) if pixels[name] else 0.0 for name in names]
    return [value * len(names) / sum(rarity) for value in rarity]


def measuring_batch(recipe: Recipe, data: TrainingTiles) -> int:
    """Whole tiles per batch that hold about as many pixels as a training batch."""
    side, crop = data.tile_set.tile_size, recipe.data.crop_px
    crop = crop if 0 < crop < side else side
    return max(1, recipe.data.batch_size * crop**2 // side**2)
