"""Make new projects and add images to them, in the form that QuPath 0.2.3 to 0.7.0 open.

Source: files written by qupath.lib.projects.DefaultProject (v0.5.1) and what the other versions made of them.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from qpkit.core.annotation import Annotation, PathClass
from qpkit.core.pixel_size import PixelSize
from qpkit.errors import OutputError, ProjectError
from qpkit.files import AnyPath, pretty_json, replace_file
from qpkit.qupath.project.class_list import add_classes
from qpkit.qupath.project.edits import write_project
from qpkit.qupath.project.entry_update import project_entry_id, write_new_data
from qpkit.qupath.project.images.uris import file_uri
from qpkit.qupath.project.opening import open_project
from qpkit.qupath.project.project import Entry, Project
from qpkit.qupath.qpdata.new_file import new_qpdata

OPENSLIDE: Final = "qupath.lib.images.servers.openslide.OpenslideServerBuilder"
BIOFORMATS: Final = "qupath.lib.images.servers.bioformats.BioFormatsServerBuilder"

_NAMESPACE: Final = uuid.UUID("1f0f7b8e-5b6c-5a5e-8c39-2b6f0d4a9e11")
_RGB: Final = (("Red", -65536), ("Green", -16711936), ("Blue", -16776961))
_STAINS: Final[Mapping[str, str]] = {
    "BRIGHTFIELD_H_E": '{"Name" : "H&E default", "Stain 1" : "Hematoxylin", '
    '"Values 1" : "0.65110783 0.70119304 0.29049426", "Stain 2" : "Eosin", '
    '"Values 2" : "0.21589894 0.80119605 0.55809725", "Background" : " 255 255 255"}',
    "BRIGHTFIELD_H_DAB": '{"Name" : "H-DAB default", "Stain 1" : "Hematoxylin", '
    '"Values 1" : "0.65110783 0.70119304 0.29049426", "Stain 2" : "DAB", '
    '"Values 2" : "0.26916687 0.56824117 0.77759319", "Background" : " 255 255 255"}',
}
"""QuPath's default vectors, as v0.5.1 writes them."""


def create_project(
    folder: AnyPath, *, version: str = "0.5.1", timestamp_ms: int = 0, classes: Sequence[PathClass | str] = ()
) -> Project:
    """Make an empty project.

    Args:
        folder: Made if it is missing.
        version: The QuPath version that it says it is of.
        timestamp_ms: Creation time since 1970; given, so that the output is the same every time.
        classes: The class list; a class without a colour may be its name.

    Raises:
        OutputError: There is a project already.
    """
    folder, named = Path(folder), [PathClass.parse(one) if isinstance(one, str) else one for one in classes]
    require_no_project(folder)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder.absolute() / "project.qpproj"
    record = {
        "version": version,
        # No QuPath loads a project without both times.
        "createTimestamp": timestamp_ms,
        "modifyTimestamp": timestamp_ms,
        "uri": file_uri(file),
        "lastID": 0,
        "images": [],
    }
    replace_file(file, pretty_json(record))
    add_classes(file.parent, named)
    return open_project(file)


def require_no_project(folder: Path) -> None:
    """Raise unless a project can be made in this folder.

    Raises:
        OutputError: There is one already, or a file has the folder's name.
    """
    if folder.is_dir() and any(folder.glob("*.qpproj")):
        raise OutputError(f"{folder}: there is a project already; choose another folder")
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file; a project is a folder, choose another name")


