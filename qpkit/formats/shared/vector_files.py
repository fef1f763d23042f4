"""What GeoPackage, GeoParquet and Shapefile share: tables of geopandas <-> annotations, px of level 0, y down, no
coordinate system.
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import shapely
from shapely.geometry.base import BaseGeometry

from qpkit.core.annotation import Annotation
from qpkit.errors import FormatError, OutputError, ProjectError
from qpkit.extras import extra
from qpkit.formats.shared.cannot_hold import cannot_hold, count_losses
from qpkit.formats.shared.drawing import Drawing, ImageFacts
from qpkit.formats.shared.fields import Fields, UnreadJson
from qpkit.formats.shared.other_values import free_key
from qpkit.formats.shared.table_rows import OWN, columns_of, foreign_object, object_of

CANNOT_HOLD: Final = cannot_hold("no shape", "odd class name", "opacity", "control characters")
"""Of GeoPackage and GeoParquet."""

RULE: Final = (
    "a column for each measurement; other programs' tables: numbers are measurements, texts metadata, the class is the "
    "column class, label, category ... or, of several layers, the layer; else the name of the layer is metadata. A "
    "coordinate system is ignored and noted."
)
"""For the documentation: of GeoPackage and GeoParquet."""

SOURCE: Final = "`pip install 'qpkit[vector]'`"

EMPTY: Final = "rows without a shape left out"
NOT_SPATIAL: Final = "tables without shapes left out"
HEIGHTS: Final = "heights (z coordinates) of shapes left out"
CRS: Final = "coordinate systems ignored, coordinates read as px"

LAYER: Final = "annotations"
"""What the layer of a file that we wrote is called."""

FIELDS: Final = Fields(read={}, idle={"layer": "DBF_DATE_LAST_UPDATE"})
"""Of what describes a file and its layers; the columns are all read."""

Layer = tuple[str | None, Any]
"""A geopandas.GeoDataFrame and the name of its layer, None where layers have no names."""


def geopandas_and_pyogrio() -> tuple[Any, Any]:
    """Import both.

    Raises:
        MissingExtraError: They are not installed.
    """
    with extra("vector", why="GeoPackage, GeoParquet and Shapefile need it"):
        import geopandas
        import pyogrio
    return geopandas, pyogrio


def layers_of(path: Path, notes: Counter[str]) -> list[Layer]:
    """Read the layers of a file that GDAL knows; tables without shapes and descriptions are left out and counted."""
    _, pyogrio = geopandas_and_pyogrio()
    layers = pyogrio.list_layers(path)
    spatial = [name for name, kind in layers.tolist() if kind is not None]
    notes[NOT_SPATIAL] += len(layers) - len(spatial)
    infos = [pyogrio.read_info(path, layer=name) for name in spatial]
    unread = UnreadJson(FIELDS)
    unread.look("file", [info["dataset_metadata"] or {} for info in infos[:1]])
    unread.look("layer", [info["layer_metadata"] or {} for info in infos])
    notes.update(unread.notes())
    return [(name, pyogrio.read_dataframe(path, layer=name)) for name in spatial]


def read_objects(
    path: Path, load: Callable[[Path, Counter[str]], Iterable[Layer]], notes: Counter[str]
) -> list[Annotation]:
    """Read the objects of all layers of a file.

    Args:
        path: The file.
        load: (path, notes) -> its layers.
        notes: Counts what was left out or ignored.

    Raises:
        MissingExtraError: geopandas is not installed.
        FormatError: The file cannot be read, or its shapes have no finite coordinates.
        ProjectError: There is no such file.
    """
    if not path.exists():
        raise ProjectError(f"{path}: there is no such file")
    geopandas_and_pyogrio()
    try:
        layers = list(load(path, notes))
    except Exception as err:  # pyogrio, pyarrow and geopandas each have their own tree of errors
        raise FormatError(f"{path}: cannot be read ({' '.join(str(err).split())})") from err
    several = len(layers) > 1
    return [item for name, table in layers for item in _objects(table, name, path, notes, is_class=several)]


def _objects(table: Any, layer: str | None, path: Path, notes: Counter[str], *, is_class: bool) -> list[Annotation]:
    notes[CRS] += table.crs is not None and "undefined" not in str(table.crs.name).lower()
    is_own = set(OWN) <= set(table.columns)
    geometries = table.geometry.to_list()
    names = [name for name in table.columns if name != table.geometry.name]
    columns = [[_plain(value) for value in table[name].to_list()] for name in names]
    kept: dict[int, int] = {}
    objects: list[Annotation] = []
    for index, geometry in enumerate(geometries):
        if geometry is None or geometry.is_empty:
            notes[EMPTY] += 1
            continue
        row = {name: column[index] for name, column in zip(names, columns, strict=True)}
        notes[HEIGHTS] += bool(geometry.has_z)
        flat = _checked(shapely.force_2d(geometry), f"{path}: row {index}")
        if isinstance(flat, shapely.MultiPoint) and len(flat.geoms) == 1:
            flat = flat.geoms[0]  # a shapefile with some objects of several points makes all of them such
        kept[index] = len(objects)
        try:
            made = object_of(row, flat) if is_own else foreign_object(row, flat, layer if is_class else None)
        except (ValueError, TypeError, shapely.errors.GEOSException) as err:
            raise FormatError(f"{path}: row {index}: a column cannot be read ({' '.join(str(err).split())})") from err
        # GDAL calls a layer like its file where nobody says another name.
        says_nothing = layer in (None, made.class_name, path.stem) or (is_own and layer == LAYER)
        objects.append(made if says_nothing else _with_layer(made, str(layer)))
    return [replace(o, parent=None if o.parent is None else kept.get(o.parent)) for o in objects]


def _with_layer(item: Annotation, layer: str) -> Annotation:
    return replace(item, metadata={**item.metadata, free_key("layer", item.metadata): layer})


def _plain(value: Any) -> Any:
    """A value of a table as a plain one of Python's; missing ones are None."""
    plain = value.item() if hasattr(value, "item") else value
    return None if plain is None or plain != plain else plain


