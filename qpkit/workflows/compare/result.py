"""What a comparison of readers comes to, as rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from qpkit.core.labels import LabelMap
from qpkit.ops.scores.agreement import cohens_kappa
from qpkit.ops.scores.bootstrap import Interval, bootstrap_mean
from qpkit.ops.scores.confusion import class_scores
from qpkit.workflows.compare.counts import Pair, PlaceCounts
from qpkit.workflows.compare.settings import CompareSettings

Level = Literal["all", "slide", "region"]
"""What a row is about; slides are pooled in "all"."""

EVERY = "(all classes)"
"""The class of rows about kappa and about objects of whatever class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place and its counts.

    Args:
        level, slide, region: Which.
        counts: What was counted.
        hausdorff: By pair and class name, um.
    """

    level: Level
    slide: str
    region: str
    counts: PlaceCounts
    hausdorff: Mapping[Pair, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Two readers (or all, with the second one empty), one class, one place; None where nothing can be said.

    Args:
        level, slide, region: The place.
        first, second: Names of the readers.
        class_name: The class, or EVERY.
        px_first, px_second: Pixels of the class by each, of those that both have judged.
        dice, iou: Of the class.
        kappa: Cohen's of two readers, Fleiss' of all; of EVERY.
        low, high, n: Of "all": the 95 % interval over slides of the mean Dice (EVERY: of kappa), and how many slides.
        areas_first, areas_second, f1: 4-connected areas by each, and F1 of those with an IoU above 0.5.
        hausdorff_um: How far the outlines lie apart at most.
    """

    level: Level
    slide: str
    region: str
    first: str
    second: str
    class_name: str
    px_first: int | None = None
    px_second: int | None = None
    dice: float | None = None
    iou: float | None = None
    kappa: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    areas_first: int | None = None
    areas_second: int | None = None
    f1: float | None = None
    hausdorff_um: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What `compare` gives.

    Args:
        readers, slides: Names.
        rows: All places, pairs and classes.
        notes: What the user has to know.
    """

    readers: tuple[str, ...]
    slides: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()


def rows_of(
    places: Sequence[Place], names: Sequence[str], labels: LabelMap, settings: CompareSettings
) -> tuple[Row, ...]:
    """Score every place.

    Args:
        places: "all" is the first.
        names: Of the readers.
        labels: Names the values.
        settings: Of the bootstrap.
    """
    rows: list[Row] = []
    for place in places:
        for pair in place.counts.confusions:
            rows += _pair_rows(place, pair, names, labels)
        if place.counts.fleiss is not None:
            rows.append(
                Row(
                    level=place.level, slide=place.slide, region=place.region, first=" + ".join(names), second="",
                    class_name=EVERY, kappa=place.counts.fleiss.kappa,
                )
            )  # fmt: skip
    per_slide = [row for row in rows if row.level == "slide"]
    return tuple(_with_interval(row, per_slide, settings) if row.level == "all" else row for row in rows)


def _pair_rows(place: Place, pair: Pair, names: Sequence[str], labels: LabelMap) -> list[Row]:
    confusion = place.counts.confusions[pair]
    objects = None if place.counts.objects is None else place.counts.objects[pair]
    who: dict[str, Any] = {"level": place.level, "slide": place.slide, "region": place.region}
    who |= {"first": names[pair[0]], "second": names[pair[1]]}
    every = None if objects is None else objects.every
    rows = [
        Row(
            **who,
            class_name=EVERY,
            px_first=int(confusion.sum()),
            px_second=int(confusion.sum()),
            kappa=cohens_kappa(confusion),
            areas_first=None if every is None else every.total,
            areas_second=None if every is None else every.predicted,
            f1=None if every is None else every.f1,
        )
    ]
    titles = [labels.name_of(value) for value in labels.trained_values]
    for value, score in zip(labels.trained_values, class_scores(confusion, titles), strict=True):
        if value == labels.background:
            continue
        own = None if objects is None else objects.classes[score.name]
        rows.append(
            Row(
                **who,
                class_name=score.name,
                px_first=score.support,
                px_second=score.predicted,
                dice=score.dice,
                iou=score.iou,
                areas_first=None if own is None else own.total,
                areas_second=None if own is None else own.predicted,
                f1=None if own is None else own.f1,
                hausdorff_um=place.hausdorff.get(pair, {}).get(score.name),
            )
        )
    return rows


def _with_interval(row: Row, per_slide: Sequence[Row], settings: CompareSettings) -> Row:
    same = [r for r in per_slide if (r.first, r.second, r.class_name) == (row.first, row.second, row.class_name)]
    values = [r.kappa if row.class_name == EVERY else r.dice for r in same]
    found: Interval = bootstrap_mean(values, seed=settings.seed, resamples=settings.resamples)
    return replace(row, low=found.low, high=found.high, n=found.n)
