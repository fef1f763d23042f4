"""Which formats there are, and which one a file is of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from qpkit.errors import ConfigError
from qpkit.formats import asap, coco, darwin, halo, imagescope, label_image, ndpa, vector_files
from qpkit.formats.shared.cannot_hold import Lacks
from qpkit.formats.shared.drawing import Choices, Drawing, ImageFacts
from qpkit.formats.shared.json_files import read_json
from qpkit.formats.shared.xml_files import read_xml

Reader = Callable[[Path, ImageFacts, Choices], list[Drawing]]
"""(path, what is known about the image, choices) -> one drawing for each image in the file."""

Writer = Callable[[Path, Sequence[Drawing], Choices], Counter[str]]
"""(path, drawings, choices) -> what was lost. Replaces what is there: ask before. One drawing, unless `several`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One way to hold annotations in a file.

    Args:
        name: What --from and --to call it.
        title: What people call it.
        suffixes: Endings of its files, lower case; the first one is written.
        read, write: Its reader and writer.
        lacks: What it cannot hold, and what happens instead.
        several: Whether one file holds the objects of many images.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    read: Reader
    write: Writer
    lacks: Lacks
    several: bool = False


FORMATS: Final[tuple[Format, ...]] = (
    Format(
        name="asap",
        title="ASAP XML",
        suffixes=(".xml",),
        read=asap.read,
        write=asap.write,
        lacks=asap.LACKS,
    ),
    Format(
        name="imagescope",
        title="Aperio ImageScope XML",
        suffixes=(".xml",),
        read=imagescope.read,
        write=imagescope.write,
        lacks=imagescope.LACKS,
    ),
    Format(
        name="halo",
        title="HALO annotations",
        suffixes=(".annotations",),
        read=halo.read,
        write=halo.write,
        lacks=halo.LACKS,
    ),
    Format(
        name="ndpa",
        title="Hamamatsu NDPA",
        suffixes=(".ndpa",),
        read=ndpa.read,
        write=ndpa.write,
        lacks=ndpa.LACKS,
    ),
    Format(
        name="coco",
        title="COCO JSON",
        suffixes=(".json",),
        read=coco.read,
        write=coco.write,
        lacks=coco.LACKS,
        several=True,
    ),
    Format(
        name="darwin",
        title="Darwin JSON (V7)",
        suffixes=(".json",),
        read=darwin.read,
        write=darwin.write,
        lacks=darwin.LACKS,
    ),
    Format(
        name="gpkg",
        title="GeoPackage",
        suffixes=(".gpkg",),
        read=vector_files.read,
        write=vector_files.write,
        lacks=vector_files.LACKS,
    ),
    Format(
        name="parquet",
        title="GeoParquet",
        suffixes=(".parquet", ".geoparquet"),
        read=vector_files.read,
        write=vector_files.write,
        lacks=vector_files.LACKS,
    ),
    Format(
        name="shapefile",
        title="Shapefile",
        suffixes=(".shp",),
        read=vector_files.read,
        write=vector_files.write_shapefile,
        lacks=vector_files.LACKS_SHAPEFILE,
    ),
    Format(
        name="labels",
        title="label image",
        suffixes=(".png", ".tif", ".tiff"),
        read=label_image.read,
        write=label_image.write,
        lacks=label_image.LACKS,
    ),
)
"""Everybody else's formats; QuPath's own are in qpkit.qupath."""


def named(name: str, formats: Sequence[Format]) -> Format:
    """Find a format by its name.

    Raises:
        ConfigError: There is none of that name; the message lists them.
    """
    found = next((item for item in formats if item.name == name.lower()), None)
    if found is None:
        raise ConfigError(f"no format is called {name!r}; there are {', '.join(item.name for item in formats)}")
    return found


def format_of(path: Path, formats: Sequence[Format], *, reading: bool) -> Format:
    """Tell the format of a file by its ending and, where endings are shared and the file is read, by its content.

    Raises:
        ConfigError: It cannot be told; the message says how to state it.
        FormatError: It is not well-formed XML or JSON.
    """
    name = path.name.lower()
    fitting = [item for item in formats if name.endswith(item.suffixes)]
    option = "--from" if reading else "--to"
    if not fitting:
        known = ", ".join(sorted({suffix for item in formats for suffix in item.suffixes}))
        raise ConfigError(f"{path}: the ending says no format ({known}); state it with {option} NAME")
    if reading and name.endswith((".xml", ".annotations")):
        return named(_kind_of_xml(path), formats)
    if reading and name.endswith(".json"):
        return named(_kind_of_json(path), formats)
    if len(fitting) > 1:
        names = ", ".join(item.name for item in fitting)
        raise ConfigError(f"{path}: the ending may be {names}; state which with {option} NAME")
    return fitting[0]


def _kind_of_xml(path: Path) -> str:
    root = read_xml(path)
    if root.tag == asap.ROOT:
        return "asap"
    if root.tag == ndpa.ROOT and root.find("ndpviewstate") is not None:
        return "ndpa"
    if root.tag == imagescope.ROOT:
        if root.find(".//V") is not None:
            return "halo"
        if root.get("MicronsPerPixel") is not None or root.find(".//Vertex") is not None:
            return "imagescope"
        if path.suffix.lower() == ".annotations":  # without a region both look alike, but only HALO calls them so
            return "halo"
    raise ConfigError(
        f"{path}: its content says no format (root <{root.tag}>); state it with --from asap, imagescope, halo or ndpa"
    )


def _kind_of_json(path: Path) -> str:
    record = read_json(path)
    if isinstance(record, list) or (isinstance(record, Mapping) and _is_geojson(record)):
        return "geojson"
    if isinstance(record, Mapping) and isinstance(record.get("annotations"), list):
        if isinstance(record.get("images"), list):
            return "coco"
        if "item" in record or "image" in record:
            return "darwin"
    raise ConfigError(f"{path}: its content says no format; state it with --from geojson, coco or darwin")


def _is_geojson(record: Mapping[str, Any]) -> bool:
    return record.get("type") in ("FeatureCollection", "Feature") or "coordinates" in record
