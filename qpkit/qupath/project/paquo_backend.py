"""The paquo backend: objects are read and written by a real QuPath's own code.

For those who want QuPath to do the writing. Needs `pip install 'qpkit[paquo]'` and a QuPath, which paquo finds by
PAQUO_QUPATH_DIR or in the usual places. The project file itself is still read by qpkit. Imports paquo, and with it
JPype and a JVM, only when asked for.

Source: paquo 0.9 (QuPathProject, QuPathPathObjectHierarchy), which supports QuPath 0.2 to 0.6.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from qpkit.core.annotation import Annotation
from qpkit.errors import ConfigError, FormatError, MissingExtraError, OutputError, ProjectError
from qpkit.files import replace_file
from qpkit.qupath.geojson.reader import read_geojson, write_geojson
from qpkit.qupath.project.entry_files import Stamp
from qpkit.qupath.project.project import Entry, Project
from qpkit.qupath.qpdata.file import QpData
from qpkit.qupath.qpdata.object_writer import identified

_ADDED: Final = ("annotation", "detection", "tile")
"""Kinds that paquo's load_geojson makes as what they are."""


def through_paquo(project: Project) -> Project:
    """Give the project with entries whose objects go through QuPath.

    Raises:
        MissingExtraError: paquo or QuPath is not installed; the message says how to get it.
    """
    require_paquo()
    # Not asdict, which would turn the server and the files of an entry into dicts, too.
    entries = [{f.name: getattr(entry, f.name) for f in dataclasses.fields(entry)} for entry in project.entries]
    return dataclasses.replace(project, entries=tuple(PaquoEntry(**fields) for fields in entries))


def require_paquo() -> None:
    """Raise unless paquo can be used; starts the JVM.

    Raises:
        MissingExtraError: paquo or QuPath is not installed.
    """
    try:
        import paquo.java  # noqa: F401  # starts the JVM
    except ImportError as err:
        raise MissingExtraError(f"--backend paquo needs paquo ({err}); pip install 'qpkit[paquo]'") from err
    except (ValueError, OSError, RuntimeError) as err:  # a bare ValueError where there is no QuPath
        raise MissingExtraError(
            f"--backend paquo found no QuPath to start ({err}); install QuPath 0.2 to 0.6 and set PAQUO_QUPATH_DIR"
        ) from err


@dataclass(frozen=True, slots=True)
class PaquoEntry(Entry):
    """An entry whose objects are read and written by a real QuPath."""

    def read(self) -> QpData:
        """Not possible with this backend.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(f"entry {self.name!r}: this needs the data file itself; leave --backend paquo out")

    def edit(self, change: Callable[[QpData], object]) -> bool:
        """Not possible with this backend (see `read`)."""
        return bool(change(self.read()))

    def objects(self) -> list[Annotation]:
        """List the entry's objects as QuPath answers, depth first; `parent` is an index into this list.

        Coordinates have the two decimals of QuPath's GeoJSON.

        Raises:
            FormatError: QuPath cannot read the entry.
        """
        self.files.data_stamp = Stamp.of(self.files.data)
        with _image(self, "r") as image:
            stored = list(image.hierarchy.java_object.getObjects(None, _path_object()))
            places = {str(item.getID()): number for number, item in enumerate(stored)}
            # The root is not among the objects: what lies directly below it has no parent.
            parents = [places.get(str(item.getParent().getID())) for item in stored]
            found = _from_java(stored)
        if len(found) != len(stored):
            raise FormatError(f"entry {self.name!r}: QuPath's GeoJSON holds {len(found)} of {len(stored)} objects")
        return [dataclasses.replace(item, parent=parent) for item, parent in zip(found, parents, strict=True)]

    def replace_objects(self, *, remove: Collection[str | int], add: Sequence[Annotation]) -> None:
        """Remove objects and add others, and let QuPath save the image (see `Entry.replace_objects`).

        The first data file stays beside it as `data.qpdata.qpkit-backup` here, too.

        Raises:
            ProjectError: The files changed since they were read.
            FormatError: An object of a kind that paquo cannot make, or QuPath refuses.
            OutputError: QuPath cannot save.
        """
        if not remove and not add:
            return
        strange = sorted({item.kind for item in add} - set(_ADDED))
        if strange:
            raise FormatError(f"entry {self.name!r}: paquo cannot make a {strange[0]}; leave --backend paquo out")
        if self.files.data_stamp is None:
            self.files.data_stamp = Stamp.of(self.files.data)
        self.files.check_unchanged()
        if self.files.data.exists() and not self.files.backup.exists():
            replace_file(self.files.backup, self.files.data.read_bytes())
        with _image(self, "r+") as image:
            hierarchy = image.hierarchy
            stored = list(hierarchy.java_object.getObjects(None, _path_object()))
            keys = set(remove)
            gone = [item for place, item in enumerate(stored) if place in keys or str(item.getID()) in keys]
            if gone:
                hierarchy.java_object.removeObjects(gone, True)  # what was below them stays
            there = {str(item.getID()) for item in stored} - {str(item.getID()) for item in gone}
            features = _features(identified(add, there))
            if features and not hierarchy.load_geojson(features, raise_on_skip=True):
                raise FormatError(f"entry {self.name!r}: QuPath added none of {len(features)} objects")
            _save(image, self)
        self.files.data_stamp = Stamp.of(self.files.data)


@contextmanager
def _image(entry: Entry, mode: str) -> Iterator[Any]:
    """Open the project in QuPath and give paquo's image of an entry."""
    from paquo.projects import QuPathProject

    try:
        with QuPathProject(entry.project_path, mode=mode) as project:
            found = [image for image in project.images if str(image.entry_id) == str(entry.id)]
            if len(found) != 1:
                raise ProjectError(f"{entry.project_path}: QuPath does not show entry {entry.id}")
            yield found[0]
    except (OSError, RuntimeError, ValueError) as err:
        # qpkit's own errors are OSErrors and ValueErrors, too.
        if isinstance(err, ProjectError | FormatError | OutputError):
            raise
        raise FormatError(f"{entry.project_path}: QuPath cannot do it ({err})") from err


def _path_object() -> Any:
    from paquo.java import JClass

    return JClass("qupath.lib.objects.PathObject")


def _from_java(stored: Sequence[Any]) -> list[Annotation]:
    """Convert QuPath's objects by its own GeoJSON, in the same order; the root is left out."""
    from paquo.java import GsonTools

    gson = GsonTools.getInstance()
    features = [json.loads(str(gson.toJson(item))) for item in stored]
    with TemporaryDirectory() as folder:
        file = Path(folder) / "objects.geojson"
        file.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
        return read_geojson(file)


def _features(objects: Sequence[Annotation]) -> list[Any]:
    """Make GeoJSON features in the dialect that every version takes."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "objects.geojson"
        write_geojson(file, objects)
        features: list[Any] = json.loads(file.read_bytes())["features"]
    return features


def _save(image: Any, entry: Entry) -> None:
    if not image.is_readable():
        raise OutputError(f"entry {entry.name!r}: QuPath saves only images that it can open; relocate the image first")
    image.save()
