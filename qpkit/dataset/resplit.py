"""Give a table of tiles other splits: in place with a backup, or as a second table about the same files."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from qpkit.dataset.manifest import INFO_NAME, TABLE_NAME, TileSet
from qpkit.dataset.record import Split
from qpkit.errors import ConfigError, OutputError
from qpkit.files import new_folder, pretty_json, replace_file

BACKUP_SUFFIX: Final = ".qpkit-backup"
SPLIT_KEY: Final = "split"
"""Where export.json says by which rule the table was split last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSplit:
    """New columns, one value per tile in the table's order.

    Args:
        splits: "train", "val" or "test".
        groups: What was kept together.
        folds: 1 .. k, or None for a split without folds; a column that an earlier split left goes.
        record: What export.json shall say about it.
    """

    splits: Sequence[Split]
    groups: Sequence[str]
    folds: Sequence[int] | None
    record: Mapping[str, Any]


def resplit_in_place(tiles: TileSet, new: NewSplit) -> Path:
    """Replace tiles.parquet and export.json; the first ones that are replaced stay beside them.

    Columns that qpkit does not know stay.

    Returns:
        The backup of the table.

    Raises:
        OutputError: The folder cannot be written; the table is as it was before.
    """
    files = [tiles.root / TABLE_NAME, tiles.root / INFO_NAME]
    before = [file.read_bytes() for file in files]
    after = [_parquet(_table(tiles, new)), _info(tiles, new)]
    backups = [file.with_name(file.name + BACKUP_SUFFIX) for file in files]
    if not backups[0].exists():
        for backup, content in zip(backups, before, strict=True):
            replace_file(backup, content)
    replace_file(files[0], after[0])
    try:
        replace_file(files[1], after[1])
    # Table and export.json have to say the same.
    except OutputError:
        replace_file(files[0], before[0])
        raise
    return backups[0]


def resplit_beside(tiles: TileSet, new: NewSplit, out: Path, *, overwrite: bool = False) -> None:
    """Write a folder with a table of its own whose paths lead to the images and masks that are there already.

    Args:
        tiles: Where from.
        new: The columns.
        out: Folder to make.
        overwrite: Replace a folder that this function wrote; never one with images in it.

    Raises:
        ConfigError: No relative path leads from `out` to the tiles (another drive).
        OutputError: `out` holds something else, or cannot be written.
    """
    if overwrite and out.is_dir() and {p.name for p in out.iterdir()} - {TABLE_NAME, INFO_NAME}:
        raise OutputError(f"{out}: holds more than a table that qpkit split wrote; choose another folder")
    table = _table(tiles, new)
    try:
        table, info = _led_back(table, tiles, out.resolve())
    except ValueError as err:
        raise ConfigError(f"{out}: no relative path leads to the tiles in {tiles.root} ({err})") from err
    with new_folder(out, marker=INFO_NAME, overwrite=overwrite) as folder:
        (folder / TABLE_NAME).write_bytes(_parquet(table))
        (folder / INFO_NAME).write_bytes(_info(tiles, new, info))


def _led_back(table: pa.Table, tiles: TileSet, out: Path) -> tuple[pa.Table, dict[str, Any]]:
    """Let the paths of a table and of its export.json lead from `out` to the files in the old folder."""
    root = tiles.root.resolve()
    for name in ["shard"] if "shard" in table.column_names else tiles.layers:
        paths = [path and path_from(out, root / path) for path in table[name].to_pylist()]
        table = _with_column(table, name, pa.array(paths, pa.string()))
    return table, slides_from(out, tiles)


def slides_from(out: Path, tiles: TileSet) -> dict[str, Any]:
    """The "slides" of export.json with paths that lead from `out` (resolved); nothing where there are none.

    Raises:
        ValueError: No relative path leads there (another drive).
    """
    root = tiles.root.resolve()
    slides = [
        {**row, **{key: path_from(out, root / row[key]) for key in ("annotations", "beside") if row.get(key)}}
        for row in tiles.info.get("slides", [])
    ]
    return {"slides": slides} if slides else {}


def path_from(folder: Path, file: Path) -> str:
    """The path that leads from a folder to a file, '/' between parts; both resolved; ValueError as `slides_from`."""
    return Path(os.path.relpath(file, folder)).as_posix()


def _table(tiles: TileSet, new: NewSplit) -> pa.Table:
    table = pq.read_table(tiles.root / TABLE_NAME)
    table = _with_column(table, "split", pa.array(new.splits, pa.string()))
    table = _with_column(table, "group", pa.array(new.groups, pa.string()))
    if new.folds is not None:
        return _with_column(table, "fold", pa.array(new.folds, pa.int32()))
    return table.drop_columns(["fold"]) if "fold" in table.column_names else table


def _with_column(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    if name in table.column_names:
        return table.set_column(table.column_names.index(name), name, values)
    return table.append_column(name, values)


def _parquet(table: pa.Table) -> bytes:
    content = io.BytesIO()
    pq.write_table(table, content)
    return content.getvalue()


def _info(tiles: TileSet, new: NewSplit, changed: Mapping[str, Any] = MappingProxyType({})) -> bytes:
    return pretty_json({**tiles.info, **changed, SPLIT_KEY: dict(new.record)}) + b"\n"
