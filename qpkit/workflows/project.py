"""Make QuPath projects, add images to them, and write what is known about the images into them."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from qpkit.core.tiles import SlideInfo
from qpkit.errors import FormatError, ProjectError, QpkitError, listed
from qpkit.files import AnyPath, paths_of
from qpkit.progress import OnProgress, no_progress
from qpkit.qupath import Project, add_image, create_project, open_project
from qpkit.qupath.project.edits import set_metadata
from qpkit.qupath.project.writer import BIOFORMATS, OPENSLIDE, require_no_project
from qpkit.settings import Flag, Range, Settings, pairs_of
from qpkit.slides import open_slide
from qpkit.slides.openslide import is_openslides
from qpkit.workflows.inputs.paths import slide_files

ImageType = Literal["unset", "he", "hdab", "brightfield", "fluorescence", "other"]

IMAGE_TYPES: Final[Mapping[ImageType, str]] = {
    "unset": "UNSET",
    "he": "BRIGHTFIELD_H_E",
    "hdab": "BRIGHTFIELD_H_DAB",
    "brightfield": "BRIGHTFIELD_OTHER",
    "fluorescence": "FLUORESCENCE",
    "other": "OTHER",
}
"""QuPath's image types, by the words of the command line."""

_THUMBNAIL_PX: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSettings(Settings):
    """What is said of each image that is added to a project.

    Args:
        image_type: he, hdab, brightfield, fluorescence, other, or unset: QuPath asks when it opens the image.
        mpp: um per px of the slides that do not state theirs.
        metadata: For each image (repeatable).
    """

    image_type: ImageType = "unset"
    mpp: Annotated[float | None, Range(above=0)] = None
    metadata: Annotated[Mapping[str, str], Flag(name="--metadata", parse=pairs_of, many=True, metavar="KEY=VALUE")] = (
        field(default_factory=dict)
    )


PLAIN_IMAGES: Final = ImageSettings()


@dataclass(frozen=True, slots=True)
class Added:
    """An image that was added: its entry, and the file as numbers."""

    entry: int
    name: str
    path: Path
    width: int
    height: int
    mpp: float | None


@dataclass(frozen=True, slots=True)
class AddReport:
    """What `add_images` did.

    Args:
        added: In the order of the files.
        known: Files that the project had already.
        refused: Files that cannot be opened, and why.
    """

    added: tuple[Added, ...]
    known: tuple[Path, ...]
    refused: Mapping[Path, str] = field(default_factory=dict)


def new_project_of(
    folder: Path,
    images: Sequence[Path],
    settings: ImageSettings = PLAIN_IMAGES,
    *,
    timestamp_ms: int = 0,
    on_progress: OnProgress = no_progress,
) -> tuple[Project, AddReport]:
    """Make a project with slides; if none of them can be opened, none is made. See `add_images`.

    Raises:
        OutputError: There is a project already.
    """
    require_no_project(folder)
    ready, refused = _looked_at(_different(images), on_progress)
    project = create_project(folder, timestamp_ms=timestamp_ms)
    return project, AddReport(_added(project, ready, settings), (), refused)


def add_images(
    project: AnyPath,
    images: AnyPath | Sequence[AnyPath],
    settings: ImageSettings = PLAIN_IMAGES,
    *,
    on_progress: OnProgress = no_progress,
) -> AddReport:
    """Add slides as new entries, with thumbnails. All are opened first; those that cannot be are left out and reported.

    Args:
        project: A project, or where it is. QuPath has to be closed.
        images: Slide files, or folders of them; those that are entries already are left out and named in the report.
        settings: What is said of each of them.
        on_progress: Called with (done, total, name).

    Raises:
        FormatError: None of the slides can be opened.
        ProjectError: A file is missing, or the project changed in the meantime.
    """
    project = open_project(project)
    there = {_same(path) for path in _paths_of(project)}
    wanted = _different(paths_of(images))
    ready, refused = _looked_at([image for image in wanted if _same(image) not in there], on_progress)
    added = _added(project, ready, settings)
    return AddReport(added, tuple(image for image in wanted if _same(image) in there), refused)


def _different(images: Sequence[Path]) -> list[Path]:
    """Absolute paths, each file once, without "..": QuPath compares URIs as text."""
    paths = [image.absolute() for image in slide_files(images)]
    plain = [path.parent.resolve() / path.name if ".." in path.parts else path for path in paths]
    # Turned round twice: of several paths to one file the first one stays, in its place.
    return list({_same(path): path for path in reversed(plain)}.values())[::-1]


