"""Puts a pixel classifier into a project: its JSON, its ONNX file, and a script that QuPath needs. All else stays.

QuPath lists every JSON file in classifiers/pixel_classifiers by its name, whatever its case.
Source: qupath.lib.projects.DefaultProject and ResourceManager.FileResourceManager, v0.4.0 to v0.7.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from qpkit.errors import OutputError
from qpkit.files import one_at_a_time, pretty_json, replace_file
from qpkit.qupath.classifiers.pixel_classifier import PixelClassifier
from qpkit.qupath.project.project import Project

SCRIPT: Final = b"""// Written by qpkit. Run it once after each start of QuPath; then networks load as classifiers.
// QuPath 0.4 to 0.7 does not know networks in saved classifiers until then, unless an extension for them is installed.
qupath.opencv.dnn.DnnModels.registerBuilder(null)
"""
"""Loads the class that tells QuPath's JSON reader about networks; it registers nothing.

qupath.lib.scripting.QP loads DnnTools, which knew networks up to v0.3.2; from v0.4.0 to 0.8.0-SNAPSHOT they are known
to DnnModels, which nothing loads at the start but extensions (DjlExtension.installExtension of qupath-extension-djl).
Seen with the classes of v0.4.4 to v0.7.0: without this line reading ends in "Interfaces can't be instantiated".
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PutClassifier:
    """What lies in the project.

    Args:
        json, model, script: The files.
        unchanged: Whether classifier and network were there already, byte for byte.
        notes: What the user has to know.
    """

    json: Path
    model: Path
    script: Path
    unchanged: bool = False
    notes: tuple[str, ...] = ()


def classifiers_folder(project: Project) -> Path:
    """Where a project has its pixel classifiers."""
    return project.folder / "classifiers" / "pixel_classifiers"


def require_name(project: Project, name: str) -> None:
    """Refuse a name that differs from that of another classifier only in its case, which is the same to QuPath.

    Raises:
        OutputError: It does.
    """
    for path in classifiers_folder(project).glob("*.json"):
        if path.stem != name and path.stem.casefold() == name.casefold():
            raise OutputError(f"{path}: is the same name to QuPath; choose another --name, or --name {path.stem!r}")


def put_pixel_classifier(
    project: Project, name: str, classifier: PixelClassifier, model: bytes, *, overwrite: bool = False
) -> PutClassifier:
    """Write a pixel classifier into a project.

    The ONNX file has a piece of its own hash in its name: the JSON that is there goes on naming the network that it
    was written with until it is replaced, and QuPath finds the right one in a project that was moved or copied.

    Args:
        project: Opened; only its folder is used.
        name: Of the classifier; see `qpkit.qupath.classifiers.settings.is_file_name`.
        classifier: What the JSON says.
        model: The ONNX file.
        overwrite: Replace another classifier of this name, and remove its network.

    Raises:
        OutputError: There is another classifier of this name, or a file cannot be written; nothing has changed then.
    """
    folder = classifiers_folder(project)
    made = PutClassifier(
        json=folder / f"{name}.json",
        model=folder / f"{name}-{sha256(model).hexdigest()[:8]}.onnx",
        script=project.folder / "scripts" / "qpkit-pixel-classifiers.groovy",
    )
    content = pretty_json(classifier.record(made.model.resolve()))
    with one_at_a_time(project.folder):
        require_name(project, name)
        same = _holds(made.json, content) and _holds(made.model, model)
        if not same and made.json.exists() and not overwrite:
            raise OutputError(f"{made.json}: is there already; choose another --name or pass --overwrite")
        notes: tuple[str, ...] = ()
        if made.script.exists() and not _holds(made.script, SCRIPT):
            notes = (f"{made.script} is not the text that this qpkit writes; it was left as it is",)
        with _undone_on_error(made.model, made.json, made.script):
            for path, text in ((made.model, model), (made.script, SCRIPT), (made.json, content)):
                if not _holds(path, text) and not (path == made.script and notes):
                    replace_file(path, text)
        if not same:
            _remove_former(made.model, name)
    return PutClassifier(json=made.json, model=made.model, script=made.script, unchanged=same, notes=notes)


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content


@contextmanager
def _undone_on_error(*files: Path) -> Iterator[None]:
    """Make the folders of files; if the block fails, remove again which of both were not there."""
    folders = [folder for file in files for folder in (file.parent.parent, file.parent)]
    new = [path for path in (*folders, *files) if not path.exists()]
    try:
        for folder in folders:
            _make(folder)
        yield
    except BaseException:
        for path in reversed(dict.fromkeys(new)):
            if path.is_dir():
                path.rmdir()
            elif path.exists():
                path.unlink()
        raise


def _make(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as err:
        raise OutputError(f"{folder}: cannot be made ({err.strerror or err}); the project is as it was") from err


def _remove_former(model: Path, name: str) -> None:
    """Remove networks of a classifier that was replaced."""
    pattern = re.compile(re.escape(name) + r"-[0-9a-f]{8}\.onnx")
    for path in model.parent.iterdir():
        if path != model and pattern.fullmatch(path.name):
            path.unlink()
