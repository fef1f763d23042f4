"""A QuPath project: its entries, their images and objects.

Source: qupath.lib.projects.DefaultProject, v0.2.3 to v0.7.0.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from qpkit.core.annotation import Annotation, PathClass
from qpkit.errors import ProjectError, QpkitError, listed, or_else
from qpkit.qupath.project.entry_files import EntryFiles, Stamp
from qpkit.qupath.project.entry_update import edit_data, replace_objects
from qpkit.qupath.project.images.server import Server
from qpkit.qupath.project.images.uris import file_path, rebased
from qpkit.qupath.qpdata.file import QpData


@dataclass(frozen=True, slots=True)
class Project:
    """An open project.

    Args:
        path: The .qpproj file.
        version: QuPath's version that wrote it; "" if it does not say.
        entries: In the project's order.
        classes: The class list with colours (classifiers/classes.json).
        record: The whole project.qpproj as JSON, unknown keys too.
        stamp: State of the file when it was read.
    """

    path: Path
    version: str
    entries: tuple[Entry, ...]
    classes: tuple[PathClass, ...]
    record: Mapping[str, Any] = field(repr=False)
    stamp: Stamp = field(repr=False)

    @property
    def folder(self) -> Path:
        """The project's folder."""
        return self.path.parent

    def __fspath__(self) -> str:
        """Where it is: an open project may be given wherever a path is asked for."""
        return str(self.path)

    def entry(self, name: str) -> Entry:
        """Find an entry by its name.

        Raises:
            ProjectError: None or several are called so.
        """
        found = [entry for entry in self.entries if entry.name == name]
        if len(found) != 1:
            raise ProjectError(f"{self.path}: {len(found)} entries are called {name!r}; exactly one is needed")
        return found[0]

    def stamps(self) -> list[Path]:
        """List the files of qTrace in the project's folder, which hold signed hashes of its data files.

        A data file that changes, whoever changes it, no longer fits its stamp.

        Source: qTrace 1.0 writes PROJECT/qTrace/trace/IMAGE.qtrace with "qpdata_sha256".
        """
        return sorted(self.folder.rglob("*.qtrace"))

    def called(self, name: str) -> list[Entry]:
        """List the entries that a name can mean: their own, or without the endings of a file ("P3" for "P3.ome.tif").

        The name may have an ending of its own ("P3.geojson"); entries of exactly this name come alone.
        """
        exact = [entry for entry in self.entries if entry.name == name]
        shorter = exact or [entry for entry in self.entries if name in _without_endings(entry.name)]
        wanted = _without_endings(name)
        return shorter or [entry for entry in self.entries if wanted & _without_endings(entry.name)]

    def known_classes(self, names: Collection[str]) -> dict[str, PathClass]:
        """Find classes by their full names: in the class list, else as objects of any entry have them.

        QuPath gives every object of a class one colour, that of the class list; so whoever adds a class that only
        objects have has to add it with their colour.

        Args:
            names: "Tumor: Positive" each; data files are only read if one of them is not in the class list.

        Returns:
            By name; those that are nowhere are missing. Data files that cannot be read are passed over.
        """
        found = {str(item): item for item in self.classes if str(item) in names}
        for entry in self.entries:
            if len(found) == len(set(names)):
                break
            for item in _classes_of(entry):
                if str(item) in names:
                    found.setdefault(str(item), item)
        return found

    def chosen(self, wanted: Sequence[str]) -> list[Entry]:
        """List the entries with these names or ids, in the project's order; all where nothing is wanted.

        Raises:
            ProjectError: One does not exist.
        """
        known = {str(entry.id) for entry in self.entries} | {entry.name for entry in self.entries}
        unknown = [name for name in wanted if name not in known]
        if unknown:
            named = [entry.name for entry in self.entries]
            raise ProjectError(f"{self.path}: no entry {listed(map(repr, unknown))}; {or_else(unknown[0], named)}")
        return [entry for entry in self.entries if not wanted or entry.name in wanted or str(entry.id) in wanted]


