"""A whole .qpdata: header, image data around the hierarchy, and its objects. Reads and edits.

A file that is not understood in full is never rewritten: QuPath 0.5 and later open a file they cannot read with an
empty hierarchy, and the next save then destroys the user's annotations.

Source: qupath.lib.io.PathIO, v0.2.3 to v0.7.0.
"""

from __future__ import annotations

import collections
import contextlib
import gzip
import itertools
import logging
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from qpkit.core.annotation import Annotation, Kind, PathClass
from qpkit.core.lazy_annotations import ids_of
from qpkit.errors import FormatError, ProjectError, listed
from qpkit.files import AnyPath
from qpkit.memory import gc_paused, give_back
from qpkit.qupath.java import values as javavalues
from qpkit.qupath.java.emitter import Edits, Emitter, Kept
from qpkit.qupath.java.tape import StreamValue, Tape
from qpkit.qupath.java.values import Plain
from qpkit.qupath.qpdata.edits import HierarchyEdits
from qpkit.qupath.qpdata.hierarchy import find_objects
from qpkit.qupath.qpdata.image_data import FILE_END, WorkflowStep, find_places, find_root, read_header, read_step
from qpkit.qupath.qpdata.java_classes import Vocabulary, block
from qpkit.qupath.qpdata.object_reader import ObjectColumns, count_objects, read_annotations, read_in_batches
from qpkit.qupath.qpdata.object_writer import identified
from qpkit.qupath.qpdata.read_back import require_kept

log = logging.getLogger(__name__)

CONNECTIONS: Final = "OBJECT_CONNECTIONS"
"""Property with references to detections (Delaunay clustering); out of date as soon as objects go."""

_BYTES_PER_OBJECT: Final = 300


def _do_not_look(found: Iterator[ObjectColumns]) -> None:
    """Objects that are read back; being read is enough."""


