"""The objects of a project's entries, read and added to, for qpkit convert."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import openslide
import shapely

from qpkit.core.annotation import Annotation
from qpkit.errors import ConfigError, FormatError, ProjectError, QpkitError, listed
from qpkit.files import safe_names
from qpkit.formats.shared.dicom_slides import is_dicom
from qpkit.formats.shared.drawing import Drawing, ImageFacts
from qpkit.qupath import Entry, Project, QpData
from qpkit.slides import open_slide

THERE: Final = "objects that the entry has already left out"
NO_ENTRY: Final = "entries without saved objects"


def add_missing(entry: Entry, objects: Sequence[Annotation]) -> list[Annotation]:
    """Add the objects that an entry does not have yet: same shape (in 32 bits), kind, class, name and plane.

    So converting the same file twice adds nothing the second time. Each object comes below its parent, whether that
    is new or was there before.

    Args:
        entry: Where to; QuPath must be closed.
        objects: `parent` is an index into them, of an object before it.

    Returns:
        The objects that were added.
    """
    added: list[Annotation] = []

    def change(data: QpData) -> None:
        added[:] = []
        groups = _groups(objects, data.objects())
        for below in sorted((number for number in groups if number is not None), reverse=True):
            data.add(groups[below], parent=below, nested=True)  # from the back: the places before stay the same
        data.add(groups.get(None, []), nested=True)
        for group in groups.values():
            added.extend(group)

    entry.edit(change)
    return added


def _groups(objects: Sequence[Annotation], there: Sequence[Annotation]) -> dict[int | None, list[Annotation]]:
    """Sort new objects by what they come under: an object that is there (its position) or the root.

    `parent` of each counts in its group; None is right below that object or the root.
    """
    free: dict[tuple[object, ...], list[int]] = {}
    for number, item in enumerate(there):
        free.setdefault(_identity(item), []).append(number)
    groups: dict[int | None, list[Annotation]] = {}
    places: list[tuple[int | None, int | None]] = []  # of each object: its group, and where in it
    for item in objects:
        same = free.get(_identity(item))
        if same:
            places.append((same.pop(0), None))
            continue
        group, parent = (None, None) if item.parent is None else places[item.parent]
        members = groups.setdefault(group, [])
        places.append((group, len(members)))
        members.append(replace(item, parent=parent))
    return groups


def _identity(item: Annotation) -> tuple[object, ...]:
    outline = shapely.transform(item.geometry, lambda xy: xy.astype(np.float32).astype(np.float64))
    with contextlib.suppress(shapely.GEOSException):  # a polygon of one corner, as a click leaves it, keeps them all
        outline = shapely.remove_repeated_points(outline, 0)
    return shapely.normalize(outline).wkb, item.kind, item.class_name, item.name, item.plane


def project_drawings(entries: Sequence[Entry], facts: ImageFacts, *, with_offsets: bool) -> list[Drawing]:
    """Read the objects of a project's entries.

    Args:
        entries: Whose objects, all of them.
        facts: What the user said; it fills what the project does not say, and for a single entry comes first.
        with_offsets: Look into the slides for their places on the glass (for formats that need them).
    """
    return [_entry_drawing(entry, facts, alone=len(entries) == 1, with_offsets=with_offsets) for entry in entries]


def _entry_drawing(entry: Entry, facts: ImageFacts, *, alone: bool, with_offsets: bool) -> Drawing:
    width, height = entry.image_size or (None, None)
    known = ImageFacts(
        name=entry.name, width=width, height=height, mpp=entry.mpp(), pixel_size=entry.server.pixel_size()
    )
    image = facts.filled(known) if alone else known.filled(facts)
    if with_offsets and image.centre_nm is None and entry.server.builder is not None:
        raise ConfigError(
            f"entry {entry.name!r}: QuPath shows it {entry.server.type}, so its place on the glass is lost"
        )
    if with_offsets and image.centre_nm is None:
        try:
            image = image.filled(slide_facts(entry.image_path()))
        except QpkitError as err:
            raise ConfigError(f"entry {entry.name!r}: its place on the glass is not known ({err})") from err
    if image.dicom is None and entry.server.builder is None:
        with contextlib.suppress(QpkitError):  # where the slide is gone, no format has to know whether it was DICOM
            path = entry.image_path()
            image = replace(image, dicom=path if is_dicom(path) else None)
    notes = Counter({} if entry.has_data else {NO_ENTRY: 1})
    return Drawing(objects=tuple(entry.objects()), image=replace(image, name=entry.name), notes=notes)


def slide_facts(path: Path) -> ImageFacts:
    """What a slide's file says about it; the place on the glass only if it is a Hamamatsu slide.

    Raises:
        ProjectError, FormatError: As for open_slide.
    """
    with open_slide(path) as slide:
        info = slide.info
    return ImageFacts(
        name=path.name,
        width=info.width,
        height=info.height,
        mpp=info.mpp,
        pixel_size=info.pixel_size,
        centre_nm=_hamamatsu_offset(path),
        dicom=path if is_dicom(path) else None,
    )


def _hamamatsu_offset(path: Path) -> tuple[float, float] | None:
    try:
        with openslide.OpenSlide(path) as slide:
            x, y = (slide.properties.get(f"hamamatsu.{axis}OffsetFromSlideCentre") for axis in "XY")
        return None if x is None or y is None else (float(x), float(y))
    except (openslide.OpenSlideError, ValueError):
        return None


def entry_for(project: Project, drawing: Drawing, wanted: Sequence[str], stem: str) -> Entry:
    """Find the entry that objects belong to.

    Args:
        project: Where to look.
        drawing: The objects; the name of their image is the entry's, with or without its ending, or as a file's name.
        wanted: The entry that the user named, or none.
        stem: Name of the file that the objects came from; used where the image has none.

    Raises:
        ProjectError: None or several.
        FormatError: The image is of another size than the entry's.
    """
    name = wanted[0] if len(wanted) == 1 else drawing.image.name or stem
    found = [e for e in project.entries if name in (e.name, str(e.id))] or project.called(name)
    if not found:  # a file of a folder that `qpkit convert` has made
        safe = safe_names([e.name for e in project.entries])
        found = [e for e, own in zip(project.entries, safe, strict=True) if own == name]
    if not found and not wanted and drawing.image.name is None and len(project.entries) == 1:
        found = list(project.entries)
    if len(found) != 1:
        there = listed(repr(e.name) for e in project.entries)
        raise ProjectError(
            f"{project.path}: {len(found)} entries for the objects of {name!r}; "
            f"name one with --entry (there are {there})"
        )
    size, image = found[0].image_size, drawing.image
    if size is not None and None not in (image.width, image.height) and size != (image.width, image.height):
        raise FormatError(
            f"entry {found[0].name!r} is {size[0]} x {size[1]} px, the objects were drawn on "
            f"{image.width} x {image.height} px; they would not fit"
        )
    return found[0]
