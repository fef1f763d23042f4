"""Write GeoJSON in the one dialect that QuPath 0.3 to 0.7 all import, in memory that does not grow with the file.

One bad object aborts QuPath's whole import, so everything that some version refuses is mended, left out (and counted)
or refused here. Source: the table of import tests, v0.2.3 to v0.7.0.
"""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Self

import orjson

from qpkit.core.annotation import Annotation, PathClass, argb
from qpkit.errors import FormatError, OutputError
from qpkit.files import AnyPath
from qpkit.memory import gc_paused
from qpkit.qupath.geojson.geometry_writer import SafeShape, safe_shapes
from qpkit.qupath.geojson.properties import parse_uuid
from qpkit.qupath.object_values import OBJECT_ID

DEFAULT_CLASS_COLOR: Final = argb(128, 128, 128)
"""For a class without a colour, which 0.4 and later refuse. QuPath keeps the colour of a class that it knows."""

_CAMEL: Final = {"tma_core": "tmaCore"}
_BATCH: Final = 250
"""Objects made at once; some 200 kB of text, which stays in the processor's cache."""
_GZIP_LEVEL: Final = 1
"""Four times as fast as level 6, and a fifth larger."""
_NOT_ASCII: Final = re.compile(rb"[\xc2-\xf4][\x80-\xbf]+")


@dataclass(frozen=True, slots=True)
class GeoJsonReport:
    """How many objects were written, mended and left out.

    Args:
        written: Features in the file.
        mended: Of these, polygons that were invalid (after rounding to 0.01 px) and were repaired.
        left_out: Objects without a shape, or with nothing left of it.
    """

    written: int
    mended: int
    left_out: int


def write_geojson(path: AnyPath, objects: Iterable[Annotation], *, are_valid: bool = False) -> GeoJsonReport:
    """Write objects flat, as QuPath imports them.

    Coordinates have two decimals; measurements only finite numbers; absent things are left out, never null; text is
    pure ASCII, as QuPath before 0.4.1 reads with the system's encoding. A name that ends in .gz is compressed (QuPath
    0.4 and later read it). The same objects give the same bytes.

    Args:
        path: The file.
        objects: Gone through once.
        are_valid: Their shapes are known to be valid, and are looked at only where rounding moves them: for an area of
            millions of corners that saves half a minute.

    Raises:
        GeometryError: A shape that QuPath cannot import (GeometryCollection, not finite, beyond 1e9 px).
        FormatError: A class name with a line break, an id that is no UUID, or a text that is no Unicode.
        OutputError: The file cannot be written; an old one is still there.
    """
    with GeoJsonWriter(path, are_valid=are_valid) as writer:
        waiting = iter(objects)
        while batch := list(itertools.islice(waiting, _BATCH)):
            writer.add(batch)
    return writer.report


