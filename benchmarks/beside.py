"""What a training takes beside other work: threads that wait must not keep cores from those that they wait for.

python benchmarks/beside.py TILES [--recipe unet-resnet18] [--steps 15] [--times 2] [--json FILE] [--set KEY=VALUE ...]

TILES is what qpkit export wrote. `qpkit train` runs alone and beside a process that keeps one core busy, each with
GOMP_SPINCOUNT as qpkit sets it and as GNU's OpenMP has it by itself (300,000), in turns. Only on Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from measuring import Row, row, show

BY_ITSELF = "300000"


ALONE, SAME, OTHER = "alone", "beside a busy process of the same session", "beside one of another session"
"""Linux shares the cores among sessions first: what another terminal, user or job does is of another session."""


@contextmanager
def beside(what: str) -> Iterator[None]:
    """Keep a core busy, or none."""
    if what == ALONE:
        yield
        return
    work = [sys.executable, "-c", "while True: sum(range(10**6))"]
    with subprocess.Popen(work, start_new_session=what == OTHER) as other:
        try:
            yield
        finally:
            other.kill()


def seconds_a_step(options: argparse.Namespace, spins: str | None) -> float:
    """Train in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GOMP", "OMP"))}
    environment |= {} if spins is None else {"GOMP_SPINCOUNT": spins}
    settings = ["optim.epochs=1", f"optim.steps_per_epoch={options.steps}", "model.encoder_weights=none"]
    sets = [part for setting in (*settings, "early_stopping.tiles=4", *options.set) for part in ("--set", setting)]
    with tempfile.TemporaryDirectory() as made:
        run = Path(made) / "run"
        command = [sys.executable, "-m", "qpkit", "train", str(options.tiles), "-o", str(run)]
        done = subprocess.run(
            [*command, "--recipe", options.recipe, *sets], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(done.stderr)
        return float(json.loads((run / "run.json").read_text())["seconds_per_step"])


def rows(options: argparse.Namespace) -> Iterator[Row]:
    """Seconds a step, alone and beside a busy process."""
    for what in (ALONE, SAME, OTHER):
        found: dict[str | None, list[float]] = {None: [], BY_ITSELF: []}
        with beside(what):
            for _ in range(options.times):
                for spins, seconds in found.items():
                    seconds.append(seconds_a_step(options, spins))
        ours, theirs = median(found[None]), median(found[BY_ITSELF])
        yield row(f"{what}, as OpenMP is by itself", theirs, "s a step")
        yield row(f"{what}, as qpkit sets it", ours, "s a step", against="by itself", ratio=theirs / ours)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tiles", type=Path)
    parser.add_argument("--recipe", default="unet-resnet18")
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--times", type=int, default=2)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    show(list(rows(options)), options.json)


if __name__ == "__main__":
    main()
