"""How fast GeoJSON of many nuclei is written and read, and in how much memory, against json and geopandas.

python benchmarks/geojson.py --json FILE [--features N]

Each measurement runs in a process of its own, so that its peak memory is its own. All write the same objects: outlines
of 31 points with two decimals, an id, a class with a colour and two measurements. The rivals do what their users do:
json builds dicts with shapely's mapping() and dumps them, loads the whole file and makes shapes with shape();
geopandas writes and reads a GeoDataFrame through pyogrio, the class as text, one column for each measurement. Neither
checks validity, which qpkit does in the same time.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from qpkit.core.annotation import Annotation, PathClass, argb
from qpkit.qupath.geojson import iter_geojson, read_geojson, write_geojson
from qpkit.workflows.doctor_geojson import diagnose_geojson

LUNA_FEATURES = 725_000
"""The size of the file in luna's issue 390, which took json 120 s to write and others up to 340 s."""

WRITE_GOAL_S, READ_GOAL_S = 20.0, 40.0
CLASSES = [PathClass((name,), argb(200, 10 * index, 0)) for index, name in enumerate(("Tumor", "Stroma", "Immune"))]
_BATCH = 1000


def nuclei(count: int, seed: int = 7) -> Iterator[Annotation]:
    """Make nuclei: wobbly circles on a large slide."""
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
                kind="detection",
                id=str(uuid.UUID(int=(seed << 96) + index)),
                path_class=CLASSES[index % 3],
                measurements={"Area px^2": round(polygon.area, 2), "Probability": index % 100 / 100},
            )


def _properties(item: Annotation) -> dict[str, Any]:
    assert item.path_class is not None
    return {
        "objectType": item.kind,
        "classification": {"name": str(item.path_class), "color": item.path_class.rgb},
        "measurements": dict(item.measurements),
    }


def _write_json(file: Path, objects: list[Annotation]) -> None:
    features = [
        {
            "type": "Feature",
            "id": item.id,
            "geometry": shapely.geometry.mapping(item.geometry),
            "properties": properties,
        }
        for item, properties in ((item, _properties(item)) for item in objects)
    ]
    with file.open("w") as out:
        json.dump({"type": "FeatureCollection", "features": features}, out)


def _read_json(file: Path) -> int:
    with file.open() as text:
        features = json.load(text)["features"]
    return len([(shapely.geometry.shape(item["geometry"]), item["properties"]) for item in features])


def _write_geopandas(file: Path, objects: list[Annotation]) -> None:
    import geopandas

    columns = {
        "id": [item.id for item in objects],
        "objectType": [item.kind for item in objects],
        "classification": [item.class_name for item in objects],
        **{name: [item.measurements[name] for item in objects] for name in objects[0].measurements},
    }
    frame = geopandas.GeoDataFrame(columns, geometry=[item.geometry for item in objects])
    frame.to_file(file, driver="GeoJSON", engine="pyogrio")


def _read_geopandas(file: Path) -> int:
    import geopandas

    return len(geopandas.read_file(file, engine="pyogrio"))


def measure(name: str, folder: Path, count: int) -> dict[str, float]:
    """Run one measurement in this process; what is prepared for it is not timed."""
    file = folder / f"qpkit.geojson{'.gz' if 'gz' in name else ''}"
    work: Callable[[], object]
    if name.startswith("write") and "stream" not in name:
        objects = list(nuclei(count))
        writers = {"json": _write_json, "geopandas": _write_geopandas}
        rival = writers.get(name.removeprefix("write "))
        target = folder / f"{name.removeprefix('write ')}.geojson"
        work = (lambda: rival(target, objects)) if rival else (lambda: write_geojson(file, objects))
    else:
        work = {
            "write stream": lambda: write_geojson(file, nuclei(count)),
            "read": lambda: len(read_geojson(file)),
            "read gz": lambda: len(read_geojson(file)),
            "read stream": lambda: sum(1 for _ in iter_geojson(file)),
            "read json": lambda: _read_json(file),
            "read geopandas": lambda: _read_geopandas(file),
            "doctor": lambda: diagnose_geojson(file),
        }[name]
    before = time.perf_counter()
    work()
    seconds = time.perf_counter() - before
    return {"seconds": seconds, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def run(name: str, folder: Path, count: int) -> dict[str, float]:
    """Run one measurement in a process of its own."""
    command = [sys.executable, __file__, "--one", name, "--folder", str(folder), "--features", str(count)]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(found.stdout.splitlines()[-1])
    print(f"{name:16} {result['seconds']:8.1f} s {result['peak_mb']:8.0f} MB", flush=True)
    return result


def rows(found: dict[str, dict[str, float]], count: int) -> list[dict[str, Any]]:
    """Compare: ratio > 1 means that qpkit is better."""
    made: list[dict[str, Any]] = []
    goals = {"write": WRITE_GOAL_S, "read": READ_GOAL_S}
    for verb, goal in goals.items():
        seconds = found[verb]["seconds"]
        made.append(_row(f"{verb} {count:,} features", seconds, "s", "", None, goal * count / LUNA_FEATURES))
        for rival in ("json", "geopandas"):
            ratio = found[f"{verb} {rival}"]["seconds"] / seconds
            made.append(_row(f"{verb} speed", count / seconds, "features/s", rival, ratio, None))
            ratio = found[f"{verb} {rival}"]["peak_mb"] / found[f"{verb} stream"]["peak_mb"]
            made.append(
                _row(f"{verb} streamed, peak memory", found[f"{verb} stream"]["peak_mb"], "MB", rival, ratio, None)
            )
        made.append(_row(f"{verb} .gz", found[f"{verb} gz"]["seconds"], "s", "", None, None))
    made.append(_row("doctor", found["doctor"]["seconds"], "s", "", None, None))
    return made


def _row(name: str, value: float, unit: str, against: str, ratio: float | None, goal: float | None) -> dict[str, Any]:
    short = None if ratio is None else round(ratio, 2)
    return {"name": name, "value": round(value, 2), "unit": unit, "against": against, "ratio": short, "goal": goal}


def main() -> None:
    """Parse, run all measurements, print the table, write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="file for the rows")
    parser.add_argument("--features", type=int, default=LUNA_FEATURES)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.folder, options.features)))
        return
    names = ["write", "write stream", "write gz", "write json", "write geopandas"]
    names += ["read", "read stream", "read gz", "read json", "read geopandas", "doctor"]
    with tempfile.TemporaryDirectory() as folder:
        found = {name: run(name, Path(folder), options.features) for name in names}
    made = rows(found, options.features)
    for row in made:
        ratio = f"{row['ratio']:6.2f} x {row['against']}" if row["ratio"] is not None else ""
        goal = f"goal < {row['goal']:.1f}" if row["goal"] is not None else ""
        print(f"{row['name']:34} {row['value']:14,.2f} {row['unit']:10} {ratio} {goal}")
    if options.json:
        options.json.write_text(json.dumps({"rows": made}, indent=1) + "\n")


if __name__ == "__main__":
    main()