@dataclass(frozen=True, slots=True)
class Entry:
    """One image of a project.

    Args:
        id: QuPath's number; the data is in data/<id>.
        name: As shown in QuPath.
        metadata: The user's own keys and values.
        tags: v0.6 and later.
        server: How QuPath opens the image.
        description: The user's text, or None.
        project_path: The .qpproj file.
        project_uri: Where the project was when QuPath last saved it, or None.
        files: The entry's data folder, and what it looked like when read.
    """

    id: int
    name: str
    metadata: Mapping[str, str]
    tags: tuple[str, ...]
    server: Server = field(repr=False)
    description: str | None
    project_path: Path
    project_uri: str | None
    files: EntryFiles = field(repr=False)

    @property
    def has_data(self) -> bool:
        """Whether QuPath has saved objects for it."""
        return self.files.data.exists()

    @property
    def image_size(self) -> tuple[int, int] | None:
        """(width, height) in level-0 px as QuPath shows the image, or None where the project does not say it."""
        return self.server.size

    @property
    def image_name(self) -> str:
        """The image file's name as stored, wherever it is now; "" for an image that is no file."""
        return "" if self.server.path is None else self.server.path.name

    def mpp(self) -> float | None:
        """Pixel size in um, None if QuPath does not know one (or x and y differ by more than 1 %)."""
        return self.server.mpp()

    def image_path(self) -> Path:
        """Find the image file; if it is not where it was, look relative to the project as QuPath does.

        Raises:
            ProjectError: No such file; the message says where it was looked for.
        """
        where = f"entry {self.id} ({self.name!r:.60})"
        uri, stored = self.server.innermost.uri, self.server.path
        if stored is None:
            raise ProjectError(f"{where}: its image is no file ({uri or self.server.innermost.type}); export it first")
        tried = [stored, *self._moved(stored)]
        for candidate in tried:
            # A Windows path cannot be on another system, nor the other way round.
            if isinstance(candidate, type(PurePath())) and _is_there(Path(candidate)):
                return Path(candidate)
        places = " and ".join(str(candidate) for candidate in tried)
        raise ProjectError(
            f"{where}: its image is not there (looked for {places}); put it back, or find it with: "
            "qpkit doctor PROJECT --search FOLDER --fix"
        )

    def _moved(self, stored: PurePath) -> list[PurePath]:
        """Where the image would be had it moved along with the project."""
        old = None if self.project_uri is None else file_path(self.project_uri)
        if old is None:
            return []
        new = rebased(stored, old.parent, self.project_path.absolute().parent)
        return [new] if new is not None and new != stored else []

    def read(self) -> QpData:
        """Read the entry's data file, and remember its state for a later write.

        Raises:
            ProjectError: QuPath has saved none.
            FormatError: It is damaged.
        """
        if not self.has_data:
            raise ProjectError(f"{self.files.data}: entry {self.name!r} has no data yet; open and save it in QuPath")
        return QpData.parse(self.files.read(), source=str(self.files.data))

    def objects(self) -> list[Annotation]:
        """List the entry's objects; none if QuPath has saved no data."""
        return self.read().objects() if self.has_data else []

    def replace_objects(self, *, remove: Collection[str | int], add: Sequence[Annotation]) -> None:
        """Remove the objects with these ids and add others, in one safe write.

        QuPath must be closed. The file is replaced only if it reads back as it should and neither it nor the project
        changed since they were read; the first data file that qpkit replaces stays beside it as
        `data.qpdata.qpkit-backup`. Then summary.json and the class list are brought up to date. Nothing to remove
        and nothing to add touches no byte; an entry without data gets a new data file.

        Args:
            remove: Object ids, or positions in `objects()`; unknown ids are ignored. What was below a removed object
                moves up to its parent.
            add: Put flat under the root. Objects without an id get one made from their content.

        Raises:
            ProjectError: The files changed since they were read.
            FormatError: The file is not understood in full, or an id is there already.
            OutputError: It cannot be written; the old file is still there.
        """
        replace_objects(self.files, remove=remove, add=add, server=self.server, entry_id=self.id)

    def edit(self, change: Callable[[QpData], object]) -> bool:
        """Change the entry's data in one safe write (see `replace_objects`).

        Args:
            change: Gets the data as they are now and edits them: add, remove, move, update, set_property. If it raises,
                nothing is written.

        Returns:
            Whether anything was written; equal data are not.

        Raises:
            ProjectError: The files changed since they were read.
            FormatError: The file cannot be edited.
            OutputError: It cannot be written; the old file is still there.
        """
        return edit_data(self.files, change, server=self.server, entry_id=self.id)


def _is_there(path: Path) -> bool:
    """Say whether a file can be seen; a folder that may not be entered is as good as none."""
    try:
        return path.exists()
    except OSError:
        return False


def _without_endings(name: str) -> set[str]:
    """A file's name, and what is left of it without its ending, and without ".ome" before that."""
    stem = PurePath(name).stem
    return {name, stem, stem[:-4]} if stem.lower().endswith(".ome") else {name, stem}


def _classes_of(entry: Entry) -> list[PathClass]:
    """Classes of an entry's objects, each once; none if its data cannot be read."""
    try:
        objects = entry.objects() if entry.has_data else []
    except QpkitError:
        return []
    return list(dict.fromkeys(item.path_class for item in objects if item.path_class is not None))
