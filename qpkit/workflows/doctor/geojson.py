"""qpkit doctor for a GeoJSON file: what each QuPath would make of it, and a copy that all of them import."""

from __future__ import annotations

import itertools
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from qpkit.core.annotation import Annotation
from qpkit.errors import FormatError, GeometryError, OutputError
from qpkit.files import AnyPath
from qpkit.memory import gc_paused
from qpkit.qupath.geojson.checks.diagnosis import GeoJsonDiagnosis, RuleFinding, Verdict, diagnose_geojson
from qpkit.qupath.geojson.checks.features import check_wrapper
from qpkit.qupath.geojson.checks.repair import repair
from qpkit.qupath.geojson.features import CROSSING, FeatureReader
from qpkit.qupath.geojson.reader import NOT_UTF8
from qpkit.qupath.geojson.source import Document, open_documents
from qpkit.qupath.geojson.stream import Chunk, read_batches
from qpkit.qupath.geojson.writer import GeoJsonReport, GeoJsonWriter

__all__ = ["GeoJsonDiagnosis", "GeoJsonFix", "LeftOut", "RuleFinding", "Verdict", "diagnose_geojson", "fix_geojson"]

NO_SHAPE: Final = "nothing is left of its shape at 0.01 px"
ID_NEW: Final = "repeated id replaced by a new one"
NUCLEUS_DROPPED: Final = "nucleus that cannot be read dropped"

