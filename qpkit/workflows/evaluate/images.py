"""qpkit evaluate --instances: label images in which each number is one object, against those of the truth."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qpkit.core.labels import LabelClass, LabelMap
from qpkit.errors import ConfigError
from qpkit.files import new_folder, require_free, safe_names
from qpkit.ops.scores.objects import THRESHOLDS
from qpkit.progress import OnProgress, Ticker, no_progress
from qpkit.report.figures.objects import draw_objects, object_picture
from qpkit.workflows.evaluate.files import INFO_NAME, write_evaluation
from qpkit.workflows.evaluate.numbered import NumberedCounts
from qpkit.workflows.evaluate.objects import object_totals
from qpkit.workflows.evaluate.result import Counted, Evaluation, evaluation_of, patient_notes
from qpkit.workflows.evaluate.settings import EvaluateSettings
from qpkit.workflows.evaluate.slide import STRIP_PX, SlideCounts
from qpkit.workflows.inputs.instance_images import (
    NumberClasses,
    image_pairs,
    number_classes,
    number_picture,
    number_strips,
)

PICTURES: Final = "objects"
"""Folder with a picture of each image."""

PICTURE_PX: Final = 1400
"""Longest side of a picture."""

_Partners = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Numbers of the true and of the predicted objects that have a partner, whatever their classes are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _ImagePair:
    """An image's numbers in the prediction and in the truth, with the class of each."""

    name: str
    predicted: Path
    true: Path
    predicted_classes: NumberClasses
    true_classes: NumberClasses


def evaluate_images(
    predicted: Path,
    truth: Path,
    *,
    instances: str,
    true_instances: str | None = None,
    settings: EvaluateSettings | None = None,
    out: Path | None = None,
    overwrite: bool = False,
    on_progress: OnProgress = no_progress,
) -> Evaluation:
    """Compare two folders of label images in which each number is one object.

    Args:
        predicted, truth: Folders; images of one name (whatever their endings) and size belong together.
        instances: Of the predicted images: the class of all numbers, a table of numbers and classes, or a folder with
            such a table for each image (NAME.csv).
        true_instances: The same of the true images; None as the predicted ones.
        settings: How they are judged. There are no metadata, so no groups and no patients; an image counts as one.
        out: Folder for evaluation.json, tables, figures and one picture per image; None writes nothing.

    Raises:
        FormatError: An image cannot be read, its values are no numbers of objects, or two have different sizes.
        ProjectError: An image has no partner.
        LabelError: A number has no class, or a table cannot be read.
        ConfigError: Groups or patients are asked for.
        OutputError: `out` holds something.
    """
    settings = settings or EvaluateSettings()
    if settings.by or settings.patient:
        raise ConfigError("--by and --patient read the metadata of a project; label images have none")
    if out is not None:
        require_free(out, marker=INFO_NAME, overwrite=overwrite)
    ours_of, theirs_of = number_classes(instances), number_classes(true_instances or instances)
    pairs = [
        _ImagePair(
            name=name,
            predicted=ours,
            true=theirs,
            predicted_classes=ours_of(name),
            true_classes=theirs_of(name),
        )
        for name, (ours, theirs) in image_pairs(predicted, truth).items()
    ]
    rules = _rules(pairs)
    tick, digest, slides, matched = Ticker(len(pairs), on_progress), hashlib.sha256(), [], []
    for pair in pairs:
        start = time.perf_counter()
        counts, partners = _count(pair, rules, digest)
        slides.append(Counted(pair.name, counts, time.perf_counter() - start))
        matched.append(partners)
        tick(pair.name)
    names = [pair.name for pair in pairs]
    run = f"images-{digest.hexdigest()[:8]}"
    result = evaluation_of(run, slides, rules, settings, unit="slide", patients=names, groups={})
    result = replace(result, notes=tuple(patient_notes(result.patients)))
    if out is not None:
        with new_folder(out, marker=INFO_NAME, overwrite=overwrite) as root:
            write_evaluation(result, root)
            (root / PICTURES).mkdir()
            for pair, partners, stem in zip(pairs, matched, safe_names(names), strict=True):
                (root / PICTURES / f"{stem}.png").write_bytes(_picture(pair, partners))
    return result


def _rules(pairs: Sequence[_ImagePair]) -> LabelMap:
    """A value for each class that a number has."""
    names = sorted({name for pair in pairs for name in pair.predicted_classes.classes | pair.true_classes.classes})
    return LabelMap(classes=tuple(LabelClass(name, value, (name,)) for value, name in enumerate(names, start=1)))


def _count(pair: _ImagePair, rules: LabelMap, digest: hashlib._Hash) -> tuple[SlideCounts, _Partners]:
    """Compare one image, and say which objects are partners; its predicted numbers are added to `digest`."""
    value_of = {item.name: item.value for item in rules.classes}
    counts = NumberedCounts(rules)
    strips = (number_strips(path, rows=STRIP_PX) for path in (pair.true, pair.predicted))
    for true, predicted in zip(*strips, strict=True):
        digest.update(predicted.astype("<i8").tobytes())
        truth, answer = pair.true_classes.values(true, value_of), pair.predicted_classes.values(predicted, value_of)
        counts.add(truth, true, answer, predicted)
    overlaps = counts.overlaps()
    true_values = pair.true_classes.values(overlaps.true, value_of)
    predicted_values = pair.predicted_classes.values(overlaps.predicted, value_of)
    found = SlideCounts(
        confusion=counts.confusion,
        levels=None,
        confidence=None,
        lesions={},
        outside_mm2=None,
        unannotated_px=0,
        glass_px=0,
        objects=object_totals(overlaps, true_values, predicted_values, rules),
    )
    is_match = overlaps.above(THRESHOLDS[0])
    return found, (overlaps.true[overlaps.first[is_match]], overlaps.predicted[overlaps.second[is_match]])


def _picture(pair: _ImagePair, partners: _Partners) -> bytes:
    true, predicted = (number_picture(path, max_px=PICTURE_PX) for path in (pair.true, pair.predicted))
    return draw_objects(object_picture(true, predicted, *partners), pair.name)
