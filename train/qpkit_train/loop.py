"""Training, read from top to bottom: fit() sets the stage, Training runs epochs, every epoch ends in the run folder.

Works on CUDA, MPS or CPU by itself, and in several processes where torchrun started them: each runs the model on its
part of every batch, the first one writes. A training that was killed goes on with resume=True from its last whole
epoch and, on a CPU, ends with the same bits as one that was never interrupted.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from qpkit.dataset import read_tile_set
from qpkit.errors import ConfigError
from qpkit.ops.scores.confusion import empty_confusion
from qpkit.progress import OnNote, OnProgress, no_note, no_progress
from qpkit_train.augment.augmenter import Augmenter
from qpkit_train.augment.sampling import reach
from qpkit_train.augment.style_sources import style_source
from qpkit_train.data.batches import EpochBatches, MiniBatch, Prefetcher, WholeTiles
from qpkit_train.data.normalization import choose_normalization
from qpkit_train.data.one_object import tile_reader
from qpkit_train.data.tile_labels import tile_labels
from qpkit_train.data.tile_looks import measured_appearance
from qpkit_train.data.training_tiles import TrainingTiles, class_weights, measuring_batch, training_tiles_of
from qpkit_train.inference.thresholds import validated
from qpkit_train.losses.activation import uses_sigmoid
from qpkit_train.losses.answers import branch_weights, loss_of_answers, target_of
from qpkit_train.losses.loss import make_loss
from qpkit_train.machine.batch_norm import over_all_processes
from qpkit_train.machine.devices import compiled, device_memory, device_name, enough_memory, make_fabric, quiet
from qpkit_train.machine.processes import (
    check_batch,
    ends_with_the_others,
    lead_first,
    rank,
    ranks,
    whole_batch,
)
from qpkit_train.machine.seeding import same_bits, seeded
from qpkit_train.models.averaging import WeightAverage
from qpkit_train.models.forward import Network, forward, forward_levels, padded_targets
from qpkit_train.models.registry import encoders_of
from qpkit_train.optimizer import optimizer_of
from qpkit_train.planning.plan import check_memory, planned
from qpkit_train.prompting import Prompting
from qpkit_train.recipe.settings import Recipe
from qpkit_train.recipe.unused import unused_settings
from qpkit_train.run_folder import journal, records, weights
from qpkit_train.run_folder.fit_report import FitReport
from qpkit_train.run_folder.initial_network import check_answers, initial_network, resumed_network
from qpkit_train.run_folder.records import RunFile, State
from qpkit_train.run_folder.resuming import of_the_run_there, prolonging_note
from qpkit_train.run_folder.start import claim_folder, cleared_on_failure, resumed_run_file, run_file, with_network
from qpkit_train.run_folder.tensorboard import write_events
from qpkit_train.schedule import Watch, learning_rate
from qpkit_train.semi.mean_teacher import MeanTeacher
from qpkit_train.validation.counts import Measured, ValidationCounts
from qpkit_train.validation.tile_errors import TileErrors

_CHECK_EVERY: Final = 16
"""Steps between looks at the loss on an accelerator, where every look waits for the device."""


def fit(
    tiles_root: Path,
    run_root: Path,
    recipe: Recipe,
    *,
    resume: bool = False,
    on_note: OnNote = no_note,
    on_progress: OnProgress = no_progress,
) -> FitReport:
    """Train a model on a folder of tiles and leave a run folder.

    Without a validation split the tiles of the first training epoch are measured instead (whole, not augmented); the
    report says so, because such figures are too good.

    Args:
        tiles_root: What `qpkit export` wrote.
        run_root: Folder to make, or one that an earlier training of the same recipe and tiles left, with `resume`. A
            finished one goes on if optim.epochs has been raised.
        recipe: All settings.
        resume: Go on where the folder stands; starts anew where there is none yet.
        on_note: Called before the first step with each thing to know about the tiles; the report has them, too.
        on_progress: Called with (steps done, steps in all, text) after every step.

    Raises:
        FormatError: Tiles or run folder damaged.
        LabelError: No training tile shows a class, or a mask has a value that the label map does not.
        ConfigError: The recipe does not fit the tiles, weights cannot be had, or the loss is no longer a number.
        OutputError: `run_root` holds another run, or holds one and `resume` is not set.
    """
    with ends_with_the_others():
        fabric = make_fabric(recipe)
        with lead_first():
            check_batch(recipe.data.batch_size)
            tile_set = read_tile_set(tiles_root)
            found = planned(tile_set, recipe)
            notes = [*unused_settings(recipe), *found.notes]
            recipe = found.recipe
            if found.plan is not None:
                check_memory(found.plan, device_memory(fabric.device), device_name(fabric.device))
            data = training_tiles_of(tile_set, recipe)
            file = run_file(tile_set, recipe, data, fabric.device, plan=found.record(), notes=notes)
            file = of_the_run_there(run_root, file, resume=resume)
            if rank() == 0:
                claim_folder(run_root, file, resume=resume)
                for note in (*notes, *data.notes):
                    on_note(note)
        bits = same_bits(recipe.deterministic, fabric.device)
        with cleared_on_failure(run_root), enough_memory(recipe, fabric.device), bits:
            state = records.read_state(run_root, run=file.id) if resume else None
            if state is not None:
                note = prolonging_note(run_root, file, state, int(file.sampler["batches"]))
                if note and rank() == 0:
                    on_note(note)
                file = resumed_run_file(run_root, file, note)
            training = Training(run_root, recipe, data, fabric, file, is_resumed=state is not None)
            resumed_from = training.restore(state) if state is not None else 0
            if rank() == 0 and not resumed_from:
                records.write_run_file(run_root, training.file)
            with records.marked_if_interrupted(run_root, is_lead=rank() == 0):
                training.run(on_progress if rank() == 0 else no_progress)
        return training.finish(resumed_from)


class Training:
    """A model, its optimizer, and where they stand."""

    def __init__(
        self,
        root: Path,
        recipe: Recipe,
        data: TrainingTiles,
        fabric: Fabric,
        file: RunFile,
        *,
        is_resumed: bool = False,
    ) -> None:
        self.root, self.recipe, self.data, self.fabric = root, recipe, data, fabric
        factors = recipe.model.factors
        self.reader = tile_reader(data.tile_set, recipe, data.table, cache_mb=recipe.data.cache_mb)
        with lead_first(), seeded(recipe.seed, 0, fabric.device):
            self.normalization = file.normalization or choose_normalization(recipe.data, self.reader, data.train)
            named = data.tile_set.labels if recipe.model.click_px else data.labels
            classes = {value: named.name_of(value) for value in named.trained_values}
            appearance = file.appearance or measured_appearance(self.reader, data.train, classes)
            started = (resumed_network if is_resumed else initial_network)(recipe, data.names)
            if not is_resumed:
                check_answers(started.network, recipe, tile_px=data.tile_set.tile_size)
        self.file = with_network(file, started, self.normalization, appearance)
        network = over_all_processes(started.network, fabric.device)
        self.network = network.to(fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's overloads leave it out
        self.optimizer = optimizer_of(recipe.optim, self.network)
        # `network` owns the weights and names them, `runs` is called to measure, `model` (in Fabric) to train.
        self.runs = compiled(self.network) if recipe.compile else self.network
        with quiet():
            self.model, self.fabric_optimizer = fabric.setup(self.runs, self.optimizer)
        self.loss = make_loss(recipe.loss, background=data.background, class_weights=self._class_weights())
        self.branches = branch_weights(recipe.loss, started.network)
        self.average = WeightAverage(self.network, keep=recipe.optim.ema)
        source = style_source(recipe.augment, self.reader, data.train)
        self.augment = Augmenter(recipe.augment, seed=recipe.seed, factors=factors, source=source)
        self.semi = MeanTeacher(recipe, self.network, data, self.reader, fabric, self._logits, source)
        self.prompting = Prompting(recipe, self._present_answer)
        self.errors = TileErrors(len(data.train), is_wanted=recipe.sampler.hard_negatives > 0)
        self.steps_per_epoch = int(file.sampler["batches"])
        self.state: State | None = None
        self.epoch, self.steps = 0, 0
        self.clock = time.perf_counter()
        self.watch = Watch()
        self.history: list[dict[str, Any]] = []
        self.confusion = empty_confusion(len(data.names))
        self.thresholds: dict[str, float] = {}
        self.seconds = self.training_seconds = self.waiting_seconds = 0.0

    def _class_weights(self) -> Tensor | None:
        weights = class_weights(self.recipe, self.data.names, self.file.sampler["pixels_per_epoch"])
        return None if weights is None else torch.tensor(weights, dtype=torch.float32, device=self.fabric.device)

    def restore(self, state: State) -> int:
        """Stand where `state` says; returns the epochs that were done."""
        weights.load_weights(self.network, self.root / state.model, run=self.file.id)
        tensors = weights.read_tensors(self.root / state.optimizer, run=self.file.id)
        # These three take their own tensors out; what is left is of the optimizer.
        self.errors.restore(tensors)
        self.average.restore(tensors)
        self.semi.restore(tensors)
        weights.join_optimizer(self.optimizer, tensors, state.optimizer_plain)
        if state.precision_state:
            self.fabric.strategy.precision.load_state_dict(state.precision_state)
        self.epoch, self.steps, self.watch, self.history = state.epoch, state.steps, state.watch, list(state.history)
        self.confusion, self.thresholds = np.array(state.confusion, np.int64), dict(state.thresholds)
        self.seconds, self.training_seconds = state.seconds, state.training_seconds
        self.waiting_seconds = state.waiting_seconds
        self.state = state
        return state.epoch

    def run(self, on_progress: OnProgress) -> None:
        """Train epoch by epoch until the last one or until patience ends."""
        while not self.is_over():
            rates, losses = self._train_epoch(on_progress)
            with self.average.applied():
                measured = self._measure()
                self.epoch += 1
                row = journal.history_row(self.epoch, rates[-1], float(np.mean(losses)), measured, data=self.data)
                row |= self.semi.row()
                self.history.append(row)
                # Inside of the block: with an average, its weights are what is measured and what is kept.
                self._keep_if_best(row, measured)
            if rank() == 0:
                write_events(self.root, losses, rates, row, self.steps)
            self._save()

    def is_over(self) -> bool:
        """Say whether no epoch is left to train."""
        stopping = self.recipe.early_stopping
        return self.epoch >= self.recipe.optim.epochs or self.watch.should_stop(stopping.patience)

    def batches_of(self, epoch: int) -> EpochBatches:
        """The mini-batches of an epoch, this process's part of each."""
        return EpochBatches(
            self.reader,
            self.data.train,
            self.data.sampler.epoch(epoch, self.errors.of_tiles),
            groups=self.data.sampler.groups,
            crop_px=self.recipe.data.crop_px,
            key=(self.recipe.seed, epoch),
            free=self.recipe.data.free_crops,
            margin=reach(self.recipe.augment, self.recipe.data.crop_px),
            rank=rank(),
            ranks=ranks(),
        )

    def _train_epoch(self, on_progress: OnProgress) -> tuple[list[float], list[float]]:
        """Train one epoch; gives learning rate and loss of each step."""
        source = self.read_ahead(self.batches_of(self.epoch))
        self.semi.begin(self.epoch, self.steps_per_epoch, self.read_ahead)
        total = self.recipe.optim.epochs * self.steps_per_epoch
        rates: list[float] = []
        losses: list[Tensor] = []
        shown = math.nan
        started = time.perf_counter()
        self.begin_learning()
        with seeded(self.recipe.seed, self.epoch + 1, self.fabric.device):
            for step, batch in enumerate(source):
                rates.append(self._scheduled_rate())
                losses.append(self.step(batch, step))
                self.steps += 1
                if self.fabric.device.type == "cpu" or step % _CHECK_EVERY == 0:
                    shown = self._checked(losses[-1], step)
                waiting = source.waited / (time.perf_counter() - started)
                text = f"epoch {self.epoch + 1}/{self.recipe.optim.epochs} loss {shown:.4f}, {waiting:.0%} waiting"
                on_progress(self.steps, total, text)
        # Also for the steps between two looks: one loss that is no number makes the mean none.
        self._checked(torch.stack(losses).mean(), len(losses) - 1)
        self.errors.settle()
        self.training_seconds += time.perf_counter() - started
        self.waiting_seconds += source.waited
        return rates, torch.stack(losses).tolist()

    def begin_learning(self) -> None:
        """Put the network into training mode; a frozen encoder's batch norms keep their statistics."""
        self.model.train()
        if self.recipe.model.freeze_encoder:
            for encoder in encoders_of(self.network, self.recipe.model):
                encoder.eval()

    def _scheduled_rate(self) -> float:
        rate = learning_rate(
            self.recipe.optim,
            step=self.steps,
            steps_per_epoch=self.steps_per_epoch,
            plateau_factor=self.watch.plateau_factor,
        )
        self.set_rate(rate)
        return rate

    def set_rate(self, rate: float) -> None:
        """Learn at this rate from the next step on."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def step(self, batch: MiniBatch, step: int) -> Tensor:
        """Do step `step` of the epoch with a batch; gives the loss, on the device."""
        images, targets = self._on_device(batch)
        pixels, targets = self.augment(
            images,
            targets,
            epoch=self.epoch,
            step=step,
            first=batch.first,
            total=batch.total,
            margin=batch.margin,
        )
        pixels = self.prompting.clicked(pixels, targets, epoch=self.epoch, step=step, first=batch.first)
        answers, known = self._forward(pixels, targets)
        self.errors.note(batch.tiles, answers[0].detach(), known)
        held = [whole_batch(logits, target_of(logits, known), total=batch.total) for logits in answers]
        loss = self.semi.added(loss_of_answers(self.loss, held, self.branches), self.model, step)
        first = step - step % self.recipe.optim.accumulate
        # The last step of an epoch may have fewer batches.
        last = min(first + self.recipe.optim.accumulate, self.steps_per_epoch) - 1
        if step == first:
            self.fabric_optimizer.zero_grad()
        # Times ranks(): DDP takes the mean over processes, but each has the loss of the whole batch.
        self.fabric.backward(loss * (ranks() / (last - first + 1)))
        if step == last:
            self._update()
        return loss.detach()

    def _update(self) -> None:
        """Change the weights by the gradients that have been added up."""
        if self.recipe.optim.clip_norm:
            # Infinite gradients are normal with 16-mixed: the gradient scaler leaves the step out.
            self.fabric.clip_gradients(
                self.model, self.fabric_optimizer, max_norm=self.recipe.optim.clip_norm, error_if_nonfinite=False
            )
        self.fabric_optimizer.step()
        self.average.update()
        self.semi.update()

    def _on_device(self, batch: MiniBatch) -> tuple[Tensor, Tensor]:
        device = self.fabric.device
        return batch.images.to(device, non_blocking=True), batch.targets.to(device, non_blocking=True)

    def read_ahead(self, batches: EpochBatches | WholeTiles) -> Prefetcher:
        """Read batches ahead, into memory that the device copies from."""
        return Prefetcher(batches, workers=self.recipe.data.workers, pin=self.fabric.device.type == "cuda")

    def _forward(self, pixels: Tensor, targets: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Run the model: float32 RGB in 0..1 and uint8 targets in, float logits and int64 targets out.

        In training there may be several logits, the network's own first. A tile classifier's targets are of one pixel.
        """
        known = padded_targets(targets).long()
        if self.model.training:
            answers = forward_levels(self.model, pixels, self.normalization)
        else:  # without the wrapper, whose calls have to come in step in all processes
            with self.fabric.autocast():
                answers = (self._logits(self.runs, pixels),)
        return answers, tile_labels(known) if self.recipe.classifies_tiles else known

    def _logits(self, network: Network, pixels: Tensor) -> Tensor:
        return forward(network, pixels, self.normalization)

    def _present_answer(self, pixels: Tensor) -> Tensor:
        """What the network as it is says while it learns; it goes on learning afterwards."""
        is_learning = self.model.training
        self.model.eval()
        with torch.no_grad(), self.fabric.autocast():
            logits = self._logits(self.runs, pixels)
        if is_learning:
            self.begin_learning()
        return logits

    def _checked(self, loss: Tensor, step: int) -> float:
        value = float(loss)
        if not math.isfinite(value) and rank() == 0:
            raise ConfigError(
                f"{self.root}: the loss became {value} in epoch {self.epoch + 1} at step {step + 1}; lower optim.lr "
                f"(now {self.recipe.optim.lr:g}), set optim.clip_norm=1, or take precision=32-true "
                f"(now {self.file.precision})"
            )
        return value

    def _measure(self) -> Measured:
        """Measure the weights on whole tiles, without augmentation."""
        batch_size = measuring_batch(self.recipe, self.data)
        source = WholeTiles(self.reader, self.data.measured, batch_size=batch_size, rank=rank(), ranks=ranks())
        tally = ValidationCounts(self.data, sigmoid=uses_sigmoid(self.recipe.loss.terms))
        self.model.eval()
        with torch.inference_mode():
            for batch in self.read_ahead(source):
                images, targets = self._on_device(batch)
                pixels = self.prompting.measured(images.float() / 255, targets)
                (logits,), known = self._forward(pixels, targets)
                tally.add(batch.tiles, logits, known, self.loss(logits, known))
        return tally.whole()

    def _keep_if_best(self, row: dict[str, Any], measured: Measured) -> None:
        """Keep the weights if this epoch is the best so far."""
        value = -row["val_loss"] if self.data.metric == "loss" else row[f"mean_{self.data.metric}"]
        self.watch = self.watch.after(
            -math.inf if value is None else value,
            epoch=self.epoch,
            min_delta=self.recipe.early_stopping.min_delta,
            optim=self.recipe.optim,
        )
        if self.watch.best_epoch == self.epoch:
            self.confusion = measured.confusion
            has_none = self.recipe.classifies_tiles or self.recipe.model.click_px
            self.thresholds = {} if has_none else validated(measured.levels, self.data.labels)
            if rank() == 0:
                best = self.root / records.BEST_NAME
                weights.save_tensors(best, self.network.state_dict(), run=self.file.id, epoch=self.epoch)

    def _save(self) -> None:
        model, optimizer = records.epoch_files(self.epoch)
        tensors, plain = weights.split_optimizer(self.optimizer)
        run = self.file.id
        self.seconds, self.clock = self.seconds + time.perf_counter() - self.clock, time.perf_counter()
        self.state = State(
            run=run,
            epoch=self.epoch,
            watch=self.watch,
            history=self.history,
            confusion=self.confusion.tolist(),
            thresholds=self.thresholds,
            model=model,
            optimizer=optimizer,
            optimizer_plain=plain,
            precision_state=self.fabric.strategy.precision.state_dict(),
            seconds=self.seconds,
            training_seconds=self.training_seconds,
            waiting_seconds=self.waiting_seconds,
            steps=self.steps,
        )
        if rank() > 0:
            return
        # Before state.json, which names them: it never names a file that is not there.
        weights.save_tensors(self.root / model, self.network.state_dict(), run=run, epoch=self.epoch)
        kept = {**tensors, **self.errors.tensors(), **self.average.tensors(), **self.semi.tensors()}
        weights.save_tensors(self.root / optimizer, kept, run=run, epoch=self.epoch)
        records.write_state(self.root, self.state)
        journal.write_epoch(self.root, self.file, self.state, self.data)

    def finish(self, resumed_from: int) -> FitReport:
        """Mark the run as finished and report."""
        assert self.state is not None  # an epoch was trained or restored
        file = journal.close(self.root, self.file, self.state, self.data, is_lead=rank() == 0)
        return journal.fit_report(self.root, file, self.state, self.data, resumed_from=resumed_from)
