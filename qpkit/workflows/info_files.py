"""What is in the files that qpkit writes beside images: reports, tables, label maps, recipes, weights, pages."""

from __future__ import annotations

import re
import tarfile
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import msgspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from qpkit.errors import FormatError

Parts: TypeAlias = tuple[str, dict[str, Any], list[dict[str, Any]]]
"""The kind of a file, single values by name, and rows with the same keys."""


def file_parts(path: Path, name: str) -> Parts | None:
    """Look at a file of a kind that qpkit writes.

    Args:
        path: The file.
        name: What it is called; without the ending of a backup, which `path` may have.

    Returns:
        None where it is of no such kind.

    Raises:
        FormatError: Damaged.
    """
    read = _READERS.get(Path(name).suffix.lower())
    if read is None:
        return None
    try:
        return read(path)
    except (OSError, ValueError, KeyError, pa.ArrowException, tarfile.TarError) as err:
        raise FormatError(f"{path}: damaged, or not what its name says ({err})") from err


def record_facts(record: Mapping[str, Any]) -> dict[str, Any]:
    """Show a record of JSON or TOML in one line a key: values as they are, what is nested deeper as its size."""
    return {str(key): _shown(value) for key, value in record.items()}


def _shown(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: v if _is_plain(v) else f"({len(v)})" for key, v in value.items()}
    if isinstance(value, list):
        return [str(v) for v in value] if all(map(_is_plain, value)) else f"{len(value)} of them"
    return value


def _is_plain(value: Any) -> bool:
    return not isinstance(value, dict | list)


def _json(path: Path) -> Parts:
    record = msgspec.json.decode(path.read_bytes())
    return "report", record_facts(record if isinstance(record, dict) else {"values": record}), []


def _toml(path: Path) -> Parts:
    record = tomllib.loads(path.read_text(encoding="utf-8"))
    rows = record.pop("classes", None) or record.pop("class", [])
    plain = [{key: value for key, value in row.items() if _is_plain(value)} for row in rows if isinstance(row, dict)]
    columns = dict.fromkeys(key for row in plain for key in row)
    return "settings", record_facts(record), [{key: row.get(key) for key in columns} for row in plain]


def _csv(path: Path) -> Parts:
    return _table(pyarrow.csv.read_csv(path))


def _parquet(path: Path) -> Parts:
    return _table(pyarrow.parquet.read_table(path))


def _table(table: pa.Table) -> Parts:
    rows = [
        {
            "column": name,
            "type": str(column.type),
            "empty": column.null_count,
            "first": str(column[0].as_py()) if len(column) else None,
        }
        for name, column in zip(table.column_names, table.columns, strict=True)
    ]
    return "table", {"rows": table.num_rows, "columns": table.num_columns}, rows


def _weights(path: Path) -> Parts:
    """The header of a safetensors file: eight bytes of length, then JSON (huggingface/safetensors, Format)."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            raise ValueError("its header is longer than the file")
        header = msgspec.json.decode(file.read(length))
    said = header.pop("__metadata__", {})
    count = 0
    for tensor in header.values():
        size = 1
        for side in tensor["shape"]:
            size *= side
        count += size
    return "weights", {**said, "tensors": len(header), "values": count}, []


def _shard(path: Path) -> Parts:
    with tarfile.open(path) as tar:
        kinds = Counter(name.partition(".")[2] or "-" for name in tar.getnames())
    return "shard", {"files": kinds.total()}, [{"ending": name, "files": count} for name, count in kinds.items()]


def _page(path: Path) -> Parts:
    title = re.search(r"<title>(.*?)</title>", path.read_text(encoding="utf-8"), re.DOTALL)
    return "page", {"title": title[1] if title else None}, []


_READERS: Final[Mapping[str, Callable[[Path], Parts]]] = MappingProxyType(
    {
        ".json": _json,
        ".toml": _toml,
        ".csv": _csv,
        ".parquet": _parquet,
        ".safetensors": _weights,
        ".tar": _shard,
        ".html": _page,
    }
)
