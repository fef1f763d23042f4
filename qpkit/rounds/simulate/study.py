"""What a simulation plays with: slides by split, the squares that can be chosen, what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from qpkit.core.annotation import Annotation, PathClass, Plane
from qpkit.core.labels import LabelMap
from qpkit.core.tiles import Region
from qpkit.dataset.splits import draw_splits
from qpkit.errors import ConfigError, ProjectError
from qpkit.rounds.simulate.settings import SimulateSettings
from qpkit.rounds.simulate.truth import Square, area_of, labels_of_rounds, only_regions, partly, squares_of
from qpkit.workflows.export.plan import plan_export
from qpkit.workflows.export.settings import ExportSettings
from qpkit.workflows.inputs.slides import SlideInput, project_classes, require_mpp, slide_inputs
from qpkit.workflows.suggest.candidates import Look, candidates_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """Everything that stays the same in all rounds.

    Args:
        items: The slides, as the project has them.
        splits: Split of each slide, by name.
        classes: The project's class list.
        labels: The label map of the whole export.
        export: How everything is exported: the ceiling.
        truth: Squares of each slide in which something is annotated.
        pool: Those of training slides that can be chosen, in the order of slides and rows.
        prices: What each of `pool` costs.
        budget: Of a round, in the unit of the prices.
        job: Hash of the whole export.
    """

    items: tuple[SlideInput, ...]
    splits: Mapping[str, str]
    classes: tuple[PathClass, ...]
    labels: LabelMap
    export: ExportSettings
    truth: Mapping[str, tuple[Square, ...]]
    pool: tuple[Square, ...]
    prices: tuple[float, ...]
    budget: float
    job: str

    def of_split(self, split: str) -> list[SlideInput]:
        """Slides of a split."""
        return [item for item in self.items if self.splits[item.source.name] == split]

    @property
    def everything(self) -> list[Square]:
        """All that is annotated on training slides."""
        return [square for item in self.of_split("train") for square in self.truth[item.source.name]]

    @property
    def among(self) -> dict[str, frozenset[Region]]:
        """What can be chosen, by slide."""
        return {
            item.source.name: frozenset(square.region for square in self.pool if square.slide == item.source.name)
            for item in self.of_split("train")
        }

    def annotated(self, chosen: Sequence[Square]) -> tuple[list[SlideInput], ExportSettings]:
        """The slides of a round, and how they are exported: of training slides only the chosen squares are known.

        Validation slides are annotated in full at all times. Of held-out slides nothing is.
        """
        plane = Plane(z=self.export.z, t=self.export.t)
        items: list[SlideInput] = []
        for item in self.items:
            split = self.splits[item.source.name]
            own = chosen if split == "train" else ()
            items.append(item if split == "val" else partly(item, own, plane))
        return items, replace(self.export, labels=labels_of_rounds(self.labels))

    def areas(self, squares: Sequence[Square]) -> dict[str, tuple[Annotation, ...]]:
        """Where slides are predicted, by slide."""
        names = dict.fromkeys(square.slide for square in squares)
        return {name: area_of(square for square in squares if square.slide == name) for name in names}

    def taken(self, order: Sequence[Square], before: Sequence[Square], rounds: int) -> list[Square]:
        """What is annotated after so many rounds: what was before, and what comes first and still fits the budget.

        What one round leaves over is the next one's.
        """
        price = dict(zip(self.pool, self.prices, strict=True))
        chosen, there = list(before), set(before)
        left = self.budget * rounds - sum(price[square] for square in before)
        for square in order:
            # Sums of floats: a millionth of the budget is no region.
            if square not in there and price[square] <= left + 1e-6 * self.budget:
                chosen.append(square)
                left -= price[square]
        return chosen


def study_of(project: Path, settings: SimulateSettings, export: ExportSettings, look: Look) -> Study:
    """Look at everything that can be wrong before the first training.

    Raises:
        ProjectError: Nothing is annotated, or nothing of it can be chosen.
        ConfigError: There are no training slides or no held-out ones, or the budget of all rounds is more than there
            is, or less than one region.
        FormatError: A slide has no um per px.
        LabelError, GeometryError: The objects and the label map do not fit.
    """
    if export.store == "nnunet":
        raise ConfigError("--store nnunet: qpkit does not train on it; choose files, shards or none")
    if export.split.by == "tile":
        raise ConfigError("--split tile: slides are held out, not tiles; use metadata:KEY, patient:KEY or slide")
    items = slide_inputs([project], settings)
    require_mpp(items)
    classes = tuple(project_classes([project]))
    plan = plan_export(items, export, classes)
    items = [job.item for job in plan.jobs]
    splits = _splits(items, export)
    # Tiles of nothing but ignore teach nothing; where all that nobody annotated is background, there are none.
    only_annotated = export.only_annotated or plan.labels.unannotated == "ignore"
    mpp = export.mpp or (None if export.downsample else max(item.info.mpp or 0 for item in items))
    whole = replace(export, labels=plan.labels, mpp=mpp, only_annotated=only_annotated)
    truth = {job.item.source.name: tuple(squares_of(job, settings)) for job in plan.jobs}
    training = [item for item in items if splits[item.source.name] == "train"]
    pool = [square for item in training for square in _choosable(item, truth[item.source.name], settings, look)]
    if not pool:
        raise ProjectError(
            f"no square of {settings.region_um:g} um on training slides is annotated (by {settings.min_truth:.0%}) "
            "and tissue; lower --region-um, --min-truth or --min-tissue"
        )
    every_mm2 = sum(square.mm2 for item in training for square in truth[item.source.name])
    prices, budget = settings.priced([s.mm2 for s in pool], [s.minutes for s in pool], every_mm2)
    if min(prices) > budget:
        raise ConfigError(f"a round of {settings.budget} is less than one region; ask for more or lower --region-um")
    if settings.rounds * budget > sum(prices) * (1 + 1e-9):
        most = int(sum(prices) / budget)
        raise ConfigError(
            f"{settings.rounds} rounds of {settings.budget} are more than the {len(pool)} annotated squares of training"
            f" slides; take at most --rounds {most} or less a round"
        )
    return Study(
        items=tuple(items),
        splits=splits,
        classes=classes,
        labels=plan.labels,
        export=whole,
        truth=truth,
        pool=tuple(pool),
        prices=tuple(prices),
        budget=budget,
        job=plan.job,
    )


def _splits(items: Sequence[SlideInput], export: ExportSettings) -> dict[str, str]:
    """The split of each slide, as the export draws it."""
    rule = export.split
    groups = {item.source.name: rule.group_of(item.source.name, item.metadata) for item in items}
    named = {item.source.name: rule.named_split(item.source.name, item.metadata) for item in items}
    drawn = draw_splits(list(groups.values()), seed=export.seed, fractions=export.fractions)
    splits = {name: str(named[name] or drawn[group]) for name, group in groups.items()}
    for split, what in (("train", "training"), ("test", "held-out")):
        if split not in splits.values():
            raise ConfigError(
                f"--split {rule}: no {what} slide among {len(items)} with annotations; name one as {split} in the "
                "metadata of the project (--split metadata:KEY)"
            )
    return splits


def _choosable(item: SlideInput, squares: Sequence[Square], settings: SimulateSettings, look: Look) -> list[Square]:
    """Squares that are annotated well enough, and that `qpkit suggest` would take for tissue."""
    enough = {square.region: square for square in squares if square.truth >= settings.min_truth}
    found = candidates_of(only_regions(item, ()), settings, look, among=enough)
    return [enough[candidate.region] for candidate in found.candidates]
