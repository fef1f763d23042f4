"""A whole .qpdata: header, image data around the hierarchy, and its objects. Reads, adds, removes.

A file that is not understood in full is never rewritten: QuPath 0.5 and later open a file they cannot read with an
empty hierarchy, and the next save then destroys the user's annotations.

Source: qupath.lib.io.PathIO, v0.2.3 to v0.7.0.
"""

from __future__ import annotations

import logging
import struct
import uuid
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from qpkit.core.annotation import Annotation
from qpkit.errors import FormatError
from qpkit.qupath import javastream, javavalues
from qpkit.qupath.gc_pause import gc_paused
from qpkit.qupath.hierarchy import Hierarchy, read_annotations, read_hierarchy
from qpkit.qupath.javanodes import Block, Content, Enum, JavaString, Obj, Reset, Stream, Value
from qpkit.qupath.javavalues import Plain
from qpkit.qupath.object_writer import ObjectWriter, identified
from qpkit.qupath.objects import OBJECT_ID, ROOT
from qpkit.qupath.vocabulary import Vocabulary

log = logging.getLogger(__name__)

HIERARCHY: Final = "qupath.lib.objects.hierarchy.PathObjectHierarchy"
IMAGE_TYPE: Final = "qupath.lib.images.ImageData$ImageType"
STAINS: Final = "qupath.lib.color.ColorDeconvolutionStains"
WORKFLOW: Final = "qupath.lib.plugins.workflow.Workflow"
CONNECTIONS: Final = "OBJECT_CONNECTIONS"
"""Property with references to detections (Delaunay clustering); out of date as soon as objects go."""

_KNOWN_VERSIONS: Final = (2, 3)
_HEADER: Final = "Data file version "
_END: Final = "EOF"
_BYTES_PER_OBJECT: Final = 300
_NAMESPACE: Final = uuid.UUID("c0a3d1b2-7d0e-5a43-9b1f-5f2e6c8d9a07")


@dataclass(frozen=True, slots=True)
class WorkflowStep:
    """A step of QuPath's command history; `script` is None where it has none."""

    name: str
    script: str | None
    parameters: Mapping[str, Plain] = field(default_factory=dict)


@dataclass(slots=True)
class _Places:
    """The known top-level nodes of a file."""

    image_type: Enum | None = None
    stains: Obj | None = None
    workflow: Obj | None = None
    hierarchy: Obj | None = None
    properties: Obj | None = None
    ended: bool = False


