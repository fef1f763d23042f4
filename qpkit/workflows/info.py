"""qpkit info: what a path holds, whatever it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import msgspec

from qpkit.core.annotation import Annotation
from qpkit.core.provenance import is_prediction
from qpkit.dataset import read_tile_set
from qpkit.dataset.manifest import INFO_NAME as TILES_INFO
from qpkit.dataset.manifest import TABLE_NAME
from qpkit.dataset.resplit import BACKUP_SUFFIX
from qpkit.dataset.stores.slides import exported_colors
from qpkit.errors import FormatError, ProjectError, QpkitError
from qpkit.files import RUN_NAME, is_gone
from qpkit.ops.vectors.areas import class_of, cover
from qpkit.predictions import read_predictions
from qpkit.predictions.store import INFO_NAME as PREDICTIONS_INFO
from qpkit.qupath import Entry, QpData, open_project, read_geojson
from qpkit.slides import AS_IN_FILE, EMBEDDED, Slide, open_slide
from qpkit.slides.icc import profile_name
from qpkit.slides.opening import is_zarr
from qpkit.slides.tiff_levels import pages_of_one_size
from qpkit.workflows.info_files import file_parts
from qpkit.workflows.inputs.paths import is_project
from qpkit.workflows.inputs.server_arguments import arguments_of

_BACKUPS: Final = (BACKUP_SUFFIX, ".backup", ".bkp")
"""Endings of qpkit's backups, and of QuPath's of projects and of data."""

_REPORTS: Final = (
    "evaluation.json", "import.json", "convert.json", "cross-validation.json", "ensemble.json", "simulate.json",
    "study.json", "compare.csv", "tiles.csv",
)  # fmt: skip
"""What tells about the other folders that qpkit writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """What a path holds. Values are numbers, texts, (width, height) in px, lists of texts, or dicts.

    Args:
        kind: "QuPath project", "slide", "QuPath data", "GeoJSON", "tiles", "run", "predictions", "report", "table",
            "settings", "weights", "shard" or "page".
        facts: Single values by name.
        rows: A table: one dict per entry, class, split ... with the same keys.
    """

    kind: str
    facts: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)


def describe(path: Path) -> Info:
    """Look at a project, slide, .qpdata, GeoJSON, tiles, run, predictions, or any file that qpkit writes.

    A backup is shown as what it is a backup of.

    Raises:
        ProjectError: Nothing is there.
        FormatError: It is none of these, or damaged.
    """
    if not path.exists():
        raise ProjectError(f"{path}: there is no such file or folder")
    if path.is_dir():
        return _project(path) if is_project(path) else _folder(path)
    ending = next((ending for ending in _BACKUPS if path.name.endswith(ending)), "")
    name = path.name.removesuffix(ending)
    info = _file(path, name)
    return replace(info, facts={**info.facts, "backup of": name}) if ending else info


def _file(path: Path, name: str) -> Info:
    """Look at a file as one that is called `name`."""
    plain = name.lower()
    if plain.endswith(".qpproj"):
        return _project(path)
    if plain.endswith(".qpdata"):
        return _qpdata(path)
    if name == path.name and name in _OF_FOLDERS:
        return _OF_FOLDERS[name](path.parent)
    if plain.endswith((".geojson", ".geojson.gz", ".json.gz")) or (plain.endswith(".json") and _has_features(path)):
        return _objects("GeoJSON", {"file": str(path)}, read_geojson(path))
    parts = file_parts(path, name)
    if parts is None:
        return _slide(path)
    kind, facts, rows = parts
    return Info(kind=kind, facts={"file": str(path), **facts}, rows=rows)


def _has_features(path: Path) -> bool:
    """Say whether JSON may be GeoJSON: a list, a feature or a collection of them, or too lenient for this look."""
    try:
        record = msgspec.json.decode(path.read_bytes())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return True
    return isinstance(record, list) or (isinstance(record, dict) and {"features", "geometry"} & record.keys() != set())


def _folder(path: Path) -> Info:
    for name, look in _OF_FOLDERS.items():
        if (path / name).is_file():
            return look(path)
    if any(path.glob("*.dcm")) or is_zarr(path):
        return _slide(path)
    reports = [name for name in _REPORTS if (path / name).is_file()]
    if reports:
        return _file(path / reports[0], reports[0])
    raise FormatError(f"{path}: no QuPath project, tiles, run, predictions, DICOM or OME-Zarr slide in this folder")


def _project(path: Path) -> Info:
    project = open_project(path)
    classes = [str(c) for c in project.classes]
    facts = {"file": str(project.path), "QuPath": project.version, "entries": len(project.entries), "classes": classes}
    return Info(kind="QuPath project", facts=facts, rows=[_entry(e) for e in project.entries])


def _entry(entry: Entry) -> dict[str, Any]:
    size = entry.image_size
    row: dict[str, Any] = {
        "id": entry.id,
        "name": entry.name,
        "px": size,
        "shown": _shown(entry),
        "colours": _colors(entry),
        "mpp": entry.mpp(),
        "metadata": dict(entry.metadata),
    }
    try:
        objects = entry.objects() if entry.has_data else []
        row |= {"objects": len(objects), "classes": _class_counts(objects)}
    except QpkitError as err:
        row |= {"objects": None, "classes": str(err)}
    try:
        row["image"] = str(entry.image_path())
    except QpkitError:
        row["image"] = "missing"
    return row


def _shown(entry: Entry) -> str:
    """How QuPath shows the image, the last step first; "-" for as it is."""
    types, server = [], entry.server
    while server.builder is not None:
        types.append(server.type)
        server = server.builder
    return ", ".join(types) or "-"


