"""The regions of slides that are worth annotating next."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import numpy as np

from qpkit.core.tiles import Region
from qpkit.errors import ConfigError, ProjectError
from qpkit.ops.choosing import spread_out
from qpkit.predictions import PredictionSet
from qpkit.progress import OnProgress, Ticker, no_progress
from qpkit.workflows.inputs.slides import SlideInput
from qpkit.workflows.suggest.candidates import Look, TextureLook, candidates_of
from qpkit.workflows.suggest.evidence import Evidence, evidence_of
from qpkit.workflows.suggest.handwork import Handwork, handwork_of
from qpkit.workflows.suggest.result import Suggestion, SuggestReport
from qpkit.workflows.suggest.settings import SuggestSettings
from qpkit.workflows.suggest.worth import columns_of, minutes_of, reasons_of, worth_of

_DEFAULT_N: Final = 10


def suggest(
    items: Sequence[SlideInput],
    settings: SuggestSettings,
    *,
    predictions: Sequence[PredictionSet] = (),
    look: Look | None = None,
    among: Mapping[str, Collection[Region]] | None = None,
    on_progress: OnProgress = no_progress,
) -> SuggestReport:
    """Choose the regions of slides that are worth annotating next.

    Without predictions they are those that look least like each other and like what is annotated. With predictions each
    is worth the weighted mean of its ranks by uncertainty, by rare classes and by disagreement of runs.

    Args:
        items: Slides.
        settings: How many, and what counts.
        predictions: Of these slides; of several runs, too.
        look: What squares are compared by; None for colour and texture.
        among: Only these squares of each slide, by its name; None for all.
        on_progress: Called with (work done, work in all, slide).

    Raises:
        ConfigError: A setting asks for what the predictions do not have, or a slide has no um per px.
        ProjectError: There is no square with enough tissue, or a slide was not predicted.
        FormatError: A file is damaged.
    """
    start = time.perf_counter()
    by_hand = handwork_of(items) if settings.minutes is not None and not predictions else None
    if settings.minutes is not None and not predictions and by_hand is None:
        raise ConfigError(
            "--minutes: what a region costs follows from predicted outlines, or from what was drawn so far, and there "
            "is neither; give --predictions, annotate a region first, or say --area"
        )
    tick = Ticker(len(items) * (1 + bool(predictions)), on_progress)
    found = []
    for item in items:
        own = None if among is None else among.get(item.source.name, ())
        found.append(candidates_of(item, settings, look or TextureLook(), among=own))
        tick(item.source.name)
    candidates = [candidate for each in found for candidate in each.candidates]
    annotated, tissue = sum(len(each.covered) for each in found), sum(each.tissue_mm2 for each in found)
    if not candidates:
        raise ProjectError(
            f"no square of {settings.region_um:g} um is left to suggest ({annotated} are annotated); "
            "lower --region-um or --min-tissue"
        )
    evidence: list[Evidence] = []
    if predictions:
        for _, of_slide in groupby(candidates, key=lambda candidate: candidate.item.source.name):
            there = list(of_slide)
            evidence += evidence_of(there, predictions)
            tick(there[0].item.source.name)
    columns, notes = columns_of(evidence, predictions, settings)
    worth = worth_of(columns, settings, len(candidates))
    costs = [minutes_of(each.areas, each.outline_mm, settings) for each in evidence]
    if by_hand is not None:
        costs = [by_hand.minutes(candidate.mm2, settings) for candidate in candidates]
        notes = (*notes, _note_on_handwork(by_hand))
    knows_costs = bool(costs)
    costs = costs or [0.0] * len(candidates)
    looks, covered = np.array([c.look for c in candidates]), np.array([seen for each in found for seen in each.covered])
    chosen: list[Suggestion] = []
    budget = _Budget.of(settings, tissue)
    least = min(candidate.mm2 for candidate in candidates), min(costs)
    for number, distance in spread_out(looks, worth, covered if len(covered) else None):
        if not budget.allows(*least):
            break
        if not budget.spend(candidates[number].mm2, costs[number]):
            continue  # a cheaper one may still fit
        scores = {name: float(values[number]) for name, values in columns.items() if not math.isnan(values[number])}
        scores |= {"Distance": distance, "Tissue": candidates[number].tissue}
        scores |= {"Minutes": costs[number]} if knows_costs else {}
        chosen.append(
            Suggestion(
                rank=len(chosen) + 1,
                candidate=candidates[number],
                scores={name: round(value, 4) for name, value in scores.items()},
                reasons=reasons_of(number, distance, columns, evidence, predictions),
            )
        )
    if not chosen:
        raise ConfigError(
            f"the budget is less than one region ({candidates[0].mm2:.3g} mm2); ask for more or lower --region-um"
        )
    return SuggestReport(
        suggestions=tuple(chosen),
        candidates=len(candidates),
        annotated=annotated,
        tissue_mm2=tissue,
        notes=(*notes, f"squares are compared by {look.name}") if look else notes,
        seconds=time.perf_counter() - start,
    )


def _note_on_handwork(by_hand: Handwork) -> str:
    per_mm2 = by_hand.areas / by_hand.mm2, by_hand.outline_mm / by_hand.mm2
    return (
        f"minutes are those of drawing by hand, with as much to draw as in the {by_hand.mm2:.3g} mm2 annotated so far: "
        f"{per_mm2[0]:.3g} areas and {per_mm2[1]:.3g} mm of outline per mm2"
    )


@dataclass(slots=True)
class _Budget:
    """What may still be suggested: regions, mm2, minutes."""

    regions: float
    mm2: float
    minutes: float

    @classmethod
    def of(cls, settings: SuggestSettings, tissue_mm2: float) -> _Budget:
        mm2, minutes = settings.budget_mm2(tissue_mm2), settings.minutes
        is_free = settings.n is None and mm2 is None and minutes is None
        return cls(
            regions=_DEFAULT_N if is_free else math.inf if settings.n is None else settings.n,
            mm2=math.inf if mm2 is None else mm2,
            minutes=math.inf if minutes is None else minutes,
        )

    def allows(self, mm2: float, minutes: float) -> bool:
        """Whether a region still fits."""
        return self.regions >= 1 and mm2 <= self.mm2 and minutes <= self.minutes

    def spend(self, mm2: float, minutes: float) -> bool:
        """Take a region from what is left, if that is enough."""
        fits = self.allows(mm2, minutes)
        if fits:
            self.regions, self.mm2, self.minutes = self.regions - 1, self.mm2 - mm2, self.minutes - minutes
        return fits
