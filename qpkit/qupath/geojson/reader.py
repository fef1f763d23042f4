"""Read GeoJSON as QuPath writes it, all dialects from v0.2 to v0.7, plain, gzipped or zipped, of any size.

`writer` writes; what each QuPath makes of a file is in `checks`.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from qpkit.core.annotation import Annotation
from qpkit.errors import FormatError
from qpkit.files import AnyPath
from qpkit.memory import gc_paused
from qpkit.qupath.geojson.features import PASSED_OVER, FeatureReader, OnRecords, features_of
from qpkit.qupath.geojson.source import Document, open_documents
from qpkit.qupath.geojson.stream import Chunk, read_batches
from qpkit.qupath.geojson.writer import GeoJsonReport, GeoJsonWriter, write_geojson

__all__ = ["GeoJsonReport", "GeoJsonWriter", "iter_geojson", "read_geojson", "write_geojson"]

NOT_UTF8: Final = "text that is no UTF-8, read as Windows-1252"

log = logging.getLogger(__name__)


def read_geojson(path: AnyPath) -> list[Annotation]:
    """Read the objects of a .geojson, .json, gzipped or zipped file.

    Accepted are a FeatureCollection, a Feature, an array of them, or bare geometries, also as the lenient JSON that
    QuPath reads. Areas that cross themselves are made valid as QuPath 0.3 to 0.5 read them, see `even_odd`. `parent` is
    set for childObjects. What had to be changed is logged as a warning; `iter_geojson` counts it.

    Raises:
        FormatError: Not GeoJSON, or a bad feature; the message has its index and the reason.
        ProjectError: There is no such file.
    """
    notes: Counter[str] = Counter()
    objects: list[Annotation] = []
    size = Path(path).stat().st_size if Path(path).is_file() else 0
    with gc_paused(size):  # over all batches: the collector would walk the growing list again and again
        for batch in _batches(path, notes):
            objects.extend(batch)
    for text, count in notes.items():
        log.warning("%s: %d objects: %s", path, count, text)
    return objects


def iter_geojson(
    path: AnyPath, *, notes: Counter[str] | None = None, on_records: OnRecords | None = None
) -> Iterator[Annotation]:
    """Read the objects of a file one after the other, in memory that does not grow with the file.

    Args:
        path: As for read_geojson; the objects and their order are the same, and so are the errors, which come when
            the reading gets there.
        notes: Filled while reading: what was changed, and in how many objects.
        on_records: Is shown all records before they are read, to see what of them has no place in an Annotation.
    """
    for batch in _batches(path, Counter() if notes is None else notes, on_records):
        yield from batch


def _batches(path: AnyPath, notes: Counter[str], on_records: OnRecords | None = None) -> Iterator[list[Annotation]]:
    reader = FeatureReader(notes, on_records)
    for document in open_documents(path):
        count, passed = 0, notes[PASSED_OVER]
        batches = read_batches(document)
        while True:
            # Not over the yield: what the caller does then has its own needs.
            with gc_paused(2 << 20):
                batch = next(batches, None)
                if batch is None:
                    break
                features = _features(batch, document, notes, on_records)
                if not batch.is_utf8:
                    notes[NOT_UTF8] += 1
                objects = reader.read(features, source=document.name, first=count)
            count += len(features)
            yield objects
        if not count and notes[PASSED_OVER] > passed:
            raise FormatError(f"{document.name}: no FeatureCollection, Feature or geometry in its list")


def _features(batch: Chunk, document: Document, notes: Counter[str], on_records: OnRecords | None) -> list[object]:
    if batch.place == "features":
        return batch.values
    if batch.place == "wrapper" and batch.values[0].get("type") == "FeatureCollection":
        return list(features_of(batch.values[0], document.name, notes, on_records))  # none: they came before
    if batch.place == "document" and not batch.values:
        raise FormatError(f"{document.name}: the file is empty")
    if batch.place == "wrapper":
        kind = str(batch.values[0].get("type"))[:60]
        raise FormatError(f"{document.name}: a list of features, but the type is {kind!r}, not 'FeatureCollection'")
    # The elements of a list come by themselves.
    whole = [batch.values] if batch.place == "array" else batch.values
    return [feature for value in whole for feature in features_of(value, document.name, notes, on_records)]
