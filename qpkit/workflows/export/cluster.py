"""The slides of an export on a Dask cluster, whatever started it; a slide whose worker dies is done again elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from qpkit.errors import ConfigError
from qpkit.extras import extra
from qpkit.progress import Ticker
from qpkit.workflows.export.jobs import SlideJob, SlideResult, run_slide, tick_slide

if TYPE_CHECKING:
    from distributed import Client

_RETRIES: Final = 3
"""Times that a slide is begun again after an error of the machine (a network drive that hangs)."""

_PATIENCE: Final = 30
"""Seconds to wait for the scheduler, and for its first worker."""


def run_on_cluster(jobs: Sequence[SlideJob], root: Path, *, address: str, tick: Ticker) -> Iterator[SlideResult]:
    """Export slides on the workers of a Dask scheduler; see `run_slides`.

    Args:
        jobs: In the order of the table.
        root: The unfinished export, on a drive that all workers see.
        address: Such as "tcp://node1:8786".
        tick: Called for all tiles of a slide when the results before it are in.

    Raises:
        MissingExtraError: Dask is not installed.
        ConfigError: The scheduler cannot be reached, has no worker, a worker does not see `root`, or a slide killed
            several workers one after the other.
        OSError, LabelError, GeometryError: As in `SlideExport`.
    """
    with extra("cluster"):
        from distributed import Client, KilledWorker
    try:
        client = Client(address, timeout=_PATIENCE)
    except (OSError, ValueError) as err:
        raise ConfigError(f"--scheduler {address}: cannot be reached ({err})") from err
    with client:
        _check_workers(client, root, address)
        # Not pure: a job is done for the files that it writes, so none may be taken for an equal one.
        waiting = [client.submit(run_slide, job, root, None, pure=False, retries=_RETRIES) for job in jobs]
        try:
            for job, future in zip(jobs, waiting, strict=True):
                result: SlideResult = future.result()
                tick_slide(job, tick)
                yield result
        except KilledWorker as err:
            raise ConfigError(
                f"--scheduler {address}: several workers died one after the other on one slide, perhaps for their "
                "memory; give them more"
            ) from err
        finally:
            client.cancel(waiting)


def _check_workers(client: Client, root: Path, address: str) -> None:
    try:
        client.wait_for_workers(1, timeout=_PATIENCE)
    except TimeoutError as err:
        raise ConfigError(f"--scheduler {address}: has no worker after {_PATIENCE} s") from err
    seen = client.run(os.path.isdir, str(root))
    blind = [worker for worker, is_there in seen.items() if not is_there]
    if blind:
        raise ConfigError(
            f"--scheduler {address}: worker {blind[0]} does not see {root.parent}; export to a drive that all share"
        )