def add_image(
    project: Project,
    image: AnyPath,
    *,
    width: int,
    height: int,
    mpp: float | PixelSize | None,
    magnification: float | None = None,
    name: str | None = None,
    levels: Sequence[tuple[float, int, int]] = (),
    image_type: str = "BRIGHTFIELD_H_E",
    metadata: Mapping[str, str] | None = None,
    objects: Sequence[Annotation] = (),
    provider: str | None = OPENSLIDE,
    args: Sequence[str] = (),
    thumbnail: bytes | None = None,
) -> Entry:
    """Add an 8-bit RGB image, with its objects, as a new entry.

    The project file is read anew, so several images can be added one after the other; `project` itself is not changed
    (open it again to see them).

    Args:
        project: Where to add it. QuPath has to be closed.
        image: The file.
        width: Level-0 px.
        height: Level-0 px.
        mpp: um per px, one number or one for each axis, or None.
        magnification: Of the objective, or None.
        name: Shown in QuPath; the file's name by default.
        levels: Downsample, width and height of the pyramid's levels, largest first; one level by default.
        image_type: QuPath's enum name. "UNSET" lets QuPath ask or estimate; without objects no data file is written
            then, as QuPath itself does for images that were never opened.
        metadata: Keys and values shown in QuPath.
        objects: Added flat under the root.
        provider: The reader's Java class; None lets QuPath (0.3 and later) choose.
        args: The reader's arguments.
        thumbnail: A JPEG file, shown in QuPath's project list.

    Raises:
        ProjectError: The image is missing, or the project changed while it was being written.
        OutputError: The project cannot be written.
    """
    image = Path(image)
    if not image.exists():
        raise ProjectError(f"{image}: there is no such image; nothing was added")
    now = open_project(project.path)
    # As QuPath counts, so that the number of a removed image is not given again.
    number = max([0, _last_id(now.record), *(entry.id for entry in now.entries)]) + 1
    metadata_of_server = _server_metadata(name or image.name, width, height, mpp, magnification, levels)
    builder = _builder(image.absolute(), provider, args, metadata_of_server)
    entry = {
        "serverBuilder": builder,
        "entryID": number,
        "randomizedName": str(uuid.uuid5(_NAMESPACE, f"{now.record.get('uri')} {number} {builder['uri']}")),
        "imageName": name or image.name,
        # Also if empty: QuPath 0.5 and older fail without it.
        "metadata": dict(metadata or {}),
    }
    images = now.record.get("images", [])
    write_project(now, {**now.record, "lastID": number, "images": [*images, entry]})
    made = next(item for item in open_project(now.path).entries if item.id == number)
    _write_side_files(made, builder, thumbnail)
    if image_type == "UNSET" and not objects:
        return made
    data = new_qpdata(
        image_type=image_type,
        server=builder,
        objects=objects,
        stains=_STAINS.get(image_type),
        properties={"PROJECT_ENTRY_ID": project_entry_id(now.path, number)},
        qupath_version=now.version or "0.5.1",
        source=str(made.files.data),
    )
    write_new_data(made.files, data, made.server)
    return made


def _last_id(record: Mapping[str, Any]) -> int:
    last = record.get("lastID")
    return last if isinstance(last, int) else 0


def _write_side_files(entry: Entry, builder: Mapping[str, Any], thumbnail: bytes | None) -> None:
    """Write server.json as v0.5 does, and the thumbnail."""
    entry.files.folder.mkdir(parents=True, exist_ok=True)
    record = {"builder": builder, "metadata": builder["metadata"]}
    replace_file(entry.files.server, msgspec.json.encode(record))
    if thumbnail is not None:
        replace_file(entry.files.thumbnail, thumbnail)


def _builder(image: Path, provider: str | None, args: Sequence[str], metadata: dict[str, Any]) -> dict[str, Any]:
    """Make a "uri" builder; `args` must be a list (absent, some versions fail)."""
    builder: dict[str, Any] = {"builderType": "uri"}
    if provider is not None:
        builder["providerClassName"] = provider
    return {**builder, "uri": file_uri(image), "args": list(args), "metadata": metadata}


def _server_metadata(
    name: str,
    width: int,
    height: int,
    mpp: float | PixelSize | None,
    magnification: float | None,
    levels: Sequence[tuple[float, int, int]],
) -> dict[str, Any]:
    """Describe an 8-bit RGB pyramid; QuPath imposes this on the image when it opens it."""
    sides = (mpp.x, mpp.y) if isinstance(mpp, PixelSize) else (mpp, mpp)
    sizes = [{"value": 1.0, "unit": "px"} if side is None else {"value": side, "unit": "µm"} for side in sides]
    pyramid = [{"downsample": float(d), "width": w, "height": h} for d, w, h in levels or [(1.0, width, height)]]
    return {
        "name": name,
        "width": width,
        "height": height,
        "sizeZ": 1,
        "sizeT": 1,
        "channelType": "DEFAULT",
        "isRGB": True,
        "pixelType": "UINT8",
        "levels": pyramid,
        "channels": [{"name": channel, "color": color} for channel, color in _RGB],
        "pixelCalibration": {
            "pixelWidth": sizes[0],
            "pixelHeight": sizes[1],
            "zSpacing": {"value": 1.0, "unit": "z-slice"},
            "timeUnit": "SECONDS",
            "timepoints": [],
        },
        "preferredTileWidth": 512,
        "preferredTileHeight": 512,
        **({} if magnification is None else {"magnification": magnification}),
    }
