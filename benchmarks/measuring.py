"""What the benchmarks share: made-up nuclei, a process for each measurement, rows and their table."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from qpkit.core.annotation import Annotation, PathClass, argb

CLASSES = [PathClass((name,), argb(200, 10 * index, 0)) for index, name in enumerate(("Tumor", "Stroma", "Immune"))]
_BATCH = 1000

Result = dict[str, float]
Row = dict[str, Any]


def nuclei(count: int, seed: int = 7) -> Iterator[Annotation]:
    """Make detections: wobbly circles of 31 points on a large slide, with an id, a class and two measurements."""
    rng = np.random.default_rng(seed)
    angle = np.linspace(0, 2 * np.pi, 30, endpoint=False)
    for first in range(0, count, _BATCH):
        size = min(_BATCH, count - first)
        radius = 10 + rng.normal(0, 0.6, (size, 30))
        ring = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1) + rng.uniform(
            50, 80_000, (size, 1, 2)
        )
        polygons = shapely.polygons(np.round(np.concatenate([ring, ring[:, :1]], axis=1), 2))
        for index, polygon in enumerate(polygons, first):
            yield Annotation(
                geometry=polygon,
                shape="polygon",
                kind="detection",
                id=str(uuid.UUID(int=(seed << 96) + index)),
                path_class=CLASSES[index % 3],
                measurements={"Area px^2": round(polygon.area, 2), "Probability": index % 100 / 100},
            )


def timed(work: Callable[[], object], *, times: int = 1) -> Result:
    """Run something in this process: seconds (the best of `times`), and the process's peak memory in MB."""
    seconds = []
    for _ in range(times):
        before = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - before)
    return {"seconds": min(seconds), "peak_mb": _peak_mb()}


def _peak_mb() -> float:
    """Peak of this program alone: getrusage also counts what its parent had when it was started."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return next(float(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def alone(script: str, name: str, *arguments: str) -> Result:
    """Run one measurement of a script in a process of its own, so that its peak memory is its own."""
    command = [sys.executable, script, "--one", name, *arguments]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    result: Result = json.loads(found.stdout.splitlines()[-1])
    print(f"{name:28} {result['seconds']:8.2f} s {result['peak_mb']:8.0f} MB", flush=True)
    return result


def row(name: str, value: float, unit: str, *, against: str = "", ratio: float | None = None, goal: str = "") -> Row:
    """One line of the table; a ratio above 1 means that qpkit is better."""
    short = None if ratio is None else round(ratio, 2)
    return {"name": name, "value": round(value, 4), "unit": unit, "against": against, "ratio": short, "goal": goal}


def show(rows: Sequence[Row], file: Path | None) -> None:
    """Print the table, and write the rows."""
    for item in rows:
        ratio = f"{item['ratio']:8.2f} x {item['against']}" if item["ratio"] is not None else ""
        goal = f"goal {item['goal']}" if item["goal"] else ""
        print(f"{item['name']:40} {item['value']:14,.3f} {item['unit']:12} {ratio} {goal}")
    if file:
        file.write_text(json.dumps({"rows": rows}, indent=1) + "\n")
