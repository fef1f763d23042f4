"""The first tiles of a training, before and after their augmentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qpkit.core.labels import LabelMap
from qpkit.dataset import read_tile_set
from qpkit.report.values.tiles import AugmentedBatches, AugmentedTile, Pair
from qpkit_train.augment.augmenter import Augmenter
from qpkit_train.augment.sampling import reach, without_margin
from qpkit_train.augment.style_sources import style_source
from qpkit_train.augment.transforms import settings_shown
from qpkit_train.data.batches import EpochBatches, mask_values
from qpkit_train.data.one_object import tile_reader
from qpkit_train.data.training_tiles import TrainingTiles, training_tiles_of
from qpkit_train.planning.plan import planned
from qpkit_train.recipe.settings import Recipe
from qpkit_train.recipe.unused import unused_settings


def augmented_batches(tiles_root: Path, recipe: Recipe, *, count: int, versions: int) -> AugmentedBatches:
    """Draw the first `count` tiles of a training and change each `versions` times.

    The first version is what the training's first epoch sees; the others are other draws for the same tiles.

    Raises:
        As qpkit_train.loop.fit, as far as tiles and sampler are concerned.
    """
    tile_set = read_tile_set(tiles_root)
    recipe = planned(tile_set, recipe).recipe
    data = training_tiles_of(tile_set, recipe)
    epoch = data.sampler.epoch(0)
    reader = tile_reader(data.tile_set, recipe, data.table)
    batches = EpochBatches(
        reader, data.train, epoch,
        groups=data.sampler.groups, crop_px=recipe.data.crop_px, key=(recipe.seed, 0), free=recipe.data.free_crops,
        margin=reach(recipe.augment, recipe.data.crop_px),
    )  # fmt: skip
    source = style_source(recipe.augment, reader, data.train)
    augment = Augmenter(recipe.augment, seed=recipe.seed, factors=recipe.model.factors, source=source)
    shown: list[AugmentedTile] = []
    lost = step = 0
    while len(shown) < count and step < len(batches):
        batch, start = batches[step], int(epoch.starts[step])
        images, targets, margin = batch.images, batch.targets, batch.margin
        changed = [augment(images, targets, epoch=number, step=step, margin=margin) for number in range(versions)]
        images, targets = without_margin(images, margin), without_margin(targets, margin)
        for at in range(min(len(batch.tiles), count - len(shown))):
            group = data.sampler.groups[epoch.groups[start + at]]
            before, after = targets[at], [masks[at] for _, masks in changed]
            if data.background not in group.wanted and _shows(before, group.wanted):
                lost += sum(not _shows(t, group.wanted) for t in after)
            shown.append(
                AugmentedTile(
                    tile=data.train[int(batch.tiles[at])],
                    drawn_for=group.name,
                    drawn=_pair(images[at].float() / 255, before, data),
                    versions=tuple(_pair(pixels[at], masks[at], data) for pixels, masks in changed),
                    surroundings=_surroundings(
                        [images[at].float() / 255, *(pixels[at] for pixels, _ in changed)], recipe.model.factors
                    ),
                )
            )
        step += 1
    on, off = settings_shown(recipe.augment)
    return AugmentedBatches(
        recipe=recipe.name,
        labels=data.labels,
        tiles=tuple(shown),
        batches=step,
        unknown=(
            _unknown([item.drawn for item in shown], data.labels),
            _unknown([pair for item in shown for pair in item.versions], data.labels),
        ),
        lost=lost,
        settings=on,
        off=off,
        sampler=data.sampler.describe(),
        notes=(*unused_settings(recipe), *data.notes),
    )


def _unknown(pairs: Sequence[Pair], labels: LabelMap) -> float:
    return float(np.mean([np.mean(mask == labels.ignore) for _, mask in pairs])) if pairs else 0.0


def _shows(target: Tensor, wanted: tuple[int, ...]) -> bool:
    return bool(torch.isin(target, torch.tensor(wanted, dtype=target.dtype)).any())


def _surroundings(
    samples: Sequence[Tensor], factors: Sequence[int]
) -> tuple[tuple[int, tuple[NDArray[np.uint8], ...]], ...]:
    """The wider images of some samples, (3 k, h, w) each, by factor."""
    wider = enumerate(factors[1:], start=1)
    return tuple((factor, tuple(_pixels(sample[3 * i : 3 * i + 3]) for sample in samples)) for i, factor in wider)


def _pair(sample: Tensor, target: Tensor, data: TrainingTiles) -> Pair:
    """The tile's pixels and mask as pages show them: (h, w, 3) uint8, and values of the label map."""
    return _pixels(sample[:3]), mask_values(target.numpy(), data.labels)


def _pixels(image: Tensor) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = (image.movedim(0, -1) * 255).round().to(torch.uint8).numpy()
    return pixels