class QpData:
    """One .qpdata in memory. Make it with `parse` or `new_qpdata`.

    Every edit writes the file anew in memory and reads it back, so an edit that cannot be read is never seen.

    Attributes:
        source: Where it came from, for messages.
        data_version: 2 (QuPath v0.2) or 3 (v0.3 to v0.7).
        unknown: What was not understood, one line each; if there is anything, the file cannot be edited.
    """

    def __init__(
        self, data: bytes, *, source: str, look: Callable[[Iterator[ObjectColumns]], object] | None = None
    ) -> None:
        """See `parse`; with `look` every object is read and shown to it, and none is kept."""
        self.source = source
        with self._named(), gc_paused(len(data)):
            self._tape = Tape(data, until=FILE_END)
            self.data_version, self._server_text, self.unknown = read_header(self._tape)
            self._places = find_places(self._tape, self.unknown)
            self._objects = find_objects(self._tape, find_root(self._places, self._tape))
            give_back(len(data))
            self._known: list[Annotation] | None = None
            if look is None:
                self._known = read_annotations(self._tape, self._objects)
            else:
                found = read_in_batches(self._tape, self._objects)
                look(found)
                collections.deque(found, maxlen=0)  # what it did not look at
        self._ids: dict[str, int] | None = None
        self.unknown += self._objects.unknown
        if self.unknown:
            log.warning("%s: not understood: %s", source, "; ".join(self.unknown))

    @classmethod
    def parse(cls, data: bytes, *, source: str) -> QpData:
        """Read a .qpdata.

        Args:
            data: The file's bytes.
            source: The file's name, for messages.

        Raises:
            FormatError: Damaged, truncated or foreign; the message has the byte offset.
        """
        return cls(data, source=source)

    def _take(self, other: QpData) -> None:
        """Become what another one is."""
        self._tape, self._places, self._objects = other._tape, other._places, other._objects
        self._known, self._ids = None, None
        self.data_version, self._server_text, self.unknown = other.data_version, other._server_text, other.unknown

    def to_bytes(self) -> bytes:
        """Give the file's bytes: those that were parsed if nothing was changed."""
        return self._tape.data

    @property
    def _annotations(self) -> list[Annotation]:
        """All objects; after an edit they are read when somebody asks."""
        if self._known is None:
            with self._named(), gc_paused(len(self._tape.data)):
                self._known = read_annotations(self._tape, self._objects)
        return self._known

    def counts(self) -> Counter[tuple[Kind, PathClass | None]]:
        """How many `objects()` there are of each kind and class, in the order in which these come."""
        with self._named():
            return count_objects(self._tape, self._objects)

    def objects(self) -> list[Annotation]:
        """List all objects depth first, in QuPath's order; `parent` is an index into this list."""
        return list(self._annotations)

    @property
    def server(self) -> dict[str, Any] | None:
        """The image server's JSON as saved with the file (QuPath ignores it inside a project); None in v0.2."""
        try:
            record = msgspec.json.decode(self._server_text)
        except (msgspec.DecodeError, RecursionError):  # msgspec raises the second for deep nesting
            return None
        server = record.get("server") if isinstance(record, dict) else None
        return server if isinstance(server, dict) else None

    @property
    def image_type(self) -> str | None:
        """QuPath's enum name: "BRIGHTFIELD_H_E", "FLUORESCENCE", "UNSET", ..."""
        view = self._places.image_type
        return None if view is None else view.text

    @property
    def stains(self) -> str | None:
        """The stain vectors as QuPath's JSON-like string; None if there are none."""
        view = self._places.stains
        texts = [item.text for item in view.own() if item.is_text] if view is not None else []
        return texts[0] if texts else None

    @property
    def workflow(self) -> list[WorkflowStep]:
        """The command history."""
        view = self._places.workflow
        with self._named():
            return [] if view is None else [read_step(item) for item in view.own() if item.is_object]

    @property
    def properties(self) -> dict[str, Plain]:
        """The image's properties; values that are no plain values show as their class, "<java.util.ArrayList>"."""
        with self._named():
            pairs = javavalues.entries(self._places.properties)
            return {str(javavalues.plain(key)): javavalues.plain(value) for key, value in pairs}

    @property
    def tma_grid(self) -> tuple[int, int] | None:
        """Rows and columns of the TMA grid; None without one."""
        assert self._places.hierarchy is not None
        grid = javavalues.field(self._places.hierarchy, "tmaGrid")
        fields = grid.fields() if grid is not None and grid.is_object else {}
        rows, columns = fields.get("gridHeight"), fields.get("gridWidth")
        return (rows, columns) if isinstance(rows, int) and isinstance(columns, int) else None

    def add(self, objects: Sequence[Annotation], *, parent: str | int | None = None, nested: bool = False) -> None:
        """Add objects.

        Objects without an id get one made from their content.

        Args:
            objects: Put flat under the root, as QuPath's own import does, whatever their `parent` says.
            parent: Put them below this object instead (an id, or a position in `objects()`).
            nested: Keep their hierarchy: `parent` of each is an index into this sequence, of an object before it.

        Raises:
            FormatError: An id is there already (remove the old object first), or the file cannot be edited.
            GeometryError: A shape cannot be stored.
        """
        number = 0 if parent is None else self._number(parent)
        if objects:
            ready = self._identified(objects, gone=())
            self._edit(lambda edits: edits.add(ready, parent=number, nested=nested), count=len(ready))

    def remove(self, ids: Collection[str | int] | str) -> int:
        """Remove exactly these objects (ids, or positions in `objects()`); what was below one takes its place.

        Returns:
            How many objects were removed; ids that are not there are ignored.

        Raises:
            FormatError: One of them is a TMA core, which the grid needs, or the file cannot be edited.
        """
        return self.replace(remove=ids, add=())

    def replace(self, *, remove: Collection[str | int] | str, add: Sequence[Annotation], verify: bool = False) -> int:
        """Remove objects and add others flat under the root, in one step; see `remove` and `add`.

        Args:
            remove: Ids, or positions in `objects()`.
            add: New objects.
            verify: Compare every other object that is read back with what it was.

        Returns:
            How many objects were removed.

        Raises:
            FormatError: As for those, or another object is not what it was.
        """
        remove = [remove] if isinstance(remove, str) else remove  # else its letters would be ids that are not there
        numbers = {self._number(key) for key in remove if isinstance(key, int) or key in self._by_id()}
        self._require_no_core(numbers, "removed")
        ready = self._identified(add, gone=numbers)

        def change(edits: HierarchyEdits) -> None:
            if numbers:
                edits.remove(numbers)
                self._drop_property(CONNECTIONS, edits.edits)
            edits.add(ready)

        if numbers or ready:
            gone = {key for key in remove if isinstance(key, str)}  # two objects of one id are refused
            every = enumerate(self._annotations, start=1)
            kept = (item for number, item in every if number not in numbers and item.id not in gone)
            new = {str(identity) for identity in ids_of(ready)}
            look = (lambda found: require_kept(found, kept, new)) if verify else _do_not_look
            self._edit(change, look, count=len(ready))
        return len(numbers)

    def _identified(self, objects: Sequence[Annotation], *, gone: Collection[int]) -> Sequence[Annotation]:
        """Give new objects their ids, apart from those of the objects that stay."""
        stay = (item.id for number, item in enumerate(self._annotations, start=1) if number not in gone)
        taken = {identity for identity in stay if identity is not None}
        ready = identified(objects, taken)
        ids = [str(identity) for identity in ids_of(ready)]
        twice = [identity for identity, count in Counter(ids).items() if count > 1]
        twice += [identity for identity in ids if identity in taken]
        if twice:
            raise FormatError(
                f"{self.source}: {len(twice)} object ids are there already, {twice[0]} first; remove them before adding"
            )
        return ready

    def move(self, ids: Sequence[str | int], *, to: str | int | None) -> None:
        """Put objects, with everything below them, below another one (None: the root), behind its children.

        Args:
            ids: Ids, or positions in `objects()`.
            to: The new parent.

        Raises:
            FormatError: No such object, a TMA core, an object below itself, or the file cannot be edited.
        """
        numbers = list(dict.fromkeys(self._number(key) for key in ids))
        self._require_no_core(numbers, "moved")
        number = 0 if to is None else self._number(to)
        if numbers:
            self._edit(lambda edits: edits.move(numbers, number))

    def update(self, changes: Mapping[str | int, Annotation]) -> int:
        """Change objects in their places: class, name, colour, lock, measurements, metadata, id, plane, shape, nucleus.

        Args:
            changes: The new value of each object, by its id or its position in `objects()`. What equals the old value
                is not touched; `parent` is ignored (see `move`).

        Returns:
            How many objects are different now.

        Raises:
            FormatError: No such object, another kind of object, an id that is taken, or the file cannot be edited.
            GeometryError: A shape cannot be stored.
        """
        new = {self._number(key): value for key, value in changes.items()}
        ids = Counter(new.get(n + 1, item).id for n, item in enumerate(self._annotations))
        twice = [identity for identity, count in ids.items() if identity is not None and count > 1]
        # Ids that the file has twice already are no reason to refuse other changes.
        if twice and {new[n].id for n in new} & set(twice):
            raise FormatError(f"{self.source}: the object id {twice[0]} is there already")

        def change(edits: HierarchyEdits) -> None:
            for number, value in new.items():
                edits.change(number, self._annotations[number - 1], value)

        before, different = self._annotations, 0

        def count(found: Iterator[ObjectColumns]) -> None:
            nonlocal different
            every = itertools.chain.from_iterable(some.annotations() for some in found)
            for number, item in enumerate(every, start=1):
                different += number in new and before[number - 1].comparable() != item.comparable()

        if new:
            self._edit(change, count)
        return different

    def set_property(self, key: str, value: str) -> None:
        """Set a text property of the image.

        Raises:
            FormatError: The file cannot be edited.
        """
        self._edit(lambda edits: self._put_property(key, value, edits.edits))

    def _edit(
        self,
        change: Callable[[HierarchyEdits], None],
        look: Callable[[Iterator[ObjectColumns]], object] = _do_not_look,
        *,
        count: int = 0,
    ) -> None:
        """Collect edits, write the file anew in memory, read it back, take it over; one without edits stays as it is.

        Args:
            change: Collects them.
            look: Is shown all objects that are read back; may refuse them.
            count: About how many there are more.
        """
        if self.unknown:
            raise FormatError(
                f"{self.source}: not rewritten, because it holds something that qpkit does not know: "
                f"{listed(self.unknown, joint='; ')}; add the objects inside QuPath (GeoJSON import) instead"
            )
        with self._named(), gc_paused(len(self._tape.data) + _BYTES_PER_OBJECT * count):
            edits = HierarchyEdits(self._tape, self._objects)
            change(edits)
            made = edits.written()
        if made != self._tape.data:
            give_back(len(made))
            again = QpData(made, source=self.source, look=look)
            if again.unknown:
                raise FormatError(f"{self.source}: not edited, because it would not read back; please report this")
            self._take(again)

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Put the file's name before errors."""
        try:
            yield
        except FormatError as err:
            raise FormatError(f"{self.source}: {err}") from err

    def _by_id(self) -> dict[str, int]:
        if self._ids is None:
            self._ids = {item.id: n + 1 for n, item in enumerate(self._annotations) if item.id is not None}
        return self._ids

    def _number(self, key: str | int) -> int:
        """Number of an object in the hierarchy, where 0 is the root."""
        number = key + 1 if isinstance(key, int) else self._by_id().get(key, 0)
        if not 1 <= number <= len(self._annotations):
            raise FormatError(f"{self.source}: there is no object {key!r}")
        return number

    def _require_no_core(self, numbers: Collection[int], verb: str) -> None:
        for number in numbers:
            if self._annotations[number - 1].kind == "tma_core":
                name = self._annotations[number - 1].id
                raise FormatError(f"{self.source}: {name} is a TMA core and cannot be {verb}; do it in QuPath")

    def _put_property(self, key: str, value: str, edits: Edits) -> None:
        view = self._places.properties
        if view is None:
            assert self._places.end is not None
            # QuPath reads nothing behind the end mark.
            row = self._places.end.row
            edits.replace[row] = [lambda emitter: Vocabulary(emitter).hash_map({key: value}), Kept(row)]
            return
        own = javavalues.map_contents(view)
        for name, old in zip(own[1::2], own[2::2], strict=False):
            if name.is_text and name.text == key:
                edits.replace[self._row_in(view, old)] = [_text(value)]
                return
        edits.replace[own[0].row] = [_counted(own[0], 1)]
        edits.put_behind(self._row_in(view, own[-1]), [_text(key), _text(value)])

    def _drop_property(self, key: str, edits: Edits) -> None:
        view = self._places.properties
        own = [] if view is None else javavalues.map_contents(view)
        for name, value in zip(own[1::2], own[2::2], strict=False):
            if view is not None and name.is_text and name.text == key:
                edits.replace[self._row_in(view, name)] = []
                edits.replace[self._row_in(view, value)] = []
                edits.replace[own[0].row] = [_counted(own[0], -1)]

    def _row_in(self, owner: StreamValue, value: StreamValue) -> int:
        """The place of a value among the children of its owner, where a reference may stand."""
        return next(row for row in self._tape.children(owner.row) if self._tape.resolved(row) == value.row)


def _text(text: str) -> Callable[[Emitter], None]:
    return lambda emitter: Vocabulary(emitter).text(text)


def _counted(size_block: StreamValue, change: int) -> bytes:
    """Change the number of entries that a map notes in its own block (capacity, size)."""
    data = size_block.data
    # The capacity before it stays: Java's HashMap reads it and ignores it.
    return block(data[:-4] + struct.pack(">i", struct.unpack(">i", data[-4:])[0] + change))


def read_qpdata(path: AnyPath) -> QpData:
    """Read a .qpdata file; one that ends in .gz is unpacked.

    Raises:
        ProjectError: There is no such file, or it cannot be read.
        FormatError: Damaged, truncated or foreign; the message has the byte offset.
    """
    file = Path(path)
    try:
        content = file.read_bytes()
        return QpData.parse(gzip.decompress(content) if file.suffix == ".gz" else content, source=str(file))
    except (gzip.BadGzipFile, EOFError, zlib.error) as err:
        raise FormatError(f"{file}: cannot be unpacked ({err})") from err
    except OSError as err:
        raise ProjectError(f"{file}: cannot be read ({err.strerror or err})") from err
