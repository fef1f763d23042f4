"""TensorBoard's event files: loss and rate of every step, and the figures of every epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from torch.utils.tensorboard import SummaryWriter

EVENTS_FOLDER: Final = "tensorboard"


def write_events(
    root: Path, losses: Sequence[float], rates: Sequence[float], row: Mapping[str, Any], last: int
) -> None:
    """Add an epoch to RUN/tensorboard, one file each.

    An epoch that is done again after an interruption takes the place of what it had written before.

    Args:
        root: Run folder.
        losses, rates: Of each step.
        row: The epoch's row of curves.csv (journal.history_row).
        last: Number of its last step, counted over all epochs from 1.
    """
    first, suffix = last - len(losses) + 1, f".{row['epoch']:04d}"
    # Of files of one second the reader takes the order of their names, in which a tenth comes before a ninth.
    for earlier in (root / EVENTS_FOLDER).glob(f"*{suffix}"):
        earlier.unlink()
    with SummaryWriter(root / EVENTS_FOLDER, purge_step=first, filename_suffix=suffix) as events:
        for step, (loss, rate) in enumerate(zip(losses, rates, strict=True), start=first):
            events.add_scalar("step/loss", loss, step)
            events.add_scalar("step/learning rate", rate, step)
        plain = {f"epoch/{key}": row[key] for key in ("train_loss", "val_loss", "mean_dice", "mean_iou")}
        for name, value in (plain | {f"dice/{name}": dice for name, dice in row["dice"].items()}).items():
            if value is not None:
                events.add_scalar(name, value, last)
