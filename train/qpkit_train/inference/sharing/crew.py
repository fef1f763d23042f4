"""Several processes of this machine that predict slides side by side, each on a device of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from qpkit.cores import available_cores
from qpkit.errors import ConfigError, QpkitError
from qpkit.spawned import without_script
from qpkit_train.inference.plan import Plan
from qpkit_train.inference.sharing.work import OnTiles, Worker


def work_on_devices(plan: Plan, root: Path, numbers: Sequence[int], devices: Sequence[str], on_tiles: OnTiles) -> None:
    """Predict slides in a process for each device; whichever is free takes the next slide.

    Raises:
        ConfigError: A process was killed, or there is no such device.
        QpkitError: As `Worker.slides`; what the first process said that failed.
    """
    # Not forked: that copies the locks of threads, but not the threads that would open them.
    context = multiprocessing.get_context("spawn")
    threads = max(1, available_cores() // devices.count("cpu")) if "cpu" in devices else 0
    members: dict[Connection[Any, Any], Any] = {}
    try:
        for device in devices:
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_member, args=(plan, root, numbers, device, threads, theirs), daemon=True)
            with without_script():
                process.start()
            theirs.close()  # so that its end is noticed here
            members[ours] = process
        _listen(members, on_tiles)
    finally:
        for process in members.values():
            process.terminate()
        for process in members.values():
            process.join()


def _listen(members: dict[Connection[Any, Any], Any], on_tiles: OnTiles) -> None:
    """Pass on what the processes say until all are done."""
    open_ones = list(members)
    while open_ones:
        for pipe in wait(open_ones):
            assert isinstance(pipe, Connection)
            try:
                said = pipe.recv()
            except EOFError:
                raise ConfigError(
                    "--devices: a process was killed, perhaps for its memory; the same command goes on where it was"
                ) from None
            if isinstance(said, QpkitError):
                raise said
            if said is None:
                open_ones.remove(pipe)
            else:
                on_tiles(*said)


def _member(
    plan: Plan, root: Path, numbers: Sequence[int], device: str, threads: int, pipe: Connection[Any, Any]
) -> None:
    """What one process does."""
    try:
        with Worker(plan, root, device=device, threads=threads, on_tiles=lambda *said: pipe.send(said)) as worker:
            worker.slides(numbers)
        pipe.send(None)
    except QpkitError as err:
        pipe.send(err)
    except (BrokenPipeError, KeyboardInterrupt):  # the first process is gone, or will say so
        return
