"""What is known of the slides of a table: image files and patients from export.json, metadata from a project or CSV."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from qpkit.dataset import TileSet, read_tile_set
from qpkit.dataset.record import SPLITS
from qpkit.dataset.resplit import SPLIT_KEY
from qpkit.errors import ConfigError, FormatError
from qpkit.qupath import open_project
from qpkit.workflows.inputs.paths import is_project
from qpkit.workflows.project import read_metadata_table


def read_filled_table(root: Path) -> TileSet:
    """Open an export folder that has tiles, all with a split that qpkit knows.

    Raises:
        FormatError: It is damaged or empty, or a split has another name.
    """
    try:
        tiles = read_tile_set(root)
    except (KeyError, TypeError, OSError) as err:
        raise FormatError(f"{root}: export.json or tiles.parquet is damaged ({err!r}); export the tiles again") from err
    if not tiles.tiles:
        raise FormatError(f"{root}: the table has no tiles; export again, perhaps with --tissue none")
    others = sorted({str(t.split) for t in tiles.tiles} - set(SPLITS))
    if others:
        raise FormatError(f"{root}: split {others[0]!r} in the table is none of {', '.join(SPLITS)}")
    for name in ("slide", "group"):
        if not all(getattr(t, name) for t in tiles.tiles):
            raise FormatError(f"{root}: there is a tile without {name} in the table")
    return tiles


def images_of(tiles: TileSet) -> dict[str, str]:
    """What tells image files apart by slide, as far as export.json has it: hashes of pixels, or quick ones of files."""
    inputs = tiles.info.get("inputs")
    rows = [row for row in inputs if isinstance(row, dict)] if isinstance(inputs, list) else []
    return {
        str(row["name"]): str(row.get("pixels_sha256") or row["slide_quick_hash"])
        for row in rows
        if {"name", "slide_quick_hash"} <= row.keys()
    }


def exported_rule(tiles: TileSet) -> str:
    """By which rule the export split the tiles; "" if the table does not say it."""
    settings = tiles.info.get("settings")
    return str(settings.get("split", "")) if isinstance(settings, dict) else ""


def patients_of(tiles: TileSet) -> dict[str, str]:
    """Patients by slide, as far as an export or a split by patient has written them down."""
    found = record_of(tiles).get("patients")
    if isinstance(found, dict):
        return {str(slide): str(patient) for slide, patient in found.items()}
    return {t.slide: t.group for t in tiles.tiles} if exported_rule(tiles).startswith("patient:") else {}


def patient_key(tiles: TileSet) -> str:
    """The metadata key that `patients_of` comes from, or ""."""
    rule = exported_rule(tiles)
    return str(record_of(tiles).get("patient_key", "")) or rule.partition("patient:")[2]


def context_of(tiles: TileSet) -> tuple[int, ...]:
    """How many times their surroundings the tiles show: (1,) without context."""
    return tuple(int(layer.partition("_x")[2] or 1) for layer in tiles.layers if layer.startswith("image"))


def record_of(tiles: TileSet) -> Mapping[str, object]:
    """What the last `qpkit split` wrote into export.json; empty if there was none."""
    record = tiles.info.get(SPLIT_KEY)
    return record if isinstance(record, dict) else {}


def metadata_of(tiles: TileSet, source: Path | None) -> dict[str, dict[str, str]]:
    """Metadata of every slide of a table.

    Args:
        tiles: The table.
        source: A QuPath project, or a CSV whose first column names slides or entry ids; None for what the
            export has written down of the project's entries.

    Raises:
        ConfigError: A slide is not in it.
        FormatError, ProjectError: It cannot be read.
    """
    slides = {t.slide: t.entry for t in tiles.tiles}
    if source is None:
        told = {str(row["name"]): dict(row.get("metadata") or {}) for row in tiles.info.get("slides", [])}
        return {slide: told.get(slide, {}) for slide in slides}
    known = _project_metadata(source) if is_project(source) else _csv_metadata(source)
    missing = [slide for slide, entry in slides.items() if slide not in known and entry not in known]
    if missing:
        raise ConfigError(f"{source}: nothing about slide {missing[0]!r} ({len(missing)} of {len(slides)} are missing)")
    return {slide: known[slide] if slide in known else known[entry] for slide, entry in slides.items()}


def _project_metadata(source: Path) -> dict[str, dict[str, str]]:
    """By entry id and by name; a name that two entries have says nothing."""
    entries = open_project(source).entries
    names = [entry.name for entry in entries]
    found = {str(entry.id): dict(entry.metadata) for entry in entries}
    return found | {entry.name: dict(entry.metadata) for entry in entries if names.count(entry.name) == 1}


def _csv_metadata(source: Path) -> dict[str, dict[str, str]]:
    table = read_metadata_table(source)
    return {name: {key: value for key, value in row.items() if value} for name, row in table.items()}
