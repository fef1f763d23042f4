"""Several processes that train one model: who this one is, and what it has to hear from the others.

They are started by torchrun, or by `launch` on one machine. A step of all together is the step that one process would
do with the whole batch: every process runs the model on its part of the tiles, and the loss is that of all of them.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from qpkit.errors import ConfigError
from qpkit.ops.scores.confusion import IGNORE_INDEX

_T = TypeVar("_T")
_FAILED: Final = 1
_BY_SIGNAL: Final = 128
"""Exit codes of a shell's: this and the number of the signal."""

_GONE: Final = ("by peer", "Gloo", "gloo")
"""Words in torch's errors when another process has closed its connection."""


def ranks() -> int:
    """Number of processes; 1 where nothing was launched."""
    return int(os.environ.get("WORLD_SIZE", "1")) if is_launched() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return int(os.environ.get("RANK", "0")) if is_launched() else 0


def is_launched() -> bool:
    """Say whether torchrun (or `launch`) started this process."""
    return dist.is_available() and dist.is_torchelastic_launched()


def check_batch(batch_size: int) -> None:
    """Make sure that every process has something to do.

    Raises:
        ConfigError: A batch has fewer tiles than there are processes.
    """
    if batch_size < ranks():
        raise ConfigError(
            f"data.batch_size = {batch_size} is the batch of all {ranks()} processes together; take at least {ranks()}"
        )


def leave() -> None:
    """End what talks to the other processes, and its threads, while Python still runs.

    torch only lets go of the group, which a wrapped model holds in a cycle: its threads would outlive Python and abort
    the process at times (6 of 80 processes that shared one core; https://github.com/pytorch/pytorch/issues/190489).
    """
    dist.destroy_process_group()
    gc.collect()


@contextmanager
def lead_first() -> Iterator[None]:
    """Let the first process go through a block alone, the others after it.

    What is wrong with the input fails in the first one only, with one message; the launcher then ends the others.
    """
    if ranks() > 1 and rank() > 0:
        dist.barrier()
    yield
    if ranks() > 1 and rank() == 0:
        dist.barrier()


@contextmanager
def ends_with_the_others() -> Iterator[None]:
    """End without a word where another process is gone: that one has said why."""
    try:
        yield
    except RuntimeError as err:
        if ranks() > 1 and (isinstance(err, dist.DistError) or any(word in str(err) for word in _GONE)):
            raise SystemExit(_FAILED) from err
        raise


def gathered(value: _T) -> list[_T]:
    """What every process holds, in the order of ranks; plain values and small arrays."""
    if ranks() == 1:
        return [value]
    found: list[_T | None] = [None] * ranks()
    dist.all_gather_object(found, value)
    return [part for part in found if part is not None]


def whole_batch(logits: Tensor, targets: Tensor, *, total: int) -> tuple[Tensor, Tensor]:
    """Put the parts of all processes together, so that the loss is that of the whole batch.

    Only this process' own part carries a gradient; averaged over the processes, as DistributedDataParallel does, and
    times their number, gradients come out as those of one process with the whole batch.

    Args:
        logits: (n, classes, h, w) of this process's part.
        targets: (n, h, w) int64.
        total: Rows of the batch that all processes share.

    Returns:
        (m, classes, h, w) and (m, h, w), in the order of ranks; parts that are smaller than the largest are filled
        up with unknown pixels.
    """
    if ranks() == 1:
        return logits, targets
    missing = -(-total // ranks()) - len(logits)
    logits = torch.cat([logits, logits.new_zeros(missing, *logits.shape[1:])])
    targets = torch.cat([targets, targets.new_full((missing, *targets.shape[1:]), IGNORE_INDEX)])
    parts, known = _all(logits.detach()), _all(targets)
    # With its gradient, which all_gather does not carry.
    parts[rank()] = logits
    return torch.cat(parts), torch.cat(known)


def _all(own: Tensor) -> list[Tensor]:
    own = own.contiguous()
    parts = [torch.empty_like(own) for _ in range(ranks())]
    dist.all_gather(parts, own)
    return parts


def launch(count: int, arguments: Sequence[str]) -> int:
    """Run `qpkit ARGUMENTS` in `count` processes on this machine, as torchrun would; gives the exit code.

    The first of them shows progress and results; whichever fails says why, and the others end with it.

    Args:
        count: Processes, one per GPU where there are any.
        arguments: Of the command line, without `qpkit`.

    Raises:
        ConfigError: There are fewer GPUs, or this torch cannot do it.
    """
    if not dist.is_available():
        raise ConfigError("--devices: this build of torch cannot train with several processes")
    there = torch.cuda.device_count()
    if torch.cuda.is_available() and count > there:
        raise ConfigError(f"--devices {count}: this machine has {there} GPU(s)")
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in list(logging.root.manager.loggerDict):
        if name.startswith("torch.distributed.elastic"):  # the processes say themselves what is wrong
            logging.getLogger(name).setLevel(logging.CRITICAL)
    # DDP warns of unused parameters where there happen to be none
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    # Otherwise torchrun sets it to 1.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=f"qpkit-{os.getpid()}",
        rdzv_backend="c10d",
        # A free port, so that several trainings can run on one machine.
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "qpkit", *arguments)
    except ChildFailedError as err:
        codes = [failure.exitcode for failure in err.failures.values() if failure.exitcode > 0]
        return codes[0] if codes else _FAILED
    except SignalException as err:
        return _BY_SIGNAL + int(err.sigval)
    return 0
