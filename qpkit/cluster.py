"""Work past one process, a slide at a time: parts for array jobs, and workers of a Dask scheduler."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from qpkit.errors import ConfigError
from qpkit.extras import extra

if TYPE_CHECKING:
    from distributed import Client

_Result = TypeVar("_Result")

_RETRIES: Final = 3
"""Times that a slide is begun again after an error of the machine (a network drive that hangs)."""

_PATIENCE: Final = 30
"""Seconds to wait for the scheduler, and for its first worker."""


def parse_shard(text: str) -> tuple[int, int]:
    """Read "3/20": (3, 20), the first is 1.

    Raises:
        ConfigError: Anything else.
    """
    number, slash, count = text.partition("/")
    if slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count):
        return int(number), int(count)
    raise ConfigError(f"--shard {text!r}: has to be NUMBER/COUNT, from 1/20 to 20/20")


def run_on_cluster(
    work: Callable[..., _Result], slides: Sequence[Any], *arguments: Any, root: Path, address: str
) -> Iterator[_Result]:
    """Call a function for each slide on the workers of a Dask scheduler; a slide whose worker dies is done elsewhere.

    Args:
        work: Called with a slide and the arguments.
        slides: What it is called with, one after the other.
        arguments: The same for all.
        root: The unfinished folder, on a drive that all workers see.
        address: Such as "tcp://node1:8786".

    Yields:
        What the function gave, in the order of the slides.

    Raises:
        MissingExtraError: Dask is not installed.
        ConfigError: The scheduler cannot be reached, has no worker, a worker does not see `root`, or a slide killed
            several workers one after the other.
        Exception: What the function raises.
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
        waiting = [client.submit(work, slide, *arguments, pure=False, retries=_RETRIES) for slide in slides]
        try:
            for future in waiting:
                yield future.result()
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
            f"--scheduler {address}: worker {blind[0]} does not see {root.parent}; write to a drive that all share"
        )
