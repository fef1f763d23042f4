"""qpkit evaluate --instances with a project: label images of numbered objects on slides, against its objects."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from qpkit.core.labels import LabelMap
from qpkit.core.tiles import Tile
from qpkit.errors import ProjectError
from qpkit.files import new_folder, require_free
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
from qpkit.workflows.inputs.numbered_images import (
    NumberedImage,
    SlideNumbers,
    by_entry,
    map_of_classes,
    numbered_images,
    require_classes,
    run_of_images,
)
from qpkit.workflows.inputs.slides import SlideInput


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
    images = numbered_images(folder, instances, table)
    names = {name for image in images for name in image.classes.classes}
    rules = labels or replace(map_of_classes(names, project), objects=("annotation", "detection", "cell"))
    require_classes(names, rules)
    rules = replace(rules, unannotated=settings.unannotated or rules.unannotated)
    by_input = _by_input(images, project, inputs, folder)
    items = [item for item, _ in by_input]
    unit, patients = patients_of(items, settings.patient)
    groups = {key: group_values(items, key) for key in settings.by}
    tick, digest, slides = Ticker(len(images), on_progress), hashlib.sha256(), []
    for item, placed in by_input:
        start = time.perf_counter()
        counts = _count(item, placed, rules, settings, digest, tick)
        slides.append(Counted(item.source.name, counts, time.perf_counter() - start))
    result = evaluation_of(run_of_images(digest), slides, rules, settings, unit=unit, patients=patients, groups=groups)
    found = [note for slide in slides for note in (*slide.counts.notes, *origins_note(slide.counts.origins))]
    result = replace(result, notes=(*found, *patient_notes(result.patients)))
    if out is not None:
        with new_folder(out, marker=INFO_NAME, overwrite=overwrite) as root:
            write_evaluation(result, root)
    return result


def _by_input(
    images: Sequence[NumberedImage], project: Project, inputs: Sequence[SlideInput], folder: Path
) -> list[tuple[SlideInput, list[NumberedImage]]]:
    """The images of each slide that has some.

    Raises:
        ProjectError: An image's slide is not in the project, or no image lies on a slide that was asked for.
    """
    groups = by_entry(images, project)
    chosen = [(i, groups[i.entry.id]) for i in inputs if i.entry is not None and i.entry.id in groups]
    if not chosen:
        raise ProjectError(f"{folder}: none of its label images lies on a slide that was asked for")
    return chosen


def _count(
    item: SlideInput,
    images: Sequence[NumberedImage],
    rules: LabelMap,
    settings: EvaluateSettings,
    digest: hashlib._Hash,
    tick: Ticker,
) -> SlideCounts:
    """Compare the images of one slide; what they hold is added to `digest`."""
    name = item.source.name
    numbers = SlideNumbers.of(images, rules, digest, name)
    downsample = numbers.downsample
    truth = ground_truth(item.objects(), rules, run="", accepted=settings.accepted)
    drawn = DrawnTruth(item, rules, truth, name=name, downsample=downsample, only_tissue=settings.only_tissue)
    counts = NumberedCounts(rules)
    for index, edge in enumerate(numbers.edges):
        for y, strip in numbers.strips(index):
            place = Tile(
                col=index, row=y, x=edge.x, y=edge.y + y, width=edge.width, height=len(strip), downsample=downsample
            )
            counts.add(drawn.draw(place), drawn.numbers(place), numbers.values[strip], strip)
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
        notes=(*drawn.notes, *numbers.notes(name), *_notes(name, len(drawn.instances), len(overlaps.true))),
        objects=object_totals(overlaps, true_values, numbers.values[overlaps.predicted], rules),
    )


def _notes(name: str, drawn: int, compared: int) -> list[str]:
    if drawn == compared:
        return []
    return [f"{name}: {drawn - compared:,} of {drawn:,} true objects lie beside the images or are hidden"]
