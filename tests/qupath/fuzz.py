"""Damage files at random and read them: a FormatError or a reading, no other error, no hang, bounded memory.

    python tests/qupath/fuzz.py SHARED --mutations 100000 --seed 1

prints what happened. The tests run a short one.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import random
import shutil
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import shapely

from qpkit.core.annotation import Annotation
from qpkit.errors import FormatError, ProjectError, QpkitError
from qpkit.qupath import QpData, open_project, read_geojson

LARGEST = 60_000
"""Bytes; larger fixtures are left out, so that the damage is dense."""

SLOW_S = 5.0
"""A reading of such a small file that takes longer counts as a hang."""

OVERHEAD = 4 << 20
"""Bytes that reading may take beside ten times the file: tables of constant size, caches, messages."""

EVERY = 25
"""One reading in so many is measured for memory (tracing makes it several times slower)."""


@dataclass
class Outcome:
    """What came out of many readings."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    worst_memory: float = 0.0
    seconds: float = 0.0

    def lines(self) -> Iterator[str]:
        for name, count in sorted(self.counts.items()):
            yield f"{name}: {count:,}"
        yield f"slowest reading: {self.slowest_s:.2f} s"
        yield f"most memory, less {OVERHEAD >> 20} MiB: {self.worst_memory:.1f} x the file"
        yield f"{self.seconds:.0f} s in all, {len(self.faults)} faults"


