"""How fast .qpdata files are read, written and edited, and in how much memory.

python benchmarks/qpdata.py --json FILE [--objects N] [--fixture data.qpdata.gz]

The fixture is the file of 20,000 detections that QuPath 0.5.1 wrote; the generated file has N detections of 31 points
with an id, a class and two measurements. QuPath itself reads about 100,000 objects/s (its own figure, on its own
machine). The rival in the same run is the plain Python reader that the tests keep as a witness: it makes a tree of
every value and stops there, while qpkit's figure includes the shapes and measurements of all objects. The very first
run compiles for some seconds; that is not timed. Each measurement runs in a process of its own; of reading, the best of
three is taken, because the first one also waits for the system to hand out the memory.
"""

from __future__ import annotations

import argparse
import gc
import gzip
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from measuring import Result, Row, alone, nuclei, row, show, timed

from qpkit.core.annotation import Annotation
from qpkit.memory import gc_paused
from qpkit.qupath import QpData, new_qpdata
from qpkit.qupath.java.emitter import Emitter
from qpkit.qupath.qpdata.java_classes import Vocabulary
from qpkit.qupath.qpdata.object_writer import ObjectWriter

ROOT = Path(__file__).resolve().parents[1]
FIXTURE = ROOT.parent / "shared/fixtures/qupath/v0.5.1/many/data.qpdata.gz"
GOAL = 100_000


def content(file: Path) -> bytes:
    """Bytes of a file that may be compressed."""
    data = file.read_bytes()
    return gzip.decompress(data) if file.suffix == ".gz" else data


def read_tree(data: bytes) -> None:
    """Read with the tests' reader."""
    sys.path.insert(0, str(ROOT / "tests/qupath"))
    from javatree_reader import parse

    gc.disable()
    parse(data, until="EOF")


def measure(name: str, file: Path, count: int) -> Result:
    """Run one measurement in this process; what is prepared for it is not timed."""
    if name == "make":
        file.write_bytes(new_qpdata(image_type="OTHER", objects=list(nuclei(count))).to_bytes())
        return {"seconds": 0.0, "peak_mb": 0.0}
    QpData.parse(new_qpdata(image_type="OTHER", objects=list(nuclei(3500))).to_bytes(), source="warm-up")
    data = content(file)
    if name == "read":
        return timed(lambda: QpData.parse(data, source="x").objects(), times=3)
    if name == "read, tree reader":
        return timed(lambda: read_tree(data), times=3)
    before = QpData.parse(data, source="x")
    if name == "remove":
        last = len(before.objects()) - 1
        return timed(lambda: before.remove([last]))
    objects = before.objects()
    if name == "write":
        return timed(lambda: write(objects))
    empty = new_qpdata(image_type="OTHER")
    return timed(lambda: empty.add(objects))


def write(objects: Sequence[Annotation]) -> bytes:
    """Write objects as a stream, without reading it back."""
    with gc_paused(300 * len(objects)):
        emitter = Emitter()
        ObjectWriter(Vocabulary(emitter)).write_all(objects)
        return emitter.content()


def rows(found: dict[str, Result], sizes: dict[str, tuple[int, float]]) -> list[Row]:
    """Objects per second, memory as a multiple of the file."""
    made = []
    for title, (count, megabytes) in sizes.items():
        read, add = found[f"{title} read"], found[f"{title} write, read back"]
        tree = found[f"{title} read, tree reader"]
        made += [
            row(f"read {title}", count / read["seconds"], "objects/s", goal=f">= {GOAL:,}"),
            row(
                f"read {title}",
                count / read["seconds"],
                "objects/s",
                against="tree reader",
                ratio=tree["seconds"] / read["seconds"],
            ),
            row(
                f"read {title}, memory",
                read["peak_mb"],
                "MB",
                against="tree reader",
                ratio=tree["peak_mb"] / read["peak_mb"],
            ),
            row(f"{title}, file", megabytes, "MB"),
            row(
                f"write {title}",
                count / found[f"{title} write"]["seconds"],
                "objects/s",
                goal=f">= {GOAL:,}",
            ),
            row(f"write {title}, read back", count / add["seconds"], "objects/s"),
            row(f"write {title}, memory", add["peak_mb"], "MB"),
            row(f"remove one of {title}, read back", found[f"{title} remove"]["seconds"], "s"),
        ]
    return made


def main() -> None:
    """Parse, run all measurements, print the table, write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="file for the rows")
    parser.add_argument("--objects", type=int, default=500_000)
    parser.add_argument("--fixture", type=Path, default=FIXTURE)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.file, options.objects)))
        return
    with tempfile.TemporaryDirectory() as folder:
        made_up = Path(folder) / "made-up.qpdata"
        alone(__file__, "make", "--file", str(made_up), "--objects", str(options.objects))
        files = {f"{options.objects:,} objects": made_up}
        if options.fixture.exists():
            files = {"QuPath's 20,000": options.fixture, **files}
        found, sizes = {}, {}
        for title, file in files.items():
            sizes[title] = (options.objects if file == made_up else 20_001, len(content(file)) / 1e6)
            for name in ("read", "read, tree reader", "write", "write, read back", "remove"):
                found[f"{title} {name}"] = alone(__file__, name, "--file", str(file), "--objects", str(options.objects))
    show(rows(found, sizes), options.json)


if __name__ == "__main__":
    main()
