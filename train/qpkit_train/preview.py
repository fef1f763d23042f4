"""The first tiles of a training, before and after their random changes: what a recipe's [augment] comes to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from qpkit.core.labels import LabelMap
from qpkit.dataset import read_tile_set
from qpkit.report.values.tiles import ChangedTile, Pair, ShownBatches
from qpkit_train.augment.augmenter import Augmenter
from qpkit_train.augment.geometry import reach, without_margin
from qpkit_train.data.batches import EpochBatches, TileReader, mask_values
from qpkit_train.data.training_tiles import Material, split_material
from qpkit_train.recipe.settings import AugmentConfig, Recipe

_MEANINGS: Final[tuple[tuple[str, str, str], ...]] = (
    ("hflip", "mirrored left to right", "hflip"),
    ("vflip", "mirrored top to bottom", "vflip"),
    ("rot90", "turned by multiples of 90 degrees", ""),
    ("rotate", "turned by up to ± {:g} degrees", "affine_p"),
    ("scale", "magnified or shrunk by up to 1 + {:g}", "affine_p"),
    ("shear", "slanted by up to ± {:g} degrees", "affine_p"),
    ("shift", "moved by up to ± {:g} of the side", "affine_p"),
    ("grid", "cells of 5 x 5 wider and narrower by up to {:g}", "grid_p"),
    ("elastic_px", "bent by up to ± {:g} px", "elastic_p"),
    ("brightness", "brightness times 1 ± {:g}", ""),
    ("contrast", "contrast times 1 ± {:g}", ""),
    ("saturation", "saturation times 1 ± {:g}", ""),
    ("hue", "colour circle turned by up to ± {:g}", ""),
    ("stain", "haematoxylin, eosin and DAB times 1 ± {:g}", ""),
    ("nuclei", "blue and brown: saturation and value ± {:g}", "nuclei_p"),
    ("gamma", "exponents up to 1 + {:g}", "gamma_p"),
    ("clahe", "local equalisation, clip limits up to {:g}", "clahe_p"),
    ("blur_px", "Gaussian blur of up to {:g} px", "blur_p"),
    ("noise", "normal noise of up to {:g}", "noise_p"),
)
"""Setting, what it does, and the setting of its chance ("" for always)."""


def show_batches(tiles_root: Path, recipe: Recipe, *, count: int, versions: int) -> ShownBatches:
    """Draw the first `count` tiles of a training and change each `versions` times.

    The first version is what the training's first epoch sees; the others are other draws for the same tiles.

    Raises:
        As qpkit_train.loop.fit, as far as tiles and sampler are concerned.
    """
    data = split_material(read_tile_set(tiles_root), recipe)
    epoch = data.sampler.epoch(0)
    batches = EpochBatches(
        TileReader(data.tile_set, table=data.table), data.train, epoch,
        groups=data.sampler.groups, crop_px=recipe.data.crop_px, key=(recipe.seed, 0), free=recipe.data.free_crops,
        margin=reach(recipe.augment, recipe.data.crop_px),
    )  # fmt: skip
    augment = Augmenter(recipe.augment, seed=recipe.seed)
    shown: list[ChangedTile] = []
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
                ChangedTile(
                    tile=data.train[int(batch.tiles[at])],
                    drawn_for=group.name,
                    drawn=_pair(images[at].float() / 255, before, data),
                    versions=tuple(_pair(pixels[at], masks[at], data) for pixels, masks in changed),
                )
            )
        step += 1
    on, off = settings_of(recipe.augment)
    return ShownBatches(
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
        notes=data.notes,
    )


def settings_of(config: AugmentConfig) -> tuple[tuple[tuple[str, str, str], ...], tuple[str, ...]]:
    """Say what is on, as (setting, what it does, chance), and name what is off."""
    on, off = [], []
    for name, meaning, chance in _MEANINGS:
        strength = getattr(config, name)
        share = getattr(config, chance) if chance else 1.0
        if strength and share:
            on.append((name, meaning.format(strength), f"{share:.0%}"))
        else:
            off.append(name)
    return tuple(on), tuple(off)


def _unknown(pairs: Sequence[Pair], labels: LabelMap) -> float:
    return float(np.mean([np.mean(mask == labels.ignore) for _, mask in pairs])) if pairs else 0.0


def _shows(target: Tensor, wanted: tuple[int, ...]) -> bool:
    return bool(torch.isin(target, torch.tensor(wanted, dtype=target.dtype)).any())


def _pair(image: Tensor, target: Tensor, data: Material) -> Pair:
    """Pixels and mask as pages show them: (h, w, 3) uint8, and values of the label map."""
    pixels = (image.movedim(0, -1) * 255).round().to(torch.uint8).numpy()
    return pixels, mask_values(target.numpy(), data.labels)
