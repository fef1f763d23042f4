"""qpkit measure: area, number and fraction of each class, per region, slide and patient."""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Final, Literal

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from qpkit.core.annotation import Annotation, PathClass
from qpkit.core.labels import LabelClass, LabelMap
from qpkit.core.provenance import drawn_by_people, is_prediction
from qpkit.core.tiles import Tile
from qpkit.errors import ConfigError, ProjectError, listed, or_else
from qpkit.ops.masks.rasterize import Painting
from qpkit.ops.vectors.areas import class_areas, class_of, filled_area, united
from qpkit.predictions import PredictionSet, SlidePrediction, read_predictions
from qpkit.predictions.store import read_strips
from qpkit.progress import OnProgress, Ticker, no_progress
from qpkit.qupath import Entry, Project, QpData
from qpkit.settings import Flag, Settings

ANNOTATIONS: Final = "annotations"
PREDICTIONS: Final = "predictions"
_STRIP_PX: Final = 1024

Level = Literal["region", "slide", "patient", "all"]
"""What a row is about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureSettings(Settings):
    """What is measured.

    Args:
        what: annotations, predictions (those imported into the project), or the folder that qpkit predict made.
        region: Class of the annotations that are measured one by one, such as "Region*" (repeatable).
        patient: Metadata key that names the patient. Default: Patient, where an image has it.
        entries: Only this entry, by name or id (repeatable).
    """

    what: Annotated[str, Flag(name="--of", metavar="annotations|predictions|DIR")] = ANNOTATIONS
    region: tuple[str, ...] = ("Region*",)
    patient: str = "Patient"
    entries: Annotated[tuple[str, ...], Flag(name="--entry")] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One class in one place.

    Args:
        level: What the place is: a region, a slide, all slides of a patient, or all.
        patient, slide, region: Which; "" where it is about several. A region is called by its name, or its number.
        class_name: The class, "(none)" without one.
        objects: How many objects; in a region those of which at least half the area lies in it. None for rasters.
        area_px2: Level-0 px2 that they cover together.
        area_mm2: The same in mm2; None where um per px are not known.
        sum_mm2: Their areas added up, overlaps in each. None as above, and for rasters.
        of_mm2: What the fraction is of: the region's area; for slides, patients and all that of the regions if there
            are any, else of everything that was measured (of a raster: of all of it).
        fraction: How much of that the class covers, 0..1; None of nothing.
    """

    level: Level
    patient: str
    slide: str
    region: str
    class_name: str
    objects: int | None
    area_px2: float
    area_mm2: float | None
    sum_mm2: float | None
    of_mm2: float | None
    fraction: float | None


