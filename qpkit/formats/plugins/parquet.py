"""GeoParquet: one table of all objects.

Source: GeoParquet 1.1 as geopandas writes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from qpkit.formats.format import Format
from qpkit.formats.shared.drawing import Choices, Drawing, ImageFacts
from qpkit.formats.shared.fields import Fields, UnreadJson
from qpkit.formats.shared.vector_files import (
    CANNOT_HOLD,
    RULE,
    SOURCE,
    Layer,
    geopandas_and_pyogrio,
    read_whole,
    write_whole,
)

_FIELDS: Final = Fields(read={}, idle={"file": "geo pandas ARROW:schema"})
"""Of what describes the file: how its table is to be read."""


def read(path: Path, image: ImageFacts, _: Choices) -> list[Drawing]:
    """Read a table.

    Raises:
        MissingExtraError, FormatError, ProjectError: As for `read_whole`.
    """
    return read_whole(path, image, _load)


def _load(path: Path, notes: Counter[str]) -> list[Layer]:
    geopandas, _ = geopandas_and_pyogrio()
    import pyarrow.parquet as pq

    table = geopandas.read_parquet(path)
    unread = UnreadJson(_FIELDS)
    unread.look("file", [{key.decode(errors="replace"): 1 for key in pq.read_metadata(path).metadata or {}}])
    notes.update(unread.notes())
    return [(None, table)]


def write(path: Path, drawings: Sequence[Drawing], _: Choices) -> Counter[str]:
    """Write one image's objects; returns what was lost.

    Raises:
        MissingExtraError, OutputError: As for `write_whole`.
    """
    return write_whole(path, drawings, _save)


def _save(table: Any, path: Path) -> None:
    table.to_parquet(path)


FORMAT: Final = Format(
    name="parquet",
    title="GeoParquet",
    order=100,
    suffixes=(".parquet", ".geoparquet"),
    read=read,
    write=write,
    cannot_hold=CANNOT_HOLD,
    rule=RULE,
    source=SOURCE,
)
