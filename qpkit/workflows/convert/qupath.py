"""QuPath's own files behind the same door as everybody else's, for qpkit convert."""

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
from qpkit.core.geometry import QUPATH_DECIMALS
from qpkit.errors import ConfigError, FormatError, ProjectError, QpkitError
from qpkit.files import replace_file
from qpkit.formats.registry import FORMATS, Format
from qpkit.formats.shared.cannot_hold import count_losses, lacking
from qpkit.formats.shared.drawing import Choices, Drawing, ImageFacts
from qpkit.formats.shared.outlines import simple_parts
from qpkit.formats.shared.xml_files import read_bytes
from qpkit.qupath import Entry, Project, QpData, new_qpdata, read_geojson, write_geojson
from qpkit.slides import open_slide

ROUNDED: Final = "objects rounded to 0.01 px"
ROUNDED_FLOAT: Final = "objects whose outlines are rounded to 32 bits"
MENDED: Final = "invalid shapes mended"
THERE: Final = "objects that the entry has already left out"
NO_ENTRY: Final = "entries without saved objects"

_GEOJSON_LACKS: Final = lacking(
    "hierarchy", "not finite measurements", "no shape", "no class colour", "mixed shapes", "box polygon"
)
_QPDATA_LACKS: Final = lacking("mixed shapes")

PROJECT_LACKS: Final = lacking("mixed shapes")
"""Of adding objects to an entry."""

PROJECT: Final = "project"
"""A project is a folder, not a format of a file; the workflow itself reads and writes it."""


def _read_geojson(path: Path, image: ImageFacts, choices: Choices) -> list[Drawing]:
    del choices
    return [Drawing(objects=tuple(read_geojson(path)), image=image)]


def _write_geojson(path: Path, drawings: Sequence[Drawing], choices: Choices) -> Counter[str]:
    del choices
    (drawing,) = drawings
    losses = count_losses(drawing.objects, _GEOJSON_LACKS)
    losses[ROUNDED] = sum(map(_is_finer, drawing.objects))
    report = write_geojson(path, split(drawing.objects))
    losses[MENDED] = report.mended
    return +losses


def _is_finer(item: Annotation) -> bool:
    """Whether rounding to what GeoJSON has would change it by more than float noise."""
    box = item.geometry.envelope if item.shape == "ellipse" else item.geometry
    points = shapely.get_coordinates(box)
    return not np.allclose(points, np.round(points, QUPATH_DECIMALS), rtol=0, atol=1e-3)


def _read_qpdata(path: Path, image: ImageFacts, choices: Choices) -> list[Drawing]:
    del choices
    data = QpData.parse(read_bytes(path), source=str(path))
    metadata = (data.server or {}).get("metadata") or {}
    name, width, height = (metadata.get(key) for key in ("name", "width", "height"))
    known = ImageFacts(
        name=name if isinstance(name, str) else None,
        width=width if isinstance(width, int) else None,
        height=height if isinstance(height, int) else None,
    )
    return [Drawing(objects=tuple(data.objects()), image=image.filled(known))]


def _write_qpdata(path: Path, drawings: Sequence[Drawing], choices: Choices) -> Counter[str]:
    del choices
    (drawing,) = drawings
    data = new_qpdata(image_type="UNSET", objects=split(drawing.objects), nested=True, source=str(path))
    replace_file(path, data.to_bytes())
    return count_losses(drawing.objects, _QPDATA_LACKS) + count_float_losses(drawing.objects)


def count_float_losses(objects: Sequence[Annotation]) -> Counter[str]:
    """Count the objects whose vertices .qpdata holds as 32-bit numbers (outlines, lines of more points, points)."""
    return +Counter({ROUNDED_FLOAT: sum(map(_loses_bits, objects))})


def _loses_bits(item: Annotation) -> bool:
    if item.shape in ("rectangle", "ellipse", "line", "geometry"):
        return False
    points = shapely.get_coordinates(item.geometry)
    return not np.array_equal(points, points.astype(np.float32))


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


def split(objects: Sequence[Annotation]) -> list[Annotation]:
    """Split objects of mixed shapes, which QuPath has no ROI for, into their parts; `parent` counts in the result."""
    made: list[Annotation] = []
    place: list[int] = []
    for item in objects:
        place.append(len(made))
        if item.geometry.geom_type == "GeometryCollection" and not item.geometry.is_empty:
            made += [replace(item, geometry=part, shape=None, id=None) for part in simple_parts(item.geometry)]
        else:
            made.append(item)
    return [replace(item, parent=None if item.parent is None else place[item.parent]) for item in made]


QUPATH_FORMATS: Final[tuple[Format, ...]] = (
    Format(
        name="qpdata",
        title="QuPath data",
        suffixes=(".qpdata",),
        read=_read_qpdata,
        write=_write_qpdata,
        lacks=_QPDATA_LACKS,
    ),
    Format(
        name="geojson",
        title="QuPath GeoJSON",
        suffixes=(".geojson", ".geojson.gz", ".json.gz", ".json"),
        read=_read_geojson,
        write=_write_geojson,
        lacks=_GEOJSON_LACKS,
    ),
)

ALL_FORMATS: Final[tuple[Format, ...]] = (*QUPATH_FORMATS, *FORMATS)
"""Every format of one file."""


def project_drawings(
    project: Project, wanted: Sequence[str], facts: ImageFacts, *, with_offsets: bool
) -> list[Drawing]:
    """Read the objects of a project's entries.

    Args:
        project: Where from.
        wanted: Only these entries, by name or id; all if empty.
        facts: What the user said; it fills what the project does not say, and for a single entry comes first.
        with_offsets: Look into the slides for their places on the glass (for .ndpa).

    Raises:
        ProjectError: An entry does not exist, or there is none.
    """
    known = {str(e.id) for e in project.entries} | {e.name for e in project.entries}
    strange = [name for name in wanted if name not in known]
    if strange or not project.entries:
        there = ", ".join(repr(e.name) for e in project.entries) or "none"
        raise ProjectError(f"{project.path}: no entry {', '.join(map(repr, strange))}; there are {there}")
    chosen = [e for e in project.entries if not wanted or e.name in wanted or str(e.id) in wanted]
    return [_entry_drawing(entry, facts, alone=len(chosen) == 1, with_offsets=with_offsets) for entry in chosen]


def _entry_drawing(entry: Entry, facts: ImageFacts, *, alone: bool, with_offsets: bool) -> Drawing:
    width, height = entry.image_size or (None, None)
    known = ImageFacts(name=entry.name, width=width, height=height, mpp=entry.mpp())
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
        name=path.name, width=info.width, height=info.height, mpp=info.mpp, centre_nm=_hamamatsu_offset(path)
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
        drawing: The objects; the name of their image is the entry's, with or without its ending.
        wanted: The entry that the user named, or none.
        stem: Name of the file that the objects came from; used where the image has none.

    Raises:
        ProjectError: None or several.
        FormatError: The image is of another size than the entry's.
    """
    name = wanted[0] if len(wanted) == 1 else drawing.image.name or stem
    found = [e for e in project.entries if name in (e.name, str(e.id))]
    found = found or [e for e in project.entries if Path(e.name).stem in (name, Path(name).stem)]
    if not found and not wanted and drawing.image.name is None and len(project.entries) == 1:
        found = list(project.entries)
    if len(found) != 1:
        there = ", ".join(repr(e.name) for e in project.entries) or "none"
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