class QpData:
    """One .qpdata in memory. Make it with `parse` or `new_qpdata`.

    Attributes:
        source: Where it came from, for messages.
        data_version: 2 (QuPath v0.2) or 3 (v0.3 to v0.7).
        unknown: What was not understood, one line each; if there is anything, an edited file is not written.
    """

    def __init__(self, stream: Stream, *, source: str, original: bytes | None = None) -> None:
        """Take the known nodes out of a stream (see `parse`)."""
        self.source = source
        self.unknown: list[str] = []
        self._stream = stream
        self._original = original
        self.data_version, self._server_text = self._read_header()
        self._places = self._find_places()
        if self._places.hierarchy is None:
            raise FormatError(f"{source}: there is no hierarchy in it; it is no QuPath data file or is damaged")
        self._hierarchy: Hierarchy = read_hierarchy(self._places.hierarchy)
        self.unknown += self._hierarchy.unknown
        self._annotations: list[Annotation] | None = None
        self._words = Vocabulary(stream.classes)
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
        try:
            with gc_paused(len(data)):
                made = cls(javastream.parse(data, until=_END), source=source, original=data)
                made.objects()
        except FormatError as err:
            if str(err).startswith(source):
                raise
            raise FormatError(f"{source}: {err}") from err
        return made

    def to_bytes(self) -> bytes:
        """Give the file's bytes: those that were parsed if nothing was changed.

        Raises:
            FormatError: Something was changed and the file was not understood in full.
        """
        if self._original is not None:
            return self._original
        if self.unknown:
            raise FormatError(
                f"{self.source}: not rewritten, because it holds something that qpkit does not know: "
                f"{'; '.join(self.unknown)}; add the objects inside QuPath (GeoJSON import) instead"
            )
        return javastream.write(self._stream)

    def objects(self) -> list[Annotation]:
        """List all objects depth first, in QuPath's order; `parent` is an index into this list."""
        if self._annotations is None:
            self._annotations = read_annotations(self._hierarchy.objects)
        return list(self._annotations)

    @property
    def server(self) -> dict[str, Any] | None:
        """The image server's JSON as saved with the file (QuPath ignores it inside a project); None in v0.2."""
        try:
            record = msgspec.json.decode(self._server_text)
        except msgspec.DecodeError:
            return None
        server = record.get("server") if isinstance(record, dict) else None
        return server if isinstance(server, dict) else None

    @property
    def image_type(self) -> str | None:
        """QuPath's enum name: "BRIGHTFIELD_H_E", "FLUORESCENCE", "UNSET", ..."""
        node = self._places.image_type
        return None if node is None else str(node.constant)

    @property
    def stains(self) -> str | None:
        """The stain vectors as QuPath's JSON-like string; None if there are none."""
        node = self._places.stains
        texts = [item for item in node.annotation if isinstance(item, JavaString)] if node is not None else []
        return str(texts[0]) if texts else None

    @property
    def workflow(self) -> list[WorkflowStep]:
        """The command history."""
        node = self._places.workflow
        steps = [] if node is None else [item for item in node.annotation if isinstance(item, Obj)]
        return [_step(item) for item in steps]

    @property
    def properties(self) -> dict[str, Plain]:
        """The image's properties; values that are no plain values show as their class, "<java.util.ArrayList>"."""
        pairs = javavalues.entries(self._places.properties, None)
        return {str(javavalues.plain(key)): javavalues.plain(value) for key, value in pairs}

    @property
    def tma_grid(self) -> tuple[int, int] | None:
        """Rows and columns of the TMA grid; None without one."""
        assert self._places.hierarchy is not None
        node = self._places.hierarchy.fields().get("tmaGrid")
        fields = node.fields() if isinstance(node, Obj) else {}
        rows, columns = fields.get("gridHeight"), fields.get("gridWidth")
        return (rows, columns) if isinstance(rows, int) and isinstance(columns, int) else None

    def add(self, objects: Sequence[Annotation]) -> None:
        """Add objects flat under the root, as QuPath's own import does; `parent` is ignored.

        Objects without an id get one made from their content.

        Raises:
            FormatError: An id is there already (remove the old object first).
            GeometryError: A shape cannot be stored.
        """
        if not objects:
            return
        taken = {placed.body.metadata.get(OBJECT_ID) for placed in self._hierarchy.objects}
        ready = identified(objects, {item for item in taken if item is not None})
        twice = [item for item, count in Counter(annotation.id for annotation in ready).items() if count > 1]
        twice += [str(annotation.id) for annotation in ready if annotation.id in taken]
        if twice:
            raise FormatError(
                f"{self.source}: {len(twice)} object ids are there already, {twice[0]} first; remove them before adding"
            )
        with gc_paused(_BYTES_PER_OBJECT * len(ready)):
            self._append(ready)
            self._changed()

    def _append(self, ready: Sequence[Annotation]) -> None:
        """Put objects under the root; class objects of the file are used again."""
        writer = ObjectWriter(self._words)
        for placed in self._hierarchy.objects:
            writer.know(placed.body.path_class)
        root = self._hierarchy.root
        root.set_children([*root.children, *writer.write_all(ready)])

    def remove(self, ids: Collection[str]) -> int:
        """Remove exactly the objects with these ids; what was below one moves up to its parent, in its place.

        Returns:
            How many objects were removed.

        Raises:
            FormatError: One of them is a TMA core, without which the grid would be broken.
        """
        wanted = set(ids)
        gone = {id(p.body.node): p.body for p in self._hierarchy.objects if p.body.metadata.get(OBJECT_ID) in wanted}
        if not gone:
            return 0
        for body in gone.values():
            if body.node.class_name.endswith("TMACoreObject"):
                raise FormatError(f"{self.source}: {body.metadata[OBJECT_ID]} is a TMA core; remove it in QuPath")
        # Deepest first, so that a removed child has its own children settled before it is replaced by them.
        for body in [*(placed.body for placed in reversed(self._hierarchy.objects)), self._hierarchy.root]:
            if any(id(child) in gone for child in body.children):
                body.set_children(_lifted(body.children, gone))
        self._drop_property(CONNECTIONS)
        self._changed()
        return len(gone)

    def set_property(self, key: str, value: str) -> None:
        """Set a text property of the image."""
        contents = self._property_contents()
        if contents is None:
            self._places.properties = self._words.hash_map({key: value})
            self._stream.contents.insert(-1, self._places.properties)
        else:
            self._drop_property(key)
            contents += [JavaString(key), JavaString(value)]
            _count(contents, 1)
        self._changed()

    def _changed(self) -> None:
        """Read the hierarchy anew; the original bytes no longer hold."""
        assert self._places.hierarchy is not None
        self._original = None
        self._annotations = None
        self._hierarchy = read_hierarchy(self._places.hierarchy)

    def _property_contents(self) -> list[Content] | None:
        node = self._places.properties
        return None if node is None else javavalues.map_contents(node)

    def _drop_property(self, key: str) -> None:
        contents = self._property_contents() or []
        for at in range(1, len(contents), 2):  # behind the size block: key, value, key, value
            if isinstance(contents[at], JavaString) and contents[at] == key:
                del contents[at : at + 2]
                _count(contents, -1)
                return

    def _read_header(self) -> tuple[int, str]:
        """Read "Data file version 3" and the string behind it."""
        contents = self._stream.contents
        first = contents[0].data if contents and isinstance(contents[0], Block) else b""
        text = first[2:].decode("ascii", "replace")
        if not text.startswith(_HEADER) or first[:2] != struct.pack(">H", len(text)):
            raise FormatError(f"{self.source}: no QuPath data file (it does not start with {_HEADER!r})")
        version = int(text.removeprefix(_HEADER)) if text.removeprefix(_HEADER).isdecimal() else 0
        if version not in _KNOWN_VERSIONS:
            self.unknown.append(f"header {text!r}")
        second = contents[1] if len(contents) > 1 else None
        return version, str(second) if isinstance(second, JavaString) else ""

    def _find_places(self) -> _Places:
        places = _Places()
        for item in self._stream.contents[2:]:
            self._place(item, places)
        if not places.ended:
            self.unknown.append("no end mark")
        if self._stream.tail:
            self.unknown.append(f"{len(self._stream.tail)} bytes behind the end mark")
        return places

    def _place(self, item: Content, places: _Places) -> None:
        if isinstance(item, Enum) and item.desc.name == IMAGE_TYPE and places.image_type is None:
            places.image_type = item
        elif isinstance(item, JavaString) and item == _END:
            places.ended = True
        elif isinstance(item, Obj) and item.class_name == "java.util.HashMap" and places.properties is None:
            places.properties = item
        elif isinstance(item, Obj) and item.class_name == HIERARCHY and places.hierarchy is None:
            places.hierarchy = item
        elif isinstance(item, Obj) and item.class_name == WORKFLOW and places.workflow is None:
            places.workflow = item
        elif isinstance(item, Obj) and item.class_name == STAINS and places.stains is None:
            places.stains = item
        elif item is not None and not (isinstance(item, Obj) and item.class_name == "java.util.Locale"):
            self.unknown.append(f"a {javavalues.describe(item)} beside the hierarchy")