_NAMESPACE: Final = uuid.UUID("6f1c9a52-0d3e-5b7a-9c41-2e8d7f60b3a4")
_EXAMPLES: Final = 5
_MAX_REASONS: Final = 50
_OTHER: Final = "other reasons"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Objects that could not be saved.

    Args:
        reason: Why.
        features: How many.
        examples: Numbers of the first of them, from 0; a child has the number of the feature it is in.
    """

    reason: str
    features: int
    examples: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GeoJsonFix:
    """The mended copy of a file: what is in it, and what is not.

    Args:
        path: The new file.
        written: Features in it.
        mended: Of these, polygons that were invalid and were repaired.
        changed: What else was mended, and how often.
        left_out: What is not in it, and why.
        unread: Why a file (or one in the zip) could not be read to its end; what came before is in the new file.
        diagnosis: Of the new file.
    """

    path: Path
    written: int
    mended: int
    changed: dict[str, int]
    left_out: tuple[LeftOut, ...]
    unread: tuple[str, ...]
    diagnosis: GeoJsonDiagnosis


def default_output(path: Path) -> Path:
    """Name the mended copy: "a.geojson" -> "a.fixed.geojson", beside it."""
    name = path.name
    for ending in (".geojson.gz", ".json.gz", ".geojson", ".json", ".zip"):
        if name.lower().endswith(ending):
            kept = ".geojson" if ending == ".zip" else name[len(name) - len(ending) :]
            return path.with_name(name[: len(name) - len(ending)] + ".fixed" + kept)
    return path.with_name(name + ".fixed.geojson")


def fix_geojson(path: AnyPath, out: AnyPath | None = None, *, overwrite: bool = False) -> GeoJsonFix:
    """Write a copy in the dialect that every QuPath from 0.3 to 0.7 imports; the input is never touched.

    Args:
        path: As for read_geojson; also newline-delimited GeoJSON, and a file that breaks off.
        out: The new file; None for default_output.
        overwrite: Replace it if it is there.

    Raises:
        OutputError: `out` is there already, is the input, or cannot be written.
        ProjectError: There is no such file.
        FormatError: There is nothing in the file that can be read.
    """
    path = Path(path)
    target = default_output(path) if out is None else Path(out)
    if target.exists() and path.exists() and target.samefile(path):
        raise OutputError(f"{target}: that is the file to be mended; choose another name")
    if target.exists() and not overwrite:
        raise OutputError(f"{target}: there is something already; choose another name or pass --overwrite")
    fix = _Fix()
    with GeoJsonWriter(target) as writer:
        for document in open_documents(path):
            fix.add(document, writer)
        report = writer.report
        if fix.unread and not report.written:
            raise FormatError(fix.unread[0])
        if fix.is_prose:
            raise FormatError(f"{path}: not JSON with features or geometries; there is nothing to mend")
    return fix.report(target, report)


class _Fix:
    def __init__(self) -> None:
        self.unread: list[str] = []
        self._plain = self._structured = 0
        self._notes: Counter[str] = Counter()
        self._left_out: dict[str, list[int]] = {}
        self._counts: Counter[str] = Counter()
        self._reader = FeatureReader(self._notes)
        self._ids: set[str] = set()

    def add(self, document: Document, writer: GeoJsonWriter) -> None:
        """Copy what can be read of a document."""
        first = 0
        batches = read_batches(document, many=True)
        try:
            for batch in batches:
                features = list(_features(batch))
                for value in batch.values:
                    self._structured += isinstance(value, dict | list)
                    self._plain += not isinstance(value, dict | list)
                if not batch.is_utf8:
                    self._notes[NOT_UTF8] += 1
                self._write(features, first, writer)
                first += len(features)
        except FormatError as err:
            self.unread.append(str(err))

    @property
    def is_prose(self) -> bool:
        """Whether there were only words, which are texts for the lenient reader."""
        return self._plain > 1 and not self._structured

    def report(self, path: Path, report: GeoJsonReport) -> GeoJsonFix:
        left_out = [LeftOut(why, self._counts[why], tuple(where)) for why, where in self._left_out.items()]
        return GeoJsonFix(
            path=path,
            written=report.written,
            mended=report.mended + self._notes.pop(CROSSING, 0),
            changed=dict(self._notes),
            left_out=tuple(sorted(left_out, key=lambda item: -item.features)),
            unread=tuple(self.unread),
            diagnosis=diagnose_geojson(path),
        )

    def _write(self, features: Sequence[Any], first: int, writer: GeoJsonWriter) -> None:
        singles = [
            (number, single)
            for number, feature in enumerate(features, first)
            for single in repair(feature, self._notes)
        ]
        with gc_paused(2 << 20):
            made = [(number, self._with_own_id(item)) for number, item in self._read(singles)]
        try:
            left_out = writer.add([item for _, item in made])
        except (FormatError, GeometryError):  # find the one that cannot be written
            for number, item in made:
                self._write_one(item, number, writer)
            return
        for index in left_out:
            self._leave_out(NO_SHAPE, made[index][0])

    def _with_own_id(self, item: Annotation) -> Annotation:
        """Give an object a new id if there was one with the same before; the same file gives the same ids."""
        if item.id is None:
            return item
        own = item.id
        for attempt in itertools.count(1):
            if own not in self._ids:
                break
            own = str(uuid.uuid5(_NAMESPACE, f"{item.id} {attempt}"))
        self._ids.add(own)
        if own == item.id:
            return item
        self._notes[ID_NEW] += 1
        return replace(item, id=own)

    def _write_one(self, item: Annotation, number: int, writer: GeoJsonWriter) -> None:
        try:
            if writer.add([item]):
                self._leave_out(NO_SHAPE, number)
        except (FormatError, GeometryError) as err:
            self._leave_out(str(err), number)

    def _read(self, singles: Sequence[tuple[int, Any]]) -> list[tuple[int, Annotation]]:
        """Read features at once, or one by one if there is a bad one."""
        before = self._notes.copy()
        try:
            made = self._reader.read([single for _, single in singles], source="", first=0)
        except FormatError:
            made = []
        if len(made) == len(singles):
            return [(number, item) for (number, _), item in zip(singles, made, strict=True)]
        # The attempt that failed has counted some of the features already.
        self._notes.clear()
        self._notes.update(before)
        return [(number, item) for number, single in singles for item in self._read_one(single, number)]

    def _read_one(self, feature: Any, number: int) -> list[Annotation]:
        """Read a feature, if need be without its nucleus."""
        try:
            return self._reader.read([feature], source="", first=number)
        except FormatError as err:
            if isinstance(feature, dict) and feature.get("nucleusGeometry") is not None:
                made = self._read_one({key: item for key, item in feature.items() if key != "nucleusGeometry"}, number)
                self._notes[NUCLEUS_DROPPED] += len(made)
                return made
            self._leave_out(str(err).partition(f"feature {number}: ")[2], number)
            return []

    def _leave_out(self, reason: str, number: int) -> None:
        if reason not in self._left_out and len(self._left_out) >= _MAX_REASONS:
            reason = _OTHER
        self._counts[reason] += 1
        where = self._left_out.setdefault(reason, [])
        if len(where) < _EXAMPLES:
            where.append(number)


def _features(batch: Chunk) -> Iterator[Any]:
    """List the features; what QuPath passes over is no feature."""
    if batch.place == "features":
        yield from batch.values
    elif batch.place != "wrapper":
        yield from _unwrapped(batch.values)


def _unwrapped(values: Sequence[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list):
            yield from _unwrapped(value)
        else:
            yield from check_wrapper(value)[0]
