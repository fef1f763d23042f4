"""QuPath's GeoJSON as a `Format`, like everybody else's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import shapely

from qpkit.core.annotation import Annotation
from qpkit.core.geometry import QUPATH_DECIMALS, is_ellipse
from qpkit.formats.format import Format
from qpkit.formats.shared.cannot_hold import cannot_hold, count_losses
from qpkit.formats.shared.drawing import Choices, Drawing, ImageFacts
from qpkit.formats.shared.fields import ANY, LISTED, Fields, UnreadJson
from qpkit.qupath import iter_geojson, write_geojson
from qpkit.workflows.convert.qupath_shapes import split

ROUNDED: Final = "objects rounded to 0.01 px"
MENDED: Final = "invalid shapes mended"

CANNOT_HOLD: Final = cannot_hold(
    "hierarchy", "not finite measurements", "no shape", "no class colour", "mixed shapes", "box polygon"
)

_SHAPES: Final = ("features/geometry", "features/nucleusGeometry")
_PROPERTIES: Final = "features/properties"
_TYPE: Final = "objectType object_type type childObjects children"
_CLASS: Final = f"{_PROPERTIES}/classification"
FIELDS: Final = Fields(
    read={
        "": "type features",
        "features": "id childObjects",
        **dict.fromkeys(_SHAPES, "type coordinates isEllipse"),
        **{f"{shape}/geometries": "type coordinates" for shape in _SHAPES},
        "features/geometry/plane": "c z t",
        _PROPERTIES: f"{_TYPE} name color colorRGB classification isLocked isMissing",
        _CLASS: "name names color colorRGB",
        f"{_CLASS}/parentClass": "name",
        f"{_PROPERTIES}/measurements": ANY,
        f"{_PROPERTIES}/measurements/{LISTED}": "name value",
        f"{_PROPERTIES}/metadata": ANY,
        "roots": "childObjects",  # QuPath's object for the whole image
        "roots/properties": _TYPE,
    },
    idle={
        "": "bbox",
        "features": "type bbox",
        **dict.fromkeys(_SHAPES, "bbox"),
        "features/nucleusGeometry/plane": "c z t",  # that of its cell
        f"{_CLASS}/parentClass": "color colorRGB",  # objects have the colour of the class itself
        "roots": "type id geometry bbox",
        "roots/properties": "isLocked",
    },
    nested=(*(f"{shape}/geometries" for shape in _SHAPES), f"{_CLASS}/parentClass"),
)


def read(path: Path, image: ImageFacts, _: Choices) -> list[Drawing]:
    """Read a GeoJSON file of one image.

    Raises:
        FormatError, ProjectError: As for `iter_geojson`.
    """
    notes: Counter[str] = Counter()
    unread = UnreadJson(FIELDS)
    objects = tuple(iter_geojson(path, notes=notes, on_records=unread.look))
    return [Drawing(objects=objects, image=image, notes=+(notes + unread.notes()))]


def write(path: Path, drawings: Sequence[Drawing], _: Choices) -> Counter[str]:
    """Write one image's objects; returns what was lost, with the objects that were rounded or mended."""
    (drawing,) = drawings
    losses = count_losses(drawing.objects, CANNOT_HOLD)
    losses[ROUNDED] = sum(map(_is_finer, drawing.objects))
    report = write_geojson(path, split(drawing.objects))
    losses[MENDED] = report.mended
    return +losses


def _is_finer(item: Annotation) -> bool:
    """Whether rounding to what GeoJSON has would change it by more than float noise."""
    is_round = item.shape == "ellipse" and is_ellipse(item.geometry)
    points = shapely.get_coordinates(item.geometry.envelope if is_round else item.geometry)
    return not np.allclose(points, np.round(points, QUPATH_DECIMALS), rtol=0, atol=1e-3)


def _recognises(record: object, _: Path) -> bool:
    """A list is one of features."""
    if not isinstance(record, Mapping):
        return isinstance(record, list)
    return record.get("type") in ("FeatureCollection", "Feature") or "coordinates" in record


FORMAT: Final = Format(
    name="geojson",
    title="QuPath GeoJSON",
    order=20,
    suffixes=(".geojson", ".geojson.gz", ".json.gz", ".json"),
    recognises_json=_recognises,
    fields=FIELDS,
    read=read,
    write=write,
    cannot_hold=CANNOT_HOLD,
)
