"""Contract 3: what imports put into a project, PROJECT/qpkit/imports/RUN.parquet (GeoParquet, one row per object).

A project tells what is there; only the ledger tells what is there no more because a reviewer deleted it. A project
without the folder is as one into which nothing was imported yet.
"""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray

from qpkit.core.annotation import Annotation
from qpkit.core.lazy_annotations import ids_of, kinds_of, measured_of, path_classes_of, shapes_of, wkb_of
from qpkit.errors import FormatError
from qpkit.files import replace_file, safe_names

FOLDER: Final = Path("qpkit/imports")
FORMAT: Final = "qpkit imports 1"
PROBABILITY: Final = "Mean probability"
"""The measurement that says how sure the model was."""

State = Literal["imported", "replaced", "undone"]
"""Put into the project (and, if it is gone, deleted by a person); taken out by another import, or by --undo."""

_SCHEMA: Final = pa.schema(
    {
        "entry": pa.string(),
        "slide": pa.string(),
        "id": pa.string(),
        "class": pa.string(),
        "kind": pa.string(),
        "probability": pa.float64(),
        "geometry": pa.binary(),
        "state": pa.string(),
        "when": pa.string(),
    }
)

_REPEATED: Final = [name for name in _SCHEMA.names if name not in ("id", "probability", "geometry")]

_GEO: Final = json.dumps(
    {
        "version": "1.1.0",
        "primary_column": "geometry",
        # Slide px: no coordinate system.
        "columns": {"geometry": {"encoding": "WKB", "geometry_types": [], "crs": None}},
    }
)


@dataclass(frozen=True, slots=True)
class Ledger:
    """What one run put into a project.

    Args:
        run: The run.
        table: A row per object: id of the entry and its name, id, class, kind, probability (0..1 or null), shape (WKB,
            slide px), state, and when it was imported (ISO 8601).
        entries: By entry id, what the last import into it said: settings, and what was left out by reason.
    """

    run: str
    table: pa.Table = field(default_factory=_SCHEMA.empty_table)
    entries: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def deleted(self, entry: str, there: Collection[str | None]) -> pa.Table:
        """The rows of what was put into an entry, and is gone though no import took it out; `there` are ids."""
        if not self.table.num_rows:
            return self.table  # the first filter of a process takes 34 MB
        rows = self.table.filter(pa.array(_is(self.table, entry=entry, state="imported")))
        return rows.filter(pa.array([identity not in there for identity in rows["id"].to_pylist()], pa.bool_()))

    def after_import(
        self,
        entry: str,
        slide: str,
        objects: Sequence[Annotation],
        deleted: pa.Table,
        said: Mapping[str, Any],
        *,
        edited: Collection[str | None] = (),
    ) -> Ledger:
        """Write down an import into one entry.

        Args:
            entry, slide: Id and name.
            objects: What is in the project now, of this run.
            deleted: Rows of objects that a person deleted.
            said: Settings, and counts of what was left out.
            edited: Ids of objects that a person has changed; what is written of their predictions stays.
        """
        own = _is(self.table, entry=entry)
        before = self.table.filter(pa.array(own & _is(self.table, state="imported")))
        when = dict(zip(before["id"].to_pylist(), before["when"].to_pylist(), strict=True))
        now = datetime.now(UTC).isoformat(timespec="seconds")
        ids, count = ids_of(objects), len(objects)
        columns = {
            "entry": [entry] * count,
            "slide": [slide] * count,
            "id": ids,
            "class": [path_class and str(path_class) for path_class in path_classes_of(objects)],
            "kind": kinds_of(objects),
            "probability": pa.array(measured_of(objects, PROBABILITY), pa.float64(), from_pandas=True),
            "geometry": pa.chunked_array(itertools.starmap(_binary, wkb_of(objects)), pa.binary()),
            "state": ["imported"] * count,
            "when": [when.get(identity, now) for identity in ids],
        }
        made = pa.table(columns, _SCHEMA)
        changed = before.filter(pa.array([identity in edited for identity in before["id"].to_pylist()], pa.bool_()))
        table = pa.concat_tables([self.table.filter(pa.array(~own)), made, changed, deleted])
        return Ledger(self.run, table, {**self.entries, entry: dict(said)})

    def marked(self, entry: str, ids: Collection[str], state: State) -> Ledger:
        """Write down that objects of an entry were taken out."""
        own = _is(self.table, entry=entry).tolist()
        rows = zip(self.table["id"].to_pylist(), self.table["state"].to_pylist(), own, strict=True)
        states = [state if is_own and identity in ids else old for identity, old, is_own in rows]
        column = self.table.column_names.index("state")
        return Ledger(self.run, self.table.set_column(column, "state", pa.array(states, pa.string())), self.entries)


def _binary(content: NDArray[np.uint8], starts: NDArray[np.int64]) -> pa.BinaryArray:
    """Pieces of bytes as a column, without a copy."""
    buffers = [None, pa.py_buffer(starts.astype(np.int32)), pa.py_buffer(content)]
    return pa.BinaryArray.from_buffers(pa.binary(), len(starts) - 1, buffers)


def _is(table: pa.Table, **values: str) -> NDArray[np.bool_]:
    """Which rows have these values."""
    found = np.ones(table.num_rows, np.bool_)
    for name, value in values.items():
        found &= np.array(table[name].to_pylist(), object) == value
    return found


