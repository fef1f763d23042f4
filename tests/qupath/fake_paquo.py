"""A stand-in for paquo with what `paquo_backend` uses of it: a QuPath made of qpkit's own reader and writer.

It shows that the backend asks in the right order and puts the answers together; it cannot show that a real QuPath
answers like this. The tests marked `qupath` do that where there is one.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

from qpkit.qupath import open_project, read_geojson, write_geojson
from qpkit.qupath.project.backend import use_backend


class JavaObject:
    """A PathObject: its GeoJSON and its parent."""

    def __init__(self, feature: dict[str, Any], parent: Any) -> None:
        self.feature = feature
        self.parent = parent

    def getID(self) -> str:  # Java's name
        return str(self.feature["id"])

    def getParent(self) -> Any:
        return self.parent


class Hierarchy:
    """QuPathPathObjectHierarchy and its java_object in one."""

    def __init__(self, objects: list[JavaObject], root: JavaObject) -> None:
        self.java_object = self
        self.objects = objects
        self.root = root

    def getObjects(self, collection: None, kind: Any) -> list[JavaObject]:
        assert collection is None and kind == "qupath.lib.objects.PathObject"
        return list(self.objects)

    def removeObjects(self, gone: list[JavaObject], keep_children: bool) -> None:
        assert keep_children
        for item in self.objects:
            while item.parent in gone:
                item.parent = item.parent.parent
        self.objects = [item for item in self.objects if item not in gone]

    def load_geojson(self, features: list[Any], *, raise_on_skip: bool) -> bool:
        assert raise_on_skip
        self.objects += [JavaObject(feature, self.root) for feature in features]
        return bool(features)


class Image:
    """QuPathProjectImageEntry."""

    def __init__(self, path: Path, number: int) -> None:
        self.path = path
        self.entry_id = str(number)

    @functools.cached_property
    def hierarchy(self) -> Hierarchy:
        with use_backend("native"), TemporaryDirectory() as folder:
            objects = self._native().objects()
            file = Path(folder) / "x.geojson"
            write_geojson(file, objects)
            features = json.loads(file.read_bytes())["features"]
        root = JavaObject({"id": "root"}, None)
        made = [JavaObject(feature, root) for feature in features]
        for item, annotation in zip(made, objects, strict=True):
            item.parent = root if annotation.parent is None else made[annotation.parent]
        return Hierarchy(made, root)

    def _native(self) -> Any:
        return next(entry for entry in open_project(self.path).entries if str(entry.id) == self.entry_id)

    def is_readable(self) -> bool:
        return True

    def save(self) -> None:
        with use_backend("native"), TemporaryDirectory() as folder:
            file = Path(folder) / "x.geojson"
            features = [item.feature for item in self.hierarchy.objects]
            file.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
            entry = self._native()
            there = {item.id for item in entry.objects()}
            wanted = {item.id: item for item in read_geojson(file)}
            new = [item for identity, item in wanted.items() if identity not in there]
            entry.replace_objects(remove=[str(item) for item in there - wanted.keys()], add=new)


class QuPathProject:
    """The project."""

    def __init__(self, path: Path, mode: str) -> None:
        assert mode in ("r", "r+")
        with use_backend("native"):
            entries = open_project(path).entries
        self.images = [Image(Path(path), entry.id) for entry in entries if entry.has_data]

    def __enter__(self) -> QuPathProject:
        return self

    def __exit__(self, *what: object) -> None:
        return None


class GsonTools:
    """QuPath's GeoJSON."""

    @staticmethod
    def getInstance() -> GsonTools:
        return GsonTools()

    def toJson(self, item: JavaObject) -> str:
        return json.dumps(item.feature)


@contextmanager
def installed() -> Iterator[None]:
    """Put the stand-in where `import paquo` finds it."""
    modules = {name: ModuleType(name) for name in ("paquo", "paquo.java", "paquo.projects")}
    modules["paquo.java"].__dict__.update(GsonTools=GsonTools, JClass=str)
    modules["paquo.projects"].__dict__.update(QuPathProject=QuPathProject)
    modules["paquo"].__dict__.update(java=modules["paquo.java"], projects=modules["paquo.projects"])
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