def _colors(entry: Entry) -> str:
    """In which colours QuPath shows the image, and what the file's own profile is called; "-" for as in the file."""
    colors = arguments_of(entry.server).colors
    if colors.icc != EMBEDDED:
        return "-" if colors == AS_IN_FILE else str(colors)
    try:
        with open_slide(entry.image_path(), series=arguments_of(entry.server).series or 0) as slide:
            return f"{colors} ({_profile(slide)})"
    except QpkitError:
        return str(colors)


def _profile(slide: Slide) -> str:
    """The ICC profile in the file of a slide: its name and size, "none", or what is wrong with it."""
    try:
        profile = slide.reader.icc_profile()
        return "none" if profile is None else f"{profile_name(profile)}, {len(profile):,} bytes"
    except FormatError as err:
        return str(err)


def _class_counts(objects: Sequence[Annotation]) -> dict[str, int]:
    return dict(sorted(Counter(map(class_of, objects)).items()))


def _qpdata(path: Path) -> Info:
    data = QpData.parse(path.read_bytes(), source=str(path))
    facts = {"file": str(path), "image type": data.image_type, "stains": data.stains, "workflow": len(data.workflow)}
    return _objects("QuPath data", facts, data.objects())


def _objects(kind: str, facts: dict[str, Any], objects: Sequence[Annotation]) -> Info:
    rows: list[dict[str, Any]] = []
    for type_ in sorted({o.kind for o in objects}):
        for name, own in sorted(cover([o for o in objects if o.kind == type_]).items()):
            row = {"type": type_, "class": name, "objects": own.objects, "area px2": round(own.area, 1)}
            rows.append(row | {"added up px2": round(own.total, 1) if own.overlaps else None})
    if not any(row["added up px2"] for row in rows):
        rows = [{key: value for key, value in row.items() if key != "added up px2"} for row in rows]
    predicted = sum(map(is_prediction, objects))
    return Info(kind=kind, facts=facts | {"objects": len(objects), "imported by qpkit": predicted}, rows=rows)


def _slide(path: Path) -> Info:
    with open_slide(path) as slide:
        info, reader, profile = slide.info, slide.reader.name, _profile(slide)
    pages = pages_of_one_size(path) if path.is_file() and info.size_z * info.size_t == 1 else 1
    return Info(
        kind="slide",
        facts={
            "file": str(path),
            "px": (info.width, info.height),
            "um/px": info.mpp,
            **({"um/px is": info.mpp_note} if info.mpp_note else {}),
            "magnification": info.magnification,
            "z planes": info.size_z,
            "time points": info.size_t,
            **({"pages": f"{pages} of one size, of which the first is read"} if pages > 1 else {}),
            "ICC profile": profile,
            "reader": reader,
        },
        rows=[{"level": i, "downsample": d} for i, d in enumerate(info.downsamples)],
    )


def _tiles(path: Path) -> Info:
    tiles = read_tile_set(path)
    rows = []
    for slide in dict.fromkeys(t.slide for t in tiles.tiles):
        own = [t for t in tiles.tiles if t.slide == slide]
        pixels = Counter[int]()
        for tile in own:
            pixels.update(tile.pixels)
        fractions = {tiles.labels.name_of(v): pixels[v] for v in tiles.labels.values}
        splits = "/".join(sorted({t.split for t in own}))
        rows.append({"slide": slide, "split": splits, "tiles": len(own)} | {f"px {n}": c for n, c in fractions.items()})
    mpp = None if tiles.mpp != tiles.mpp else tiles.mpp  # NaN
    facts = {"folder": str(path), "tiles": len(tiles.tiles), "tile px": tiles.tile_size, "um/px": mpp}
    colors = Counter(map(str, exported_colors(tiles.info).values()))
    facts |= {"colours": [f"{text}: {count}" for text, count in colors.items()]} if colors else {}
    return Info(kind="tiles", facts=facts, rows=rows)


def _predictions(path: Path) -> Info:
    found = read_predictions(path)
    rows = [
        {
            "slide": s.name,
            "px": (s.width, s.height),
            "downsample": s.downsample,
            "um/px": s.mpp,
            "labels": s.labels,
        }
        for s in found.slides
    ]
    classes = {c.name: c.value for c in found.label_map.classes}
    facts = {"folder": str(path), "run": found.run, "model": found.model, "labels": classes}
    return Info(kind="predictions", facts=facts, rows=rows)


def _run(path: Path) -> Info:
    try:
        run = msgspec.json.decode((path / RUN_NAME).read_bytes(), type=dict[str, Any])
    except msgspec.DecodeError as err:
        raise FormatError(f"{path / RUN_NAME}: damaged ({err})") from err
    facts = {"folder": str(path)} | {k: v for k, v in run.items() if not isinstance(v, dict | list)}
    if facts.get("status") == "running" and is_gone(str(facts.get("process", ""))):
        facts["status"] = "interrupted"
    if ((run.get("recipe") or {}).get("model") or {}).get("click_px"):
        facts["answers"] = "clicks: qpkit predict --prompts"
    rows = (run.get("metrics") or {}).get("classes", [])
    return Info(kind="run", facts=facts, rows=rows)


_OF_FOLDERS: Final[Mapping[str, Callable[[Path], Info]]] = MappingProxyType(
    {TILES_INFO: _tiles, TABLE_NAME: _tiles, PREDICTIONS_INFO: _predictions, RUN_NAME: _run}
)
"""Files that stand for the folder that they are in."""
