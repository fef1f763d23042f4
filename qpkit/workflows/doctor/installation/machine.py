"""The machine: cores, memory, where qpkit may write, and the driver of the GPU; without torch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from qpkit.cores import available_cores
from qpkit.report.values.checks import Check, State

_GIB: Final = 1 << 30

_LITTLE_MEMORY: Final = 4 * _GIB
"""Training and predicting the slides of docs/first-run.md takes 1.6 to 1.8 GB, beside the system."""

_LITTLE_DISK: Final = 5 * _GIB

_GROUP_LIMITS: Final = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""What a container or a job of a cluster may take, in the two versions of Linux's control groups."""

_ASK_SECONDS: Final = 10


def machine_checks(folder: Path | None = None) -> Iterator[Check]:
    """Cores, memory, write access and space, the driver.

    Args:
        folder: Where the user works; the current folder.
    """
    yield _cores_check()
    yield _memory_check()
    yield _folder_check("this folder", folder or Path(), "work elsewhere, or name another place with -o", "warning")
    yield _temporary_check()
    yield driver_check()


def _cores_check() -> Check:
    usable, there = available_cores(), os.cpu_count() or 1
    return Check("cores", "ok", f"{usable}" + (f" of {there}" if usable < there else ""))


def _memory_check() -> Check:
    size = memory_bytes()
    if size is None:
        return Check("memory", "ok", "this system does not say")
    found = f"{size / _GIB:.1f} GiB"
    if size < _LITTLE_MEMORY:
        return Check("memory", "warning", found, "take few --workers, small tiles and mini-batches")
    return Check("memory", "ok", found)


def memory_bytes() -> int | None:
    """Bytes of memory that this process may take: the machine's, or its container's; None where nobody says."""
    try:
        sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (AttributeError, OSError, ValueError):  # Windows
        return None
    for path in map(Path, _GROUP_LIMITS):
        try:
            sizes.append(int(path.read_text(encoding="ascii")))
        except (OSError, ValueError):  # no such file; "max"
            continue
    return min(sizes)


def _temporary_check() -> Check:
    advice = "set TMPDIR (Windows: TEMP) to a folder that can be written"
    try:
        folder = Path(tempfile.gettempdir())
    except OSError as err:
        return Check("temporary", "broken", err.strerror or str(err), advice)
    return _folder_check("temporary", folder, advice, "broken")


def _folder_check(name: str, folder: Path, advice: str, if_closed: State) -> Check:
    try:
        path = folder.resolve(strict=True)
        with tempfile.TemporaryFile(dir=path):
            pass
        free = shutil.disk_usage(path).free
    except OSError as err:
        found = f"{folder}: cannot be written ({err.strerror})"
        return Check(name, if_closed, found, advice)
    found = f"{path}: {free / _GIB:.0f} GiB free"
    if free < _LITTLE_DISK:
        return Check(name, "warning", found, "tiles and predictions of slides take gigabytes: make room")
    return Check(name, "ok", found)


def driver_check() -> Check:
    """NVIDIA's driver and the GPUs it knows, by its own tool."""
    if sys.platform == "darwin":
        return Check("GPU driver", "ok", "part of macOS")
    asked = ("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader")
    try:
        said = subprocess.run(asked, capture_output=True, text=True, timeout=_ASK_SECONDS, check=True)
    except FileNotFoundError:
        return Check("GPU driver", "missing", "no NVIDIA driver", "without a GPU, training works but is slow")
    except (OSError, subprocess.SubprocessError) as err:
        return Check("GPU driver", "warning", f"nvidia-smi fails ({type(err).__name__})", "install the driver anew")
    cards = [[part.strip() for part in line.split(",")] for line in said.stdout.splitlines() if line.count(",") >= 2]
    if not cards:
        return Check("GPU driver", "warning", "nvidia-smi lists no GPU", "look at what nvidia-smi says")
    more = f" and {len(cards) - 1} more" if len(cards) > 1 else ""
    name, version, memory = cards[0][:3]
    return Check("GPU driver", "ok", f"{version}: {name}, {memory}{more}")
