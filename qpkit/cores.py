"""How many threads are of use."""

from __future__ import annotations

import os


def available_cores() -> int:
    """Cores that this process may use; a job on a cluster has fewer than the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