def alike(objects: Sequence[Annotation], deleted: pa.Table) -> NDArray[np.bool_]:
    """Say which objects a person deleted before: of the same id; or of the same class and the same place.

    Returns:
        (objects,) bool. The same place: what both have in common is more than half of what they cover together, as
        after another simplification.
    """
    ids, classes = set(deleted["id"].to_pylist()), deleted["class"].to_pylist()
    found = np.array([identity in ids for identity in ids_of(objects)], np.bool_)
    if not len(classes) or found.all():
        return found
    theirs = shapely.from_wkb(deleted["geometry"].to_pylist())
    tree = shapely.STRtree(theirs)
    names, first = [path_class and str(path_class) for path_class in path_classes_of(objects)], 0
    for ours in shapes_of(objects):
        mine, others = tree.query(ours, predicate="intersects")
        same = [names[first + i] == classes[j] for i, j in zip(mine.tolist(), others.tolist(), strict=True)]
        mine, others = mine[same], others[same]
        shared = shapely.area(shapely.intersection(ours[mine], theirs[others]))
        together = shapely.area(ours[mine]) + shapely.area(theirs[others]) - shared
        found[first + mine[shared > 0.5 * together]] = True
        first += len(ours)
    return found


def read_ledger(project: Path, run: str) -> Ledger:
    """Read what a run put into a project.

    Args:
        project: The folder of the project.
        run: The run.

    Raises:
        FormatError: The file is there and damaged.
    """
    path = _path(project, run)
    return _read(path, run) if path.is_file() else Ledger(run)


def _read(path: Path, run: str | None) -> Ledger:
    """Read a ledger; None takes it of whatever run it is."""
    try:
        table = pq.read_table(path)
        said = json.loads((table.schema.metadata or {})[b"qpkit"])
        run = said["run"] if run is None else run
        if (said["format"], said["run"]) != (FORMAT, run):
            raise FormatError(f"{path}: is {said['format']!r} of run {said['run']!r}, not {FORMAT!r} of {run!r}")
        return Ledger(str(run), table.select(_SCHEMA.names).cast(_SCHEMA), said["entries"])
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as err:
        if isinstance(err, FormatError):
            raise
        raise FormatError(f"{path}: damaged ({err}); move it away to go on without it") from err


def read_ledgers(project: Path) -> tuple[list[Ledger], list[str]]:
    """Read everything that imports wrote into a project.

    Args:
        project: The folder of the project.

    Returns:
        The ledgers in the order of their runs; and of each damaged one what is wrong with it.
    """
    ledgers, damaged = [], []
    for path in sorted((project / FOLDER).glob("*.parquet")):
        try:
            ledger = _read(path, None)
            _require_rows(path, ledger.table)
            if path.name != _path(project, ledger.run).name:
                raise FormatError(f"{path}: a copy of the ledger of run {ledger.run}; move it away")
            ledgers.append(ledger)
        except FormatError as err:
            damaged.append(str(err))
    return sorted(ledgers, key=lambda ledger: ledger.run), damaged


def _require_rows(path: Path, table: pa.Table) -> None:
    """Raise FormatError unless every row says what a review asks for."""
    needed = ("entry", "slide", "id", "kind", "geometry", "state")
    faults = [f"{name} missing" for name in needed if table[name].null_count]
    if set(table["state"].to_pylist()) - {*get_args(State), None}:
        faults.append("unknown states")
    try:
        shapely.from_wkb(table["geometry"].to_pylist())
    except (shapely.errors.ShapelyError, TypeError, ValueError):
        faults.append("shapes that are none")
    if faults:
        raise FormatError(f"{path}: damaged ({', '.join(faults)}); move it away to go on without it")


def write_ledger(project: Path, ledger: Ledger) -> None:
    """Write it, unless nothing is in it.

    Raises:
        OutputError: It cannot be written; the one before stays.
    """
    path = _path(project, ledger.run)
    if not ledger.table.num_rows and not path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    said = json.dumps({"format": FORMAT, "run": ledger.run, "entries": ledger.entries})
    content = io.BytesIO()
    table = ledger.table.replace_schema_metadata({"geo": _GEO, "qpkit": said})
    # A dictionary and statistics of what differs in every row took half of the time.
    pq.write_table(table, content, compression="zstd", use_dictionary=_REPEATED, write_statistics=_REPEATED)
    replace_file(path, content.getvalue())


def _path(project: Path, run: str) -> Path:
    return project / FOLDER / f"{safe_names([run])[0]}.parquet"


class Ledgers:
    """The ledgers of a project; a damaged one is left alone and named.

    Args:
        project: The folder of the project.

    Attributes:
        notes: What cannot be known.
    """

    def __init__(self, project: Path) -> None:
        self._project = project
        self._known: dict[str, Ledger] = {}
        self._damaged: dict[str, str] = {}

    @property
    def notes(self) -> tuple[str, ...]:
        """One line for each damaged ledger."""
        return tuple(f"{text}: what reviewers deleted is not known" for text in self._damaged.values())

    def of(self, run: str) -> Ledger:
        """The ledger of a run; an empty one if there is none, or a damaged one."""
        if run not in self._known:
            try:
                self._known[run] = read_ledger(self._project, run)
            except FormatError as err:
                self._damaged[run] = str(err)
                self._known[run] = Ledger(run)
        return self._known[run]

    def put(self, ledger: Ledger) -> None:
        """Keep and write a ledger if it says something new."""
        before = self._known.get(ledger.run)
        self._known[ledger.run] = ledger
        changed = before is None or not before.table.equals(ledger.table) or before.entries != ledger.entries
        if changed and ledger.run not in self._damaged:
            write_ledger(self._project, ledger)
