"""GeoPackage: one layer of all objects; every layer is read.

Source: OGC GeoPackage 1.3 as pyogrio writes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from qpkit.formats.format import Format
from qpkit.formats.shared.drawing import Choices, Drawing, ImageFacts
from qpkit.formats.shared.vector_files import (
    CANNOT_HOLD,
    LAYER,
    RULE,
    SOURCE,
    layers_of,
    read_whole,
    save_layer,
    write_whole,
)


def read(path: Path, image: ImageFacts, _: Choices) -> list[Drawing]:
    """Read all layers of a file as one drawing.

    Raises:
        MissingExtraError, FormatError, ProjectError: As for `read_whole`.
    """
    return read_whole(path, image, layers_of)


def write(path: Path, drawings: Sequence[Drawing], _: Choices) -> Counter[str]:
    """Write one image's objects; returns what was lost.

    Raises:
        MissingExtraError, OutputError: As for `write_whole`.
    """
    return write_whole(path, drawings, _save)


def _save(table: Any, path: Path) -> None:
    # Unknown and not promoted: one layer holds polygons, lines and points as they are.
    save_layer(table, path, layer=LAYER, driver="GPKG", promote_to_multi=False, geometry_type="Unknown")


FORMAT: Final = Format(
    name="gpkg",
    title="GeoPackage",
    order=90,
    suffixes=(".gpkg",),
    read=read,
    write=write,
    cannot_hold=CANNOT_HOLD,
    rule=RULE,
    source=SOURCE,
)
