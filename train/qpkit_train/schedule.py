"""The learning rate of each step, and what early stopping remembers. Numbers only; nothing here knows torch."""

from __future__ import annotations

import math

import msgspec

from qpkit_train.recipe.settings import OptimConfig


def learning_rate(optim: OptimConfig, *, step: int, steps_per_epoch: int, plateau_factor: float = 1.0) -> float:
    """Learning rate of a step.

    Args:
        optim: The recipe's.
        step: From 0, counted over all epochs.
        steps_per_epoch: Steps in an epoch.
        plateau_factor: What "plateau" has come down to.
    """
    rate = optim.lr
    if optim.schedule == "cosine":
        progress = min(1.0, step / (optim.epochs * steps_per_epoch))
        rate *= optim.final_factor + (1 - optim.final_factor) * (1 + math.cos(math.pi * progress)) / 2
    elif optim.schedule == "poly":
        rate *= (1 - min(1.0, step / (optim.epochs * steps_per_epoch))) ** optim.poly_power
    elif optim.schedule == "cyclic":
        rate *= optim.gamma ** (step // steps_per_epoch % optim.cycle_epochs)
    elif optim.schedule == "step":
        rate *= optim.gamma ** sum(step // steps_per_epoch >= epoch for epoch in optim.milestones)
    elif optim.schedule == "plateau":
        rate = max(rate * plateau_factor, optim.min_lr)
    return rate * min(1.0, (step + 1) / optim.warmup_steps) if optim.warmup_steps else rate


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """What early stopping and "plateau" remember, kept in state.json.

    Args:
        best: Best value so far, more is better (losses come negated); None before the first epoch.
        best_epoch: From 1; 0 before the first.
        without_better: Epochs since the best one.
        plateau_factor: Product of the "plateau" cuts.
        since_cut: Epochs without a better value since the last cut.
    """

    best: float | None = None
    best_epoch: int = 0
    without_better: int = 0
    plateau_factor: float = 1.0
    since_cut: int = 0

    def after(self, value: float, *, epoch: int, min_delta: float, optim: OptimConfig) -> Watch:
        """Take in the value of an epoch (from 1)."""
        if self.best is None or value > self.best + min_delta:
            return Watch(best=value, best_epoch=epoch, plateau_factor=self.plateau_factor)
        cut = optim.schedule == "plateau" and self.since_cut >= optim.plateau_patience
        return Watch(
            best=self.best,
            best_epoch=self.best_epoch,
            without_better=self.without_better + 1,
            plateau_factor=self.plateau_factor * (optim.gamma if cut else 1.0),
            since_cut=0 if cut else self.since_cut + 1,
        )

    def should_stop(self, patience: int) -> bool:
        """Say whether there were `patience` epochs without a better one; never for 0."""
        return patience > 0 and self.without_better >= patience
