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
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import shapely
from measuring import Result, Row, alone, nuclei, row, show, timed

from qpkit.core.annotation import Annotation
from qpkit.qupath.geojson.reader import iter_geojson, read_geojson, write_geojson
from qpkit.workflows.doctor.geojson import diagnose_geojson

LUNA_FEATURES = 725_000
"""The size of the file in luna's issue 390, which took json 120 s to write and others up to 340 s."""

WRITE_GOAL_S, READ_GOAL_S = 20.0, 40.0


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


def measure(name: str, folder: Path, count: int) -> Result:
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
    return timed(work)


def rows(found: dict[str, Result], count: int) -> list[Row]:
    """Compare: ratio > 1 means that qpkit is better."""
    made: list[Row] = []
    goals = {"write": WRITE_GOAL_S, "read": READ_GOAL_S}
    for verb, goal in goals.items():
        seconds, streamed = found[verb]["seconds"], found[f"{verb} stream"]["peak_mb"]
        made.append(row(f"{verb} {count:,} features", seconds, "s", goal=f"< {goal * count / LUNA_FEATURES:.1f}"))
        for rival in ("json", "geopandas"):
            theirs = found[f"{verb} {rival}"]
            speed = count / seconds
            made.append(row(f"{verb} speed", speed, "features/s", against=rival, ratio=theirs["seconds"] / seconds))
            ratio = theirs["peak_mb"] / streamed
            made.append(row(f"{verb} streamed, peak memory", streamed, "MB", against=rival, ratio=ratio))
        made.append(row(f"{verb} .gz", found[f"{verb} gz"]["seconds"], "s"))
    made.append(row("doctor", found["doctor"]["seconds"], "s"))
    return made


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
        arguments = ("--folder", folder, "--features", str(options.features))
        found = {name: alone(__file__, name, *arguments) for name in names}
    show(rows(found, options.features), options.json)


if __name__ == "__main__":
    main()