def new_qpdata(
    *,
    image_type: str,
    server: Mapping[str, Any] | None = None,
    objects: Sequence[Annotation] = (),
    stains: str | None = None,
    properties: Mapping[str, str] | None = None,
    qupath_version: str = "0.5.1",
    source: str = "new data.qpdata",
) -> QpData:
    """Make a data file in the layout that v0.3 to v0.7 write (v0.2.3 reads it inside a project too).

    Args:
        image_type: QuPath's enum name, "BRIGHTFIELD_H_E".
        server: The image's server builder as in project.qpproj, or None.
        objects: Added flat under the root.
        stains: QuPath's stain string, or None.
        properties: Text properties of the image.
        qupath_version: Written into the server record.
        source: For messages.
    """
    words = Vocabulary()
    record = {"dataVersion": 3, "qupathVersion": qupath_version, **({"server": server} if server is not None else {})}
    root_id = words.object_array([JavaString(uuid.uuid5(_NAMESPACE, f"root {image_type} {properties} {server}"))])
    metadata = words.external(
        "qupath.lib.objects.MetadataMap", [words.integer(1), words.object_array([words.string(OBJECT_ID)]), root_id]
    )
    root = words.external(ROOT, [None, None, metadata, None, Block(struct.pack(">i", 0))])
    header = (_HEADER + "3").encode("ascii")
    contents: list[Content] = [
        Block(struct.pack(">H", len(header)) + header),
        JavaString(msgspec.json.encode(record).decode("utf-8")),
        words.enum(IMAGE_TYPE, image_type),
        None if stains is None else words.external(STAINS, [Block(struct.pack(">i", 1)), JavaString(stains)]),
        words.external(WORKFLOW, [Block(struct.pack(">ii", 1, 0))]),
        words.obj(HIERARCHY, {"rootObject": root, "tmaGrid": None}),
        words.hash_map(properties or {}),
        JavaString(_END),
    ]
    made = QpData(Stream(contents), source=source)
    made.add(objects)
    return made