def _checked(geometry: BaseGeometry, where: str) -> BaseGeometry:
    if not shapely.is_valid_input(geometry) or not all(map(_is_finite, geometry.bounds)):
        raise FormatError(f"{where}: a coordinate is not finite")
    return geometry


def _is_finite(value: float) -> bool:
    return value - value == 0  # for infinities NaN


def read_whole(path: Path, image: ImageFacts, load: Callable[[Path, Counter[str]], Iterable[Layer]]) -> list[Drawing]:
    """Read all tables of a file as one drawing; arguments and errors as for `read_objects`."""
    notes: Counter[str] = Counter()
    objects = read_objects(path, load, notes)
    return [Drawing(objects=tuple(objects), image=image, notes=+notes)]


def write_whole(path: Path, drawings: Sequence[Drawing], save: Callable[[Any, Path], None]) -> Counter[str]:
    """Write one image's objects into one table, as GeoPackage and GeoParquet hold them; returns what was lost.

    Args:
        path: The file.
        drawings: One.
        save: As for `write_table`.

    Raises:
        MissingExtraError, OutputError: As for `write_table`.
    """
    (drawing,) = drawings
    objects = with_shapes(drawing.objects)
    write_table(path, objects, columns_of(objects), save)
    return count_losses(drawing.objects, CANNOT_HOLD)


def with_shapes(objects: Sequence[Annotation]) -> list[Annotation]:
    """Leave out objects without a shape; what was below one moves up to its parent."""
    kept = {index: number for number, index in enumerate(i for i, o in enumerate(objects) if not o.geometry.is_empty)}

    def new_parent(parent: int | None) -> int | None:
        while parent is not None and parent not in kept:
            parent = objects[parent].parent
        return None if parent is None else kept[parent]

    return [replace(objects[index], parent=new_parent(objects[index].parent)) for index in kept]


def write_table(
    path: Path, objects: Sequence[Annotation], columns: dict[str, list[Any]], save: Callable[[Any, Path], None]
) -> None:
    """Write into a folder of its own, then move what was made (a shapefile is several files).

    Args:
        path: The file.
        objects: Their geometries are written.
        columns: Name to values, of the same length.
        save: (geopandas.GeoDataFrame, where to) -> None.

    Raises:
        MissingExtraError: geopandas is not installed.
        OutputError: The file cannot be written.
    """
    geopandas, _ = geopandas_and_pyogrio()
    table = geopandas.GeoDataFrame(columns, geometry=[item.geometry for item in objects])
    with tempfile.TemporaryDirectory(prefix="qpkit-") as folder:
        try:
            save(table, Path(folder) / path.name)
            for part in sorted(Path(folder).iterdir()):
                shutil.move(part, path.with_name(part.name))
        except Exception as err:  # pyogrio, pyarrow and geopandas each have their own tree of errors
            raise OutputError(f"{path}: cannot be written ({' '.join(str(err).split())})") from err


def save_layer(table: Any, path: Path, **options: Any) -> None:
    """Write a table through GDAL; that it has no coordinate system is meant.

    Args:
        table: A geopandas.GeoDataFrame.
        path: Where to.
        options: Of pyogrio.write_dataframe.
    """
    _, pyogrio = geopandas_and_pyogrio()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="'crs' was not provided", category=UserWarning)
        pyogrio.write_dataframe(table, path, **options)
