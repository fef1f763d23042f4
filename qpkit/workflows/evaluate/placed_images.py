"""qpkit evaluate --instances with a project: label images of numbered objects on slides, against its objects."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from qpkit.core.annotation import PathClass
from qpkit.core.labels import LabelMap, default_label_map
from qpkit.core.tiles import Tile
from qpkit.errors import FormatError, LabelError, ProjectError, listed
from qpkit.files import new_folder, require_free
from qpkit.ops.seams import JoinedNumbers, TileEdges, join_seams
from qpkit.progress import OnProgress, Ticker, no_progress
from qpkit.qupath import Project
from qpkit.workflows.evaluate.drawn_truth import DrawnTruth
from qpkit.workflows.evaluate.files import INFO_NAME, write_evaluation
from qpkit.workflows.evaluate.groups import group_values, patients_of
from qpkit.workflows.evaluate.numbered import NumberedCounts
from qpkit.workflows.evaluate.objects import object_totals
from qpkit.workflows.evaluate.result import Counted, Evaluation, evaluation_of, patient_notes
from qpkit.workflows.evaluate.settings import EvaluateSettings
from qpkit.workflows.evaluate.slide import SlideCounts
from qpkit.workflows.evaluate.truth import ground_truth, origins_note
from qpkit.workflows.inputs.instance_images import NumberClasses, image_name, number_classes, number_strips
from qpkit.workflows.inputs.label_images import PlacedMask, on_grid, placed_masks
from qpkit.workflows.inputs.slides import SlideInput

_WHOLE = 1 << 31
"""Rows: an image that is a tile is read at once."""


def evaluate_placed_images(
    folder: Path,
    project: Project,
    inputs: Sequence[SlideInput],
    *,
    instances: str,
    labels: LabelMap | None = None,
    table: Path | None = None,
    settings: EvaluateSettings | None = None,
    out: Path | None = None,
    overwrite: bool = False,
    on_progress: OnProgress = no_progress,
) -> Evaluation:
    """Compare label images in which each number is one object with the objects of a project.

    Only what lies under an image is compared; objects that its edge cuts are cut in the truth, too. Objects that the
    border of two images has cut are joined first (`qpkit.ops.seams`).

    Args:
        folder: Label images, placed by their names or by `table` as in `qpkit import-predictions --from-masks`.
        project: Its entries are found by name.
        inputs: Its slides; images of others are left out.
        instances: As in `evaluate_images`.
        labels: How objects become truth; it names all classes of the numbers. None: annotations, detections and cells
            of these classes, inside Region* if the project has it.
        table, settings, out, overwrite, on_progress: As in `qpkit.api.evaluate`.

    Raises:
        FormatError: An image cannot be read or placed, or two lie over each other.
        ConfigError: Images of a slide do not lie on one pixel grid; groups or patients are not there.
        ProjectError: No image lies on one of the slides.
        LabelError: A number has no class, or the label map does not know its class.
        OutputError: `out` holds something.
    """
    settings = settings or EvaluateSettings()
    if out is not None:
        require_free(out, marker=INFO_NAME, overwrite=overwrite)
    classes = number_classes(instances)
    tiles = [_Placed(mask, classes(image_name(mask.path, folder))) for mask in placed_masks(folder, table)]
    names = {name for tile in tiles for name in tile.classes.classes}
    rules = labels or _rules(names, project)
    strange = names - {item.name for item in rules.classes}
    if strange:
        raise LabelError(f"--labels names no class {listed(sorted(strange), most=3)}, which --instances does")
    rules = replace(rules, unannotated=settings.unannotated or rules.unannotated)
    by_input = _by_input(tiles, project, inputs, folder)
    items = [item for item, _ in by_input]
    unit, patients = patients_of(items, settings.patient)
    groups = {key: group_values(items, key) for key in settings.by}
    tick, digest, slides = Ticker(len(tiles), on_progress), hashlib.sha256(), []
    for item, placed in by_input:
        start = time.perf_counter()
        counts = _count(item, placed, rules, settings, digest, tick)
        slides.append(Counted(item.source.name, counts, time.perf_counter() - start))
    run = f"images-{digest.hexdigest()[:8]}"
    result = evaluation_of(run, slides, rules, settings, unit=unit, patients=patients, groups=groups)
    found = [note for slide in slides for note in (*slide.counts.notes, *origins_note(slide.counts.origins))]
    result = replace(result, notes=(*found, *patient_notes(result.patients)))
    if out is not None:
        with new_folder(out, marker=INFO_NAME, overwrite=overwrite) as root:
            write_evaluation(result, root)
    return result


@dataclass(frozen=True, slots=True)
class _Placed:
    """A label image, its place and the classes of its numbers."""

    mask: PlacedMask
    classes: NumberClasses

    def read(self) -> NDArray[Any]:
        (numbers,) = number_strips(self.mask.path, rows=_WHOLE)
        return numbers


def _rules(names: set[str], project: Project) -> LabelMap:
    """A value for each class of the numbers, whatever kind its objects are; regions and ignored areas as in QuPath."""
    starred = [item for item in project.classes if str(item).endswith("*") and str(item) not in names]
    made = default_label_map([*(PathClass((name,)) for name in sorted(names)), *starred])
    return replace(made, objects=("annotation", "detection", "cell"))


def _by_input(
    tiles: Sequence[_Placed], project: Project, inputs: Sequence[SlideInput], folder: Path
) -> list[tuple[SlideInput, list[_Placed]]]:
    """The images of each slide that has some.

    Raises:
        ProjectError: An image's slide is not in the project, or no image lies on a slide that was asked for.
    """
    by_entry: dict[int, list[_Placed]] = {}
    for tile in tiles:
        found = project.called(tile.mask.slide)
        if len(found) != 1:
            raise ProjectError(f"{tile.mask.path.name}: {len(found)} entries are called {tile.mask.slide!r}")
        by_entry.setdefault(found[0].id, []).append(tile)
    chosen = [(i, by_entry[i.entry.id]) for i in inputs if i.entry is not None and i.entry.id in by_entry]
    if not chosen:
        raise ProjectError(f"{folder}: none of its label images lies on a slide that was asked for")
    return chosen


def _count(
    item: SlideInput,
    tiles: Sequence[_Placed],
    rules: LabelMap,
    settings: EvaluateSettings,
    digest: hashlib._Hash,
    tick: Ticker,
) -> SlideCounts:
    """Compare the images of one slide; what they hold is added to `digest`."""
    downsample = tiles[0].mask.downsample
    value_of = {c.name: c.value for c in rules.classes}
    corners = [tuple(on_grid(t.mask, at, downsample) for at in (t.mask.x, t.mask.y)) for t in tiles]
    edges, values, px = [], [], []
    for tile, (x, y) in zip(tiles, corners, strict=True):
        numbers = tile.read()
        digest.update(f"{item.source.name}/{x}/{y}/{downsample}".encode() + numbers.astype("<i8").tobytes())
        edges.append(TileEdges.of(numbers, x=x, y=y))
        values.append(tile.classes.values(edges[-1].numbers, value_of))
        px.append(np.unique(numbers[numbers > 0], return_counts=True)[1])
    _refuse_overlap(tiles, edges)
    joined = join_seams(edges)
    joined_values = _values_of_joined(joined, values, px, background=rules.background)
    truth = ground_truth(item.objects(), rules, run="", accepted=settings.accepted)
    name = item.source.name
    drawn = DrawnTruth(item, rules, truth, name=name, downsample=downsample, only_tissue=settings.only_tissue)
    counts = NumberedCounts(rules)
    for index, (tile, edge) in enumerate(zip(tiles, edges, strict=True)):
        place = Tile(col=index, row=0, x=edge.x, y=edge.y, width=edge.width, height=edge.height, downsample=downsample)
        numbers = joined.renumbered(tile.read(), index)
        counts.add(drawn.draw(place), drawn.numbers(place), joined_values[numbers], numbers)
        tick(name)
    overlaps = counts.overlaps()
    true_values = np.array([rules.background, *(i.value for i in drawn.instances)], np.uint8)[overlaps.true]
    mpp = None if item.info.mpp is None else item.info.mpp * downsample
    areas = None if mpp is None else {c.name: int(counts.outside[c.value]) * mpp**2 / 1e6 for c in rules.classes}
    return SlideCounts(
        confusion=counts.confusion,
        levels=None,
        confidence=None,
        lesions={},
        outside_mm2=areas,
        unannotated_px=drawn.unannotated_px,
        glass_px=drawn.glass_px,
        origins=truth.origins,
        notes=(*drawn.notes, *_notes(name, len(drawn.instances), len(overlaps.true), joined)),
        objects=object_totals(overlaps, true_values, joined_values[overlaps.predicted], rules),
    )


def _refuse_overlap(tiles: Sequence[_Placed], edges: Sequence[TileEdges]) -> None:
    boxes = [shapely.box(e.x, e.y, e.x + e.width, e.y + e.height) for e in edges]
    first, second = shapely.STRtree(boxes).query(boxes, predicate="intersects")
    for one, other in zip(first[first < second].tolist(), second[first < second].tolist(), strict=True):
        if boxes[one].intersection(boxes[other]).area > 0:
            names = f"{tiles[one].mask.path.name} and {tiles[other].mask.path.name}"
            raise FormatError(f"{names} lie over each other; objects would count twice")


def _values_of_joined(
    joined: JoinedNumbers, values: Sequence[NDArray[np.uint8]], px: Sequence[NDArray[np.int64]], *, background: int
) -> NDArray[np.uint8]:
    """The label value of each number of the field, that of its largest part; background of 0."""
    found = np.full(joined.count + 1, background, np.uint8)
    numbers, parts = np.concatenate(joined.joined), np.concatenate(px)
    order = np.argsort(parts, kind="stable")
    found[numbers[order]] = np.concatenate(values)[order]  # of one number the last, so the largest, stays
    return found


def _notes(name: str, drawn: int, compared: int, joined: JoinedNumbers) -> list[str]:
    notes = []
    parts = sum(map(len, joined.joined))
    if parts > joined.count:
        notes.append(f"{name}: {parts:,} predicted objects are {joined.count:,}, as borders of images had cut some")
    if drawn > compared:
        notes.append(f"{name}: {drawn - compared:,} of {drawn:,} true objects lie beside the images or are hidden")
    return notes