class GeoJsonWriter:
    """A GeoJSON file that is written piece by piece, beside its name, and renamed when the block ends well.

    Use as `with GeoJsonWriter(path) as writer: writer.add(objects)`; all is as for write_geojson. On any error the
    old file, if there is one, is as it was.
    """

    def __init__(self, path: AnyPath, *, are_valid: bool = False) -> None:
        self._path, self._are_valid = Path(path), are_valid
        if self._path.suffix.lower() == ".zip":
            raise OutputError(f"{self._path}: a zip is read, but not written; end the name in .geojson or .geojson.gz")
        self._beside = self._path.with_name(f".{self._path.name}.{os.getpid()}.tmp")
        self._written = self._mended = self._left_out = 0
        self._classes: dict[PathClass, dict[str, Any]] = {}
        self._file: IO[bytes]
        self._text: IO[bytes] | gzip.GzipFile

    @property
    def report(self) -> GeoJsonReport:
        """What became of the objects so far."""
        return GeoJsonReport(self._written, self._mended, self._left_out)

    def __enter__(self) -> Self:
        try:
            self._file = self._text = self._beside.open("wb")
            if self._path.suffix == ".gz":
                # No name and no time in the header: the same objects give the same bytes.
                self._text = gzip.GzipFile("", "wb", _GZIP_LEVEL, self._file, mtime=0)
            self._text.write(b'{"type":"FeatureCollection","features":[')  # stays in the buffer
        except OSError as err:
            raise self._failed(err) from err
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._finish()
        except OSError as err:
            raise self._failed(err) from err
        finally:
            with contextlib.suppress(OSError, ValueError):
                self._text.close()
            with contextlib.suppress(OSError):
                self._file.close()
            self._beside.unlink(missing_ok=True)

    def add(self, objects: Sequence[Annotation]) -> list[int]:
        """Append objects; some hundred at a time are fastest.

        Returns:
            Which of them were left out, as they have no shape or nothing is left of it: positions in `objects`.

        Raises:
            GeometryError, FormatError, OutputError: As for write_geojson; nothing of these objects was written.
        """
        with gc_paused(2 << 20):
            features, mended, left_out = self._features(objects)
            content = _encode(features)
        try:
            if features and self._written:
                self._text.write(b",")
            self._text.write(content)
        except OSError as err:
            raise self._failed(err) from err
        self._written += len(features)
        self._mended += mended
        self._left_out += len(left_out)
        return left_out

    def _finish(self) -> None:
        self._text.write(b"]}")
        if self._text is not self._file:
            self._text.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._beside.replace(self._path)

    def _failed(self, err: OSError) -> OutputError:
        return OutputError(f"{self._path}: cannot be written ({err.strerror or err}); it is as it was")

    def _features(self, objects: Sequence[Annotation]) -> tuple[list[dict[str, Any]], int, list[int]]:
        first = self._written + self._left_out
        shapes = safe_shapes(
            [item.geometry for item in objects],
            [item.shape for item in objects],
            [item.plane for item in objects],
            first=first,
            are_valid=self._are_valid,
        )
        nuclei = _nuclei(objects, first)
        features: list[dict[str, Any]] = []
        left_out: list[int] = []
        mended = 0
        for index, (item, shape) in enumerate(zip(objects, shapes, strict=True)):
            if shape is None:
                left_out.append(index)
                continue
            nucleus = nuclei.get(index)
            features.append(self._feature(item, shape, nucleus))
            mended += shape.was_mended or (nucleus is not None and nucleus.was_mended)
        return features, mended, left_out

    def _feature(self, annotation: Annotation, shape: SafeShape, nucleus: SafeShape | None) -> dict[str, Any]:
        feature: dict[str, Any] = {"type": "Feature"}
        if annotation.id is not None:
            feature["id"] = _uuid(annotation.id)
        feature["geometry"] = orjson.Fragment(shape.text)
        if nucleus is not None:
            feature["nucleusGeometry"] = orjson.Fragment(nucleus.text)
        feature["properties"] = self._properties(annotation)
        return feature

    def _properties(self, annotation: Annotation) -> dict[str, Any]:
        made: dict[str, Any] = {
            # For 0.4 and later, then for 0.3.
            "objectType": _CAMEL.get(annotation.kind, annotation.kind),
            "object_type": annotation.kind,
        }
        if annotation.name is not None:
            made["name"] = annotation.name
        if annotation.color is not None:
            made["color"] = _rgb(annotation.color)
        if annotation.path_class is not None:
            made["classification"] = self._classification(annotation.path_class)
        if annotation.locked:
            made["isLocked"] = True
        if annotation.kind == "tma_core":
            made["isMissing"] = annotation.is_missing
        # A list, as 0.3 passes over maps of measurements.
        measured = [
            {"name": name, "value": float(value)}
            for name, value in annotation.measurements.items()
            if math.isfinite(value)
        ]
        if measured:
            made["measurements"] = measured
        if annotation.metadata:
            metadata = {key: value for key, value in annotation.metadata.items() if key != OBJECT_ID}
            if metadata:
                made["metadata"] = metadata
        return made

    def _classification(self, path_class: PathClass) -> dict[str, Any]:
        made = self._classes.get(path_class)
        if made is None:
            made = self._classes[path_class] = _classification(path_class)
        return made


def _nuclei(objects: Sequence[Annotation], first: int) -> dict[int, SafeShape]:
    cells = [(index, item) for index, item in enumerate(objects) if item.kind == "cell" and item.nucleus is not None]
    if not cells:
        return {}
    geometries = [item.nucleus for _, item in cells if item.nucleus is not None]
    made = safe_shapes(geometries, [None] * len(cells), [item.plane for _, item in cells], first=first)
    return {index: shape for (index, _), shape in zip(cells, made, strict=True) if shape is not None}


def _encode(features: list[dict[str, Any]]) -> bytes:
    """Features with commas between them, as ASCII."""
    try:
        content = orjson.dumps(features)[1:-1]
    except TypeError as err:
        raise FormatError(f"an object holds something that GeoJSON cannot ({err})") from err
    return content if content.isascii() else _NOT_ASCII.sub(_escaped, content)


def _escaped(match: re.Match[bytes]) -> bytes:
    return json.dumps(match[0].decode())[1:-1].encode()


def _classification(path_class: PathClass) -> dict[str, Any]:
    name = str(path_class)
    if "\n" in name or "\r" in name:
        raise FormatError(f"class name {name!r} has a line break, which QuPath refuses; rename the class")
    color = DEFAULT_CLASS_COLOR if path_class.color is None else path_class.color
    # "color" for 0.4 and later (which let "colorRGB" win), "colorRGB" for 0.2 and 0.3.
    return {"name": name, "color": _rgb(color), "colorRGB": color}


def _rgb(color: int) -> list[int]:
    return [(color >> 16) & 255, (color >> 8) & 255, color & 255]


def _uuid(text: str) -> str:
    made = parse_uuid(text)
    if made is None:
        raise FormatError(f"object id {text!r} is not a UUID, which QuPath 0.4 and later need")
    return made