def _added(project: Project, ready: Sequence[_Ready], settings: ImageSettings) -> tuple[Added, ...]:
    added = []
    for item in ready:
        entry = add_image(
            project,
            item.path,
            width=item.info.width,
            height=item.info.height,
            mpp=item.info.pixel_size or item.info.mpp or settings.mpp,
            magnification=item.info.magnification,
            levels=item.levels,
            image_type=IMAGE_TYPES[settings.image_type],
            metadata=settings.metadata,
            provider=OPENSLIDE if item.by_openslide else BIOFORMATS,
            args=() if item.by_openslide else ("--series", "0"),
            thumbnail=item.thumbnail,
        )
        mpp = item.info.mpp or settings.mpp
        added.append(Added(entry.id, entry.name, item.path, item.info.width, item.info.height, mpp))
    return tuple(added)


@dataclass(frozen=True, slots=True)
class _Ready:
    """A slide that can be opened: what a project wants to know of it."""

    path: Path
    info: SlideInfo
    levels: Sequence[tuple[float, int, int]]
    by_openslide: bool
    thumbnail: bytes


def _looked_at(images: Sequence[Path], on_progress: OnProgress) -> tuple[list[_Ready], dict[Path, str]]:
    """Open all slides and draw their thumbnails; gives those that can be opened, and why the others cannot.

    Raises:
        FormatError: None can be opened.
    """
    ready: list[_Ready] = []
    refused: dict[Path, str] = {}
    for done, image in enumerate(images):
        on_progress(done, len(images), image.name)
        try:
            by_openslide = is_openslides(image)
            with open_slide(image) as slide:
                picture = _jpeg(slide.thumbnail(_THUMBNAIL_PX))
                ready.append(_Ready(image, slide.info, slide.levels, by_openslide, picture))
        except QpkitError as err:
            refused[image] = str(err)
    if len(refused) == 1 and not ready:
        raise FormatError(next(iter(refused.values())))
    if refused and not ready:
        raise FormatError(f"none of {len(refused)} images can be opened; the first: {next(iter(refused.values()))}")
    return ready, refused


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    picture = io.BytesIO()
    Image.fromarray(pixels).save(picture, "JPEG", quality=90)
    return picture.getvalue()


def _paths_of(project: Project) -> list[Path]:
    found = []
    for entry in project.entries:
        if entry.server.path is not None:
            found.append(Path(entry.server.path))
        try:
            found.append(entry.image_path())
        except ProjectError:
            continue  # missing images are no duplicates of anything
    return found


def _same(path: Path) -> str:
    """What makes two paths one file."""
    return str(path.resolve())


def write_metadata(project: AnyPath, changes: Mapping[str, Mapping[str, str | None]]) -> int:
    """Set metadata of entries, named by id or name.

    Returns:
        How many entries are different now.

    Raises:
        ProjectError: An entry does not exist, several have the name, it is named by name and by id, or the project
            changed in the meantime.
    """
    project = open_project(project)
    by_id: dict[int, dict[str, str | None]] = {}
    faults = []
    for name, values in changes.items():
        found = [entry for entry in project.entries if str(entry.id) == name]
        found = found or [entry for entry in project.entries if entry.name == name]
        if len(found) == 1 and found[0].id in by_id:
            faults.append(f"{name!r} (named twice, by name and by id)")
        elif len(found) == 1:
            by_id[found[0].id] = dict(values)
        else:
            faults.append(f"{name!r} ({'none' if not found else 'several'})")
    if faults:
        there = listed(repr(entry.name) for entry in project.entries)
        raise ProjectError(f"{project.path}: no single entry for {listed(faults)}; there are {there}")
    return set_metadata(project, by_id)


def read_metadata_table(path: Path) -> dict[str, dict[str, str | None]]:
    """Read a CSV: the first column names the entries, the others are keys; an empty cell changes nothing.

    Raises:
        FormatError: Not such a table, or an entry twice.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as text:  # Excel writes a byte order mark
            reader = csv.reader(text, strict=True)
            rows = [(reader.line_num, row) for row in reader if any(row)]
    except OSError as err:
        raise FormatError(f"{path}: cannot be read ({err.strerror})") from err
    except (UnicodeDecodeError, csv.Error) as err:
        raise FormatError(f"{path}: cannot be read as a CSV table ({err}); save it as CSV UTF-8") from err
    titles = [cell.strip() for cell in rows[0][1]] if rows else []
    keys = titles[1:]
    if not keys or not all(titles):
        raise FormatError(
            f"{path}: a first line with a name for each column is needed, the first is the entry's; "
            "columns are separated by commas"
        )
    if len(set(keys)) != len(keys):
        raise FormatError(f"{path}: the column {max(keys, key=keys.count)!r} is there twice")
    found: dict[str, dict[str, str | None]] = {}
    for number, row in rows[1:]:
        if len(row) != len(titles):
            raise FormatError(f"{path}: line {number} has {len(row)} cells for {len(titles)} columns")
        if row[0].strip() in found:
            raise FormatError(f"{path}: line {number} names the entry {row[0].strip()!r} again")
        cells = zip(keys, row[1:], strict=True)
        found[row[0].strip()] = {key: cell.strip() for key, cell in cells if cell.strip()}
    return found