def _lifted(children: Sequence[Obj], gone: Mapping[int, Any]) -> list[Obj]:
    """Replace removed children by what is below them."""
    kept: list[Obj] = []
    for child in children:
        kept += gone[id(child)].children if id(child) in gone else [child]
    return kept


def _count(contents: list[Content], change: int) -> None:
    """Change the number of entries that a map notes in its own block (capacity, size)."""
    block = contents[0]
    assert isinstance(block, Block)
    contents[0] = Block(block.data[:-4] + struct.pack(">i", struct.unpack(">i", block.data[-4:])[0] + change))


def _step(node: Obj) -> WorkflowStep:
    """Read a DefaultScriptableWorkflowStep or SimplePluginWorkflowStep; others by their class only."""
    if node.class_name.endswith(".DefaultScriptableWorkflowStep"):
        fields = node.fields()
        name, script, parameters = (_as_value(fields.get(key)) for key in ("name", "script", "map"))
        pairs = javavalues.entries(parameters, node)
        plain = {str(javavalues.plain(key)): javavalues.plain(value) for key, value in pairs}
        return WorkflowStep(str(javavalues.plain(name) or ""), javavalues.text_or_none(script, node), plain)
    texts = [item for item in node.annotation if not isinstance(item, Block | Reset)]
    if node.class_name.endswith(".SimplePluginWorkflowStep") and len(texts) >= 3:
        plugin, argument = javavalues.plain(texts[1]), javavalues.plain(texts[2])
        return WorkflowStep(str(javavalues.plain(texts[0])), f"runPlugin('{plugin}', '{argument}')")
    return WorkflowStep(node.class_name, None)


def _as_value(value: object) -> Value:
    return None if isinstance(value, int | float) else value  # type: ignore[return-value]  # fields() holds nodes