@dataclass(frozen=True, slots=True)
class MeasureReport:
    """Rows in the order region, slide, patient, all; and what the user has to know."""

    rows: tuple[Measured, ...]
    notes: tuple[str, ...]

    def to_csv(self) -> str:
        """The rows as a table."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow([field.name for field in fields(Measured)])
        for row in self.rows:
            rows.writerow(["" if value is None else value for value in asdict(row).values()])
        return text.getvalue()


@dataclass(slots=True)
class _Sum:
    """What is added up for a class in a place: px2 and um2 may be of several slides; px2 inside its regions."""

    objects: int = 0
    px2: float = 0.0
    um2: float = 0.0
    sum_um2: float = 0.0
    inside_px2: float = 0.0

    def __add__(self, other: _Sum) -> _Sum:
        return _Sum(
            self.objects + other.objects,
            self.px2 + other.px2,
            self.um2 + other.um2,
            self.sum_um2 + other.sum_um2,
            self.inside_px2 + other.inside_px2,
        )


@dataclass(frozen=True, slots=True)
class _Place:
    """The classes in a place, and the area that they are a fraction of (px2, um2)."""

    classes: Mapping[str, _Sum]
    whole: _Sum


def measure(project: Project, settings: MeasureSettings, *, on_progress: OnProgress = no_progress) -> MeasureReport:
    """Measure the objects of a project, or predicted rasters inside its regions.

    An area is that of all objects of a class together, so overlaps count once; QuPath's own area of each object is
    `filled_area`.

    Args:
        project: Its entries; their um per px are QuPath's.
        settings: What is measured.
        on_progress: Called for each entry.

    Raises:
        ProjectError: An entry does not exist, or none has what is measured.
        ConfigError: `what` is neither a word nor a folder.
        FormatError: Data or rasters cannot be read.
    """
    rasters = None if settings.what in (ANNOTATIONS, PREDICTIONS) else _rasters(settings.what)
    rows: list[Measured] = []
    of_patient: dict[str, list[_Place]] = defaultdict(list)
    notes: list[str] = []
    unknown: list[str] = []
    entries = project.chosen(settings.entries)
    tick = Ticker(len(entries), on_progress)
    for entry in entries:
        places = _places(entry, settings, rasters)
        tick(entry.name)
        if places is None:
            notes.append(f"{entry.name}: nothing to measure")
            continue
        regions, slide = places
        patient = entry.metadata.get(settings.patient, "")
        um2 = _um2_per_px(entry)
        if um2 is None:
            unknown.append(entry.name)
        known = um2 is not None
        for name, place in regions.items():
            rows += _rows("region", place, patient, entry.name, name, known=known, counted=rasters is None)
        rows += _rows("slide", slide, patient, entry.name, known=known, counted=rasters is None)
        of_patient[patient].append(slide)
    if not of_patient:
        raise ProjectError(f"{project.path}: no entry has {settings.what} to measure")
    if unknown:
        notes.append(f"no um/px is known for {listed(unknown)}: areas in px2 only")
    known = not unknown
    for patient, slides in of_patient.items():
        if patient:
            rows += _rows("patient", _together(slides), patient, known=known, counted=rasters is None)
    every = [slide for slides in of_patient.values() for slide in slides]
    rows += _rows("all", _together(every), known=known, counted=rasters is None)
    order = ("region", "slide", "patient", "all")
    return MeasureReport(tuple(sorted(rows, key=lambda row: order.index(row.level))), tuple(notes))


def write_measurements(project: Project, report: MeasureReport, settings: MeasureSettings) -> int:
    """Write area and fraction of each class onto the regions themselves, as measurements that QuPath shows.

    They are called "Tumor: Area µm^2" (px^2 where um per px are not known) and "Tumor: Fraction", with "Predicted "
    before them where predictions were measured. Other measurements stay; so does a file where they are the same.

    Returns:
        How many regions have changed.

    Raises:
        FormatError: A .qpdata must not be rewritten; entries before it are done.
    """
    prefix = "" if settings.what == ANNOTATIONS else "Predicted "
    changed = 0
    for entry in project.chosen(settings.entries):
        own = [row for row in report.rows if row.level == "region" and row.slide == entry.name]
        if not own:
            continue
        objects = entry.objects()
        places = {id(o): number for number, o in enumerate(objects)}
        changes: dict[str | int, Annotation] = {}
        for name, region in _named(_regions(objects, settings)):
            found: dict[str, float] = {}
            for row in (row for row in own if row.region == name):
                area = ("px^2", row.area_px2) if row.area_mm2 is None else ("µm^2", row.area_mm2 * 1e6)
                found[f"{prefix}{row.class_name}: Area {area[0]}"] = round(area[1], 2)
                found[f"{prefix}{row.class_name}: Fraction"] = round(row.fraction or 0.0, 6)
            if any(region.measurements.get(key) != value for key, value in found.items()):
                changes[places[id(region)]] = replace(region, measurements={**region.measurements, **found})
        if changes:
            entry.edit(partial(QpData.update, changes=changes))
            changed += len(changes)
    return changed


def _regions(objects: Sequence[Annotation], settings: MeasureSettings) -> list[Annotation]:
    return [o for o in objects if o.kind == "annotation" and o.class_name in settings.region and o.geometry.area > 0]


def _rasters(of: str) -> PredictionSet:
    folder = Path(of)
    if not folder.is_dir():
        raise ConfigError(
            f"--of {of}: no such folder, and no word for what is measured; {or_else(of, (ANNOTATIONS, PREDICTIONS))}"
        )
    return read_predictions(folder)


def _um2_per_px(entry: Entry) -> float | None:
    size = entry.server.pixel_size()
    return None if size is None else size.x * size.y


def _places(
    entry: Entry, settings: MeasureSettings, rasters: PredictionSet | None
) -> tuple[dict[str, _Place], _Place] | None:
    """The regions of an entry by name, and all of it; None where there is nothing."""
    objects = entry.objects() if entry.has_data else []
    regions = _regions(objects, settings)
    um2 = _um2_per_px(entry) or 0.0
    areas = {name: class_areas([region])[class_of(region)] for name, region in _named(regions)}
    if rasters is not None:
        slide = next((s for s in rasters.slides if s.entry == str(entry.id) or s.name == entry.name), None)
        return None if slide is None else _of_raster(rasters, slide, areas, um2)
    if settings.what == PREDICTIONS:
        chosen = [o for o in objects if is_prediction(o)]
    else:
        chosen = [o for o in drawn_by_people(objects) if o.class_name not in settings.region]
    return (_of_objects(chosen, areas, um2)) if chosen else None


def _named(regions: Sequence[Annotation]) -> Iterable[tuple[str, Annotation]]:
    """Regions by their names, or their numbers where they have none or the same."""
    counts = Counter(region.name for region in regions)
    for number, region in enumerate(regions, start=1):
        is_own = region.name and counts[region.name] == 1
        yield (str(region.name) if is_own else f"{class_of(region)} {number}"), region


def _of_objects(
    objects: Sequence[Annotation], regions: Mapping[str, BaseGeometry], um2: float
) -> tuple[dict[str, _Place], _Place]:
    whole = class_areas(objects)
    sizes = [filled_area(o.geometry) for o in objects]
    all_regions = united(list(regions.values()))
    places = {}
    for name, region in regions.items():
        inside = [shapely.area(shapely.intersection(_area(o), region)) for o in objects]
        own = [k for k, size in enumerate(sizes) if size and inside[k] >= size / 2]
        classes = {
            class_name: _sum(shapely.area(shapely.intersection(area, region)), um2)
            for class_name, area in whole.items()
        }
        for k in own:
            classes[class_of(objects[k])].objects += 1
        for k, px2 in enumerate(inside):
            classes[class_of(objects[k])].sum_um2 += float(px2) * um2
        places[name] = _Place({n: s for n, s in classes.items() if s.px2 or s.objects}, _sum(region.area, um2))
    classes = {name: _sum(area.area, um2) for name, area in whole.items()}
    if regions:
        for name, area in whole.items():
            classes[name].inside_px2 = float(shapely.area(shapely.intersection(area, all_regions)))
    for item, size in zip(objects, sizes, strict=True):
        classes[class_of(item)].objects += 1
        classes[class_of(item)].sum_um2 += size * um2
    of = all_regions.area if regions else united(list(whole.values())).area
    return places, _Place(classes, _sum(of, um2))


def _area(item: Annotation) -> BaseGeometry:
    return class_areas([item])[class_of(item)]


def _sum(px2: float, um2: float) -> _Sum:
    return _Sum(px2=float(px2), um2=float(px2) * um2, inside_px2=float(px2))


def _of_raster(
    rasters: PredictionSet, slide: SlidePrediction, regions: Mapping[str, BaseGeometry], um2: float
) -> tuple[dict[str, _Place], _Place]:
    """Pixels of each class inside each region, and on the whole raster."""
    names = list(regions)
    labels = LabelMap(classes=tuple(LabelClass(f"region {k}", k + 1, (f"region {k}",)) for k in range(len(names))))
    drawn = [Annotation(geometry=regions[name], path_class=PathClass((f"region {k}",))) for k, name in enumerate(names)]
    painting = Painting(drawn, labels, downsample=slide.downsample)
    counts = np.zeros((len(names) + 1, 256), np.int64)
    for y, bands in read_strips(rasters.root / slide.labels, rows=_STRIP_PX):
        rows, columns = bands[0].shape
        tile = Tile(col=0, row=0, x=0, y=y, width=columns, height=rows, downsample=slide.downsample)
        counts += _counts(painting.draw(tile), bands[0], len(names))
    if slide.within is not None:  # what was not predicted is not part of any whole
        counts[:, rasters.label_map.ignore] = 0
    px2 = slide.downsample**2
    of = [counts[k + 1] for k in range(len(names))]
    places = {name: _raster_place(own, rasters.label_map, px2, um2) for name, own in zip(names, of, strict=True)}
    slide_place = _raster_place(counts.sum(axis=0), rasters.label_map, px2, um2)
    if names:
        inside = _raster_place(counts[1:].sum(axis=0), rasters.label_map, px2, um2)
        for name, own in slide_place.classes.items():
            own.inside_px2 = inside.classes[name].px2 if name in inside.classes else 0.0
        return places, _Place(slide_place.classes, inside.whole)
    return places, slide_place


def _counts(regions: NDArray[np.uint8], labels: NDArray[np.uint8], count: int) -> NDArray[np.int64]:
    """(regions + 1, 256) pixels by region (0 is none) and value."""
    both = regions.astype(np.int64).ravel() * 256 + labels.ravel()
    return np.bincount(both, minlength=(count + 1) * 256).reshape(count + 1, 256)


def _raster_place(counts: NDArray[np.int64], labels: LabelMap, px2: float, um2: float) -> _Place:
    classes = {item.name: _sum(int(counts[item.value]) * px2, um2) for item in labels.classes if counts[item.value]}
    return _Place(classes, _sum(int(counts.sum()) * px2, um2))


def _together(places: Sequence[_Place]) -> _Place:
    classes: dict[str, _Sum] = defaultdict(_Sum)
    for place in places:
        for name, own in place.classes.items():
            classes[name] += own
    return _Place(dict(classes), sum((place.whole for place in places), _Sum()))


def _rows(
    level: Level, place: _Place, patient: str = "", slide: str = "", region: str = "", *, known: bool, counted: bool
) -> list[Measured]:
    return [
        Measured(
            level=level,
            patient=patient,
            slide=slide,
            region=region,
            class_name=name,
            objects=own.objects if counted else None,
            area_px2=round(float(own.px2), 2),
            area_mm2=own.um2 / 1e6 if known else None,
            sum_mm2=own.sum_um2 / 1e6 if known and counted else None,
            of_mm2=place.whole.um2 / 1e6 if known else None,
            fraction=own.inside_px2 / place.whole.px2 if place.whole.px2 else None,
        )
        for name, own in sorted(place.classes.items())
    ]
