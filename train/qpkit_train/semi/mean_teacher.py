"""A mean teacher beside a training: reads unlabelled tiles, labels their weak view, lets the student learn strong ones.

The loop knows four moments of it: an epoch begins, a loss is added, the weights have changed, the state is kept. With
weight 0 none of them does anything.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from qpkit.errors import ConfigError
from qpkit.ops.scores.confusion import IGNORE_INDEX
from qpkit_train.augment.augmenter import Augmenter
from qpkit_train.augment.sampling import reach
from qpkit_train.augment.style_network import StyleSource
from qpkit_train.data.batches import EpochBatches, MiniBatch, Prefetcher, TileReader
from qpkit_train.data.training_tiles import TrainingTiles
from qpkit_train.data.unlabelled import UNLABELLED_GROUP, unlabelled_epoch
from qpkit_train.losses.activation import probabilities_of, uses_sigmoid
from qpkit_train.machine.processes import ranks
from qpkit_train.models.averaging import WeightAverage
from qpkit_train.models.forward import padded_targets
from qpkit_train.models.registry import encoder_of
from qpkit_train.recipe.settings import Recipe
from qpkit_train.semi.views import (
    UNLABELLED,
    ChannelDropout,
    cutmix,
    cutmix_boxes,
    pseudo_labels,
    strong_colors,
    unlabelled_loss,
)

Forward = Callable[[torch.nn.Module, Tensor], Tensor]
"""(network, (n, 3, h, w) float32 RGB in 0..1) to logits of the padded size."""

_WEAK, _STRONG = 6, (7, 8)
"""Numbers of the random streams of views; those of labelled tiles have 1."""

_CUTMIX = 9


class MeanTeacher:
    """See the module.

    Args:
        recipe: Its `semi` says how.
        network: The student, on its device; a hook is put on its encoder.
        data: Its unlabelled tiles are read.
        reader: Of the tiles.
        fabric: Of the training.
        run: Runs a network as the training does.
        source: As `Augmenter` takes it.

    Raises:
        ConfigError: Several processes train together, the network is compiled, or has no encoder to drop channels of.
    """

    def __init__(
        self, recipe: Recipe, network: torch.nn.Module, data: TrainingTiles, reader: TileReader, fabric: Fabric,
        run: Forward, source: StyleSource | None = None,
    ) -> None:  # fmt: skip
        self._config, self._recipe, self._data, self._reader, self._fabric = recipe.semi, recipe, data, reader, fabric
        self._run = run
        self._source: Iterator[MiniBatch] | None = None
        self._epoch = 0
        if not self.is_on:
            return
        _check(recipe)
        self._teacher = copy.deepcopy(network).requires_grad_(False).eval()
        # The average is kept in the teacher's own tensors.
        self._average = WeightAverage(
            network, keep=recipe.semi.ema, prefix="teacher/", average=self._teacher.state_dict()
        )
        dropped = recipe.semi.feature_dropout
        self._dropout = ChannelDropout(encoder_of(network, recipe.model), dropped) if dropped else None
        self._weak = Augmenter(recipe.augment, seed=recipe.seed, stream=_WEAK, source=source)
        colors = strong_colors(recipe.augment, recipe.semi.strength)
        self._strong = [Augmenter(colors, seed=recipe.seed, stream=number, source=source) for number in _STRONG]
        self._sigmoid = uses_sigmoid(recipe.loss.terms)

    @property
    def is_on(self) -> bool:
        """Whether it does anything."""
        return self._config.weight > 0

    def begin(self, epoch: int, batches: int, read_ahead: Callable[[EpochBatches], Prefetcher]) -> None:
        """Read the unlabelled tiles of an epoch of so many batches, ahead."""
        if not self.is_on:
            return
        config, data = self._recipe.data, self._data
        self._epoch = epoch
        drawn = unlabelled_epoch(
            data.unlabelled,
            batches=batches,
            batch_size=self._config.batch_size or config.batch_size,
            key=(self._recipe.seed, epoch),
        )
        source = EpochBatches(
            self._reader,
            data.train,
            drawn,
            groups=[UNLABELLED_GROUP],
            crop_px=config.crop_px,
            key=(self._recipe.seed, epoch, _WEAK),
            free=config.free_crops,
            margin=reach(self._recipe.augment, config.crop_px),
        )
        self._source = iter(read_ahead(source))
        self._counts = torch.zeros(2, dtype=torch.int64, device=self._fabric.device)

    def added(self, loss: Tensor, student: torch.nn.Module, step: int) -> Tensor:
        """Add the loss on the next unlabelled tiles.

        Args:
            loss: Of the labelled tiles.
            student: As the training runs it.
            step: Of the epoch.
        """
        # Without an epoch (a test of learning rates) only what is labelled counts.
        batch = None if self._source is None else next(self._source, None)
        return loss if batch is None else loss + self._config.weight * self._loss(batch, student, step)

    def _loss(self, batch: MiniBatch, student: torch.nn.Module, step: int) -> Tensor:
        device, config = self._fabric.device, self._config
        images, targets = batch.images.to(device), batch.targets.to(device)
        targets = torch.where(targets == IGNORE_INDEX, UNLABELLED, targets)
        pixels, targets = self._weak.moved(images, targets, epoch=self._epoch, step=step, margin=batch.margin)
        with torch.no_grad(), self._fabric.autocast():
            logits = self._run(self._teacher, pixels)
        height, width = pixels.shape[-2:]
        found = probabilities_of(logits.float(), sigmoid=self._sigmoid)[..., :height, :width]
        labels = pseudo_labels(found, targets, threshold=config.threshold)
        unlabelled = targets == UNLABELLED
        self._counts += torch.stack([(unlabelled & (labels != UNLABELLED)).sum(), unlabelled.sum()])
        total = logits.new_zeros(())
        for number, strong in enumerate(self._strong):
            rng = np.random.default_rng((self._recipe.seed, self._epoch, step, _CUTMIX, number))
            drawn = cutmix_boxes(rng, len(pixels), height=height, width=width, probability=config.cutmix_p)
            boxes = torch.from_numpy(drawn).to(device)
            view = cutmix(boxes, strong.recolored(pixels, epoch=self._epoch, step=step))
            own = padded_targets(cutmix(boxes, labels))
            # The second view has to do with a part of the features.
            if number and self._dropout is not None:
                with self._dropout.on():
                    loss = unlabelled_loss(self._run(student, view), own, sigmoid=self._sigmoid)
            else:
                loss = unlabelled_loss(self._run(student, view), own, sigmoid=self._sigmoid)
            total = total + loss / len(self._strong)
        return total

    def row(self) -> dict[str, float]:
        """What curves.csv has of an epoch: the fraction of the unlabelled pixels that the teacher labelled."""
        if not self.is_on:
            return {}
        labelled, shown = self._counts.tolist()
        return {"pseudo_labelled": labelled / max(shown, 1)}

    def update(self) -> None:
        """Let the teacher follow the student's weights after a step of the optimizer."""
        if self.is_on:
            self._average.update()

    def tensors(self) -> dict[str, Tensor]:
        """What the run folder keeps."""
        return self._average.tensors() if self.is_on else {}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take out of `tensors` what `tensors()` had put there."""
        if self.is_on:
            self._average.restore(tensors)


def _check(recipe: Recipe) -> None:
    if ranks() > 1:
        raise ConfigError("semi.weight: the mean teacher works in one process; leave out --devices, or set it to 0")
    if recipe.compile and recipe.semi.feature_dropout:
        raise ConfigError("semi.feature_dropout does not go with compile; set one of them to 0 or false")
