"""qpkit measure: area, number and fraction of each class, per region, slide and patient."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import shapely
from shapely.geometry.base import BaseGeometry

from qpkit.core.annotation import Annotation
from qpkit.core.provenance import drawn_by_people, is_prediction
from qpkit.errors import ConfigError, ProjectError, listed, or_else
from qpkit.ops.vectors.areas import class_areas, class_of, filled_area, united
from qpkit.predictions import PredictionSet, read_predictions
from qpkit.progress import OnProgress, Ticker, no_progress
from qpkit.qupath import Entry, Project, QpData
from qpkit.settings import Flag, Settings, Where
from qpkit.workflows.inputs.slides import entries_where
from qpkit.workflows.tables.measured_rasters import places_of_raster
from qpkit.workflows.tables.places import Measured, MeasureReport, Place, rows_of, sum_of, together

ANNOTATIONS: Final = "annotations"
PREDICTIONS: Final = "predictions"

_PREDICTED, _AREA, _FRACTION = "Predicted ", ": Area ", ": Fraction"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureSettings(Settings):
    """What is measured.

    Args:
        what: annotations, predictions (those imported into the project), or the folder that qpkit predict made.
        region: Class of the annotations that are measured one by one, such as "Region*" (repeatable).
        patient: Metadata key that names the patient. Default: Patient, where an image has it.
        entries: Only this entry, by name or id (repeatable).
        where: Only entries with this metadata, such as Split=test; * and ? stand for any text (repeatable: all of it).
    """

    what: Annotated[str, Flag(name="--of", metavar="annotations|predictions|DIR")] = ANNOTATIONS
    region: tuple[str, ...] = ("Region*",)
    patient: str = "Patient"
    entries: Annotated[tuple[str, ...], Flag(name="--entry")] = ()
    where: Where = field(default_factory=dict)


_DEFAULT: Final = MeasureSettings()


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
    found: list[_Found] = []
    notes: list[str] = []
    entries = entries_where(project.chosen(settings.entries), settings.where)
    _require_known(entries, settings)
    tick = Ticker(len(entries), on_progress)
    for entry in entries:
        places = _places(entry, settings, rasters)
        tick(entry.name)
        if places is None:
            notes.append(f"{entry.name}: nothing to measure")
        else:
            found.append(_Found(entry, entry.metadata.get(settings.patient, ""), *places))
    if not found:
        raise ProjectError(f"{project.path}: no entry has {settings.what} to measure")
    unknown = [one.entry.name for one in found if _um2_per_px(one.entry) is None]
    if unknown:
        notes.append(f"no um/px is known for {listed(unknown)}: areas in px2 only")
    classes = {name for one in found for name in one.slide.classes}
    rows = partial(rows_of, counted=rasters is None)
    of_regions, of_slides, of_patients = list[Measured](), list[Measured](), list[Measured]()
    by_patient: dict[str, list[_Found]] = defaultdict(list)
    for one in found:
        which: dict[str, Any] = {"patient": one.patient, "slide": one.entry.name, "entry": str(one.entry.id)}
        which |= {"known": _um2_per_px(one.entry) is not None, "classes": _complete([one], classes)}
        for name, place in one.regions.items():
            of_regions += rows("region", place, **which, region=name)
        of_slides += rows("slide", one.slide, **which)
        by_patient[one.patient].append(one)
    for patient, own in by_patient.items():
        if patient:
            place = together([one.slide for one in own])
            of_patients += rows("patient", place, _complete(own, classes), patient=patient, known=not unknown)
    of_all = rows("all", together([one.slide for one in found]), known=not unknown)
    return MeasureReport((*of_regions, *of_slides, *of_patients, *of_all), tuple(notes))


@dataclass(frozen=True, slots=True)
class _Found:
    """An entry, its patient ("" if nobody says), its regions by name, and all of it."""

    entry: Entry
    patient: str
    regions: Mapping[str, Place]
    slide: Place


def _complete(found: Sequence[_Found], classes: set[str]) -> set[str] | None:
    """All classes there are where regions say that everything was annotated: what is not there is 0."""
    return classes if any(one.regions for one in found) else None


def _require_known(entries: Sequence[Entry], settings: MeasureSettings) -> None:
    """Refuse a class of regions, or a key of patients, that was said and is nowhere."""
    if settings.region != _DEFAULT.region:
        there = {o.class_name for entry in entries if entry.has_data for o in entry.objects() if o.class_name}
        for name in settings.region:
            if name not in there:
                raise ConfigError(f"--region {name}: no object is of that class; {or_else(name, sorted(there))}")
    keys = {key for entry in entries for key in entry.metadata}
    if settings.patient != _DEFAULT.patient and settings.patient not in keys:
        why = or_else(settings.patient, sorted(keys)) if keys else "no entry has any metadata"
        raise ConfigError(f"--patient {settings.patient}: no entry has this metadata; {why}")


def write_measurements(project: Project, report: MeasureReport, settings: MeasureSettings) -> int:
    """Write area and fraction of each class onto the regions themselves, as measurements that QuPath shows.

    They are called "Tumor: Area µm^2" (px^2 where um per px are not known) and "Tumor: Fraction", with "Predicted "
    before them where predictions were measured. Other measurements stay; so does a file where they are the same.

    Returns:
        How many regions have changed.

    Raises:
        FormatError: A .qpdata must not be rewritten; entries before it are done.
    """
    prefix = "" if settings.what == ANNOTATIONS else _PREDICTED
    changed = 0
    for entry in entries_where(project.chosen(settings.entries), settings.where):
        own = [row for row in report.rows if row.level == "region" and row.entry == str(entry.id)]
        if not own and settings.what != ANNOTATIONS:
            continue
        objects = entry.objects()
        places = {id(o): number for number, o in enumerate(objects)}
        changes: dict[str | int, Annotation] = {}
        for name, region in _named(regions_of(objects, settings)):
            found = dict.fromkeys(_written(region.measurements, prefix), 0.0)
            for row in (row for row in own if row.region == name):
                area = ("px^2", row.area_px2) if row.area_mm2 is None else ("µm^2", row.area_mm2 * 1e6)
                found[f"{prefix}{row.class_name}{_AREA}{area[0]}"] = round(area[1], 2)
                found[f"{prefix}{row.class_name}{_FRACTION}"] = round(row.fraction or 0.0, 6)
            if any(region.measurements.get(key) != value for key, value in found.items()):
                changes[places[id(region)]] = replace(region, measurements={**region.measurements, **found})
        if changes:
            entry.edit(partial(QpData.update, changes=changes))
            changed += len(changes)
    return changed


def _written(measurements: Mapping[str, float], prefix: str) -> list[str]:
    """Areas and fractions that an earlier call has written: of classes that are nowhere any more they are 0."""
    found = []
    for key in measurements:
        name, is_area, _ = key.rpartition(_AREA)
        fraction = f"{name}{_FRACTION}"
        if is_area and fraction in measurements and name.startswith(_PREDICTED) == bool(prefix):
            found += [key, fraction]
    return found


def regions_of(objects: Sequence[Annotation], settings: MeasureSettings) -> list[Annotation]:
    """List the annotations that are measured one by one."""
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
) -> tuple[dict[str, Place], Place] | None:
    """The regions of an entry by name, and all of it; None where there is nothing."""
    objects = entry.objects() if entry.has_data else []
    regions = regions_of(objects, settings)
    um2 = _um2_per_px(entry) or 0.0
    areas = {name: class_areas([region])[class_of(region)] for name, region in _named(regions)}
    if rasters is not None:
        slide = next((s for s in rasters.slides if s.entry == str(entry.id) or s.name == entry.name), None)
        return None if slide is None else places_of_raster(rasters, slide, areas, um2)
    if settings.what == PREDICTIONS:
        chosen = [o for o in objects if is_prediction(o)]
    else:
        chosen = [o for o in drawn_by_people(objects) if o.class_name not in settings.region]
    # Regions without annotations are measured, too: nothing was found there. Whether it was predicted nobody knows.
    is_measured = bool(chosen or (areas and settings.what == ANNOTATIONS))
    return _of_objects(chosen, areas, um2) if is_measured else None


def _named(regions: Sequence[Annotation]) -> Iterable[tuple[str, Annotation]]:
    """Regions by their names, or their numbers where they have none or the same."""
    counts = Counter(region.name for region in regions)
    for number, region in enumerate(regions, start=1):
        is_own = region.name and counts[region.name] == 1
        yield (str(region.name) if is_own else f"{class_of(region)} {number}"), region


def _of_objects(
    objects: Sequence[Annotation], regions: Mapping[str, BaseGeometry], um2: float
) -> tuple[dict[str, Place], Place]:
    whole = class_areas(objects)
    sizes = [filled_area(o.geometry) for o in objects]
    all_regions = united(list(regions.values()))
    places = {}
    for name, region in regions.items():
        inside = [shapely.area(shapely.intersection(_area(o), region)) for o in objects]
        own = [k for k, size in enumerate(sizes) if size and inside[k] >= size / 2]
        classes = {
            class_name: sum_of(shapely.area(shapely.intersection(area, region)), um2)
            for class_name, area in whole.items()
        }
        for k in own:
            classes[class_of(objects[k])].objects += 1
        for k, px2 in enumerate(inside):
            classes[class_of(objects[k])].sum_um2 += float(px2) * um2
        places[name] = Place({n: s for n, s in classes.items() if s.px2 or s.objects}, sum_of(region.area, um2))
    classes = {name: sum_of(area.area, um2) for name, area in whole.items()}
    if regions:
        for name, area in whole.items():
            classes[name].inside_px2 = float(shapely.area(shapely.intersection(area, all_regions)))
    for item, size in zip(objects, sizes, strict=True):
        classes[class_of(item)].objects += 1
        classes[class_of(item)].sum_um2 += size * um2
    of = all_regions.area if regions else united(list(whole.values())).area
    return places, Place(classes, sum_of(of, um2))


def _area(item: Annotation) -> BaseGeometry:
    return class_areas([item])[class_of(item)]