LENGTHS = (b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\0\x0f\xff\xff", b"1e99", b"null")


def damaged(content: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """Change bytes, cut, repeat, take pieces of another file, write lengths and counts that are too large."""
    made = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        at, size = rng.randrange(len(made) + 1), rng.randint(1, 40)
        kind = rng.choice([0, 1, 1, 1, 1, 2, 3, 4, 5, 6])
        if kind == 0:
            made[at : at + 1] = bytes([rng.choice([0, 0x70, 0x71, 0x73, 0x78, 0x7F, 0xFF, 34, 91, 123])])
        elif kind == 1:
            made[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 2:
            del made[at : at + size]
        elif kind == 3:
            made[at:at] = made[at : at + size]
        elif kind == 4:
            other = rng.choice(others)
            start = rng.randrange(len(other))
            made[at : at + size] = other[start : start + size]
        elif kind == 5:
            made[at : at + 4] = rng.choice(
                [b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\0\x0f\xff\xff", b"1e99", b"null"]
            )
        else:
            del made[rng.randrange(len(made) + 1) :]
        if not made:
            made = bytearray(b"\0")
    return bytes(made)


STRANGE = (None, [], {}, "", "text", True, -1, 0, 1e308, 10**30, [[]], [None], {"a": None}, "NaN", [[[[]]]], "\ud800")
"""What stands in the place of a JSON value."""


def twisted(content: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """Change a JSON file in its values, so that it stays JSON; half of the time in its bytes instead."""
    try:
        document = json.loads(content)
    except ValueError:
        document = None
    if not isinstance(document, dict | list) or not document or rng.random() < 0.4:
        return damaged(content, rng, others)
    for _ in range(rng.choice([1, 1, 2, 5])):
        node: Any = document
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = rng.choice(keys)
            inner = node[key]
            if isinstance(inner, dict | list) and inner and rng.random() < 0.85:
                node = inner
                continue
            if rng.random() < 0.2:
                del node[key]
            elif rng.random() < 0.1 and isinstance(node, list):
                node.extend(copy.deepcopy(node))
            elif isinstance(inner, float | int) and rng.random() < 0.5:
                node[key] = inner * rng.choice([-1, 0, 1e-9, 1e12, 2])
            else:
                node[key] = copy.deepcopy(rng.choice(STRANGE))
            break
    return json.dumps(document).encode()


def read_qpdata(content: bytes) -> None:
    """Read everything that a .qpdata can show, edit it, and read it again."""
    data = QpData.parse(content, source="x.qpdata")
    _ = data.properties, data.workflow, data.stains, data.server, data.tma_grid, data.image_type
    data.set_property("k", "v")
    data.add([Annotation(geometry=shapely.box(0, 0, 5, 5))])
    data.remove([0] if data.objects()[0].kind != "tma_core" else [])


class _Reader:
    """Reads damaged files of one kind; those that are read from disk are written to one place first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def geojson(self, content: bytes) -> None:
        file = self.folder / "x.geojson"
        file.write_bytes(content)
        read_geojson(file)

    def project(self, content: bytes) -> None:
        file = self.folder / "project.qpproj"
        file.write_bytes(content)
        for entry in open_project(file).entries:
            _ = entry.image_size, entry.image_name, entry.mpp(), entry.has_data
            try:
                entry.image_path()
            except (ProjectError, FormatError):
                continue


def run(shared: Path, *, mutations: int, seed: int) -> Outcome:
    """Read `mutations` damaged files: half .qpdata, a quarter project files, a quarter GeoJSON."""
    outcome, rng = Outcome(), random.Random(seed)
    start = time.perf_counter()
    folder = Path(tempfile.mkdtemp())
    try:
        kinds = _kinds(shared, _Reader(folder))
        for number in range(mutations):
            name, files, read = kinds[("qpdata", "project", "qpdata", "geojson")[number % 4]]
            content = (damaged if name == "qpdata" else twisted)(rng.choice(files), rng, files)
            _one(f"{name} {seed}/{number}", name, content, read, outcome, traced=number % EVERY == 0)
    finally:
        shutil.rmtree(folder)
    outcome.seconds = time.perf_counter() - start
    return outcome


def _kinds(shared: Path, reader: _Reader) -> dict[str, tuple[str, list[bytes], Callable[[bytes], None]]]:
    base = shared / "fixtures/qupath"

    def small(pattern: str) -> list[bytes]:
        found = [path.read_bytes() for path in sorted(base.glob(pattern)) if 0 < path.stat().st_size <= LARGEST]
        assert found, pattern
        return found

    return {
        "qpdata": ("qpdata", small("v*/project/data/*/data.qpdata"), read_qpdata),
        "project": ("project", small("v*/project/project.qpproj"), reader.project),
        "geojson": ("geojson", small("geojson/in/*.geojson"), reader.geojson),
    }


def _one(
    label: str, kind: str, content: bytes, read: Callable[[bytes], None], outcome: Outcome, *, traced: bool
) -> None:
    if traced:
        tracemalloc.start()
    start = time.perf_counter()
    try:
        read(content)
        outcome.counts[f"{kind} read"] += 1
    except QpkitError as err:
        outcome.counts[f"{kind} refused"] += 1
        if "\n" in str(err).strip():
            outcome.faults.append(f"{label}: more than one line: {err}")
    except Exception as err:  # noqa: BLE001  # whatever it is, it is a fault
        outcome.faults.append(f"{label}: {type(err).__name__}: {err}")
    seconds = time.perf_counter() - start
    if traced:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        factor = max(0, peak - OVERHEAD) / len(content)
        outcome.worst_memory = max(outcome.worst_memory, factor)
        if factor > 10:
            outcome.faults.append(f"{label}: {peak:,} bytes of memory for {len(content):,}")
    else:
        outcome.slowest_s = max(outcome.slowest_s, seconds)
        if seconds > SLOW_S:
            outcome.faults.append(f"{label}: {seconds:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--mutations", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    outcome = run(args.shared, mutations=args.mutations, seed=args.seed)
    sys.stdout.write("\n".join([*outcome.lines(), *outcome.faults[:50]]) + "\n")
    if args.json:
        args.json.write_text(json.dumps({"counts": outcome.counts, "faults": outcome.faults}))
    sys.exit(bool(outcome.faults))


if __name__ == "__main__":
    main()
