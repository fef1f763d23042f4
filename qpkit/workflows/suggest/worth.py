"""How much a square is worth, what it costs, and why, in numbers and words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qpkit.predictions import PredictionSet
from qpkit.workflows.suggest.evidence import Evidence
from qpkit.workflows.suggest.settings import SuggestSettings

_LEAST: Final = 0.05
"""What the least worthy square is worth, so that of equal ones those that differ most are taken."""

_HIGH: Final = 0.75
"""A reason to take a square is in what it surpasses so many of the others."""


def columns_of(
    evidence: Sequence[Evidence], predictions: Sequence[PredictionSet], settings: SuggestSettings
) -> tuple[dict[str, NDArray[np.float64]], tuple[str, ...]]:
    """What is known of each square, (squares,) by name, NaN where nothing is; and notes on what is not.

    Rarity is the sum of the predicted fractions of the classes, each divided by its fraction of all predictions.
    """
    if not evidence:
        return {}, ("no predictions were given: suggested is what looks unlike the rest and unlike what is annotated",)
    counts = np.array([each.counts for each in evidence], np.float64)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    labels = predictions[0].label_map
    overall = counts.sum(axis=0) / max(counts.sum(), 1)
    of_classes = np.array([value != labels.background for value in labels.trained_values])
    weights = np.where(of_classes & (overall > 0), 1 / np.where(overall > 0, overall, 1), 0.0)
    columns = {
        "Uncertainty": np.array([each.entropy for each in evidence]),
        "Rarity": shares @ weights / max(1, np.count_nonzero(of_classes)),
        "Disagreement": np.array([each.disagreement for each in evidence]),
    }
    notes = []
    if np.isnan(columns["Uncertainty"]).any() and settings.uncertainty:
        notes.append(
            "the predictions have no probabilities: nothing is known of uncertainty; predict with --probabilities"
        )
    return columns, tuple(notes)


def worth_of(columns: dict[str, NDArray[np.float64]], settings: SuggestSettings, count: int) -> NDArray[np.float64]:
    """(count,) `_LEAST`..1: the weighted mean of the ranks; all 1 where nothing is known."""
    weights = {
        "Uncertainty": settings.uncertainty, "Rarity": settings.rarity, "Disagreement": settings.disagreement
    }  # fmt: skip
    known = [name for name, values in columns.items() if weights[name] > 0 and not np.isnan(values).any()]
    if not known:
        return np.ones(count)
    ranks = np.average([_ranks(columns[name]) for name in known], axis=0, weights=[weights[name] for name in known])
    return np.asarray(_LEAST + (1 - _LEAST) * ranks)


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fraction of the values that are smaller, equal ones alike."""
    return np.asarray(np.searchsorted(np.sort(values), values, side="left") / len(values))


def minutes_of(areas: float, outline_mm: float, settings: SuggestSettings) -> float:
    """What it takes to annotate a square with so many areas and so much outline, by the stated costs."""
    return (max(1, areas) * settings.decision_s + outline_mm * settings.outline_s_per_mm) / 60


def reasons_of(
    number: int,
    distance: float,
    columns: dict[str, NDArray[np.float64]],
    evidence: Sequence[Evidence],
    predictions: Sequence[PredictionSet],
) -> tuple[str, ...]:
    """Why a square was chosen: in what it is among the upper quarter, and whether it looks unlike all others."""
    words = {"Uncertainty": "unsure", "Rarity": "rare classes", "Disagreement": "runs disagree"}
    best = [
        words[name]
        for name, values in columns.items()
        if not math.isnan(values[number]) and _ranks(values)[number] >= _HIGH
    ]
    if "rare classes" in best:
        labels, counts = predictions[0].label_map, evidence[number].counts
        shown = [
            f"{labels.name_of(value)} {count / counts.sum():.0%}"
            for value, count in zip(labels.trained_values, counts.tolist(), strict=True)
            if value != labels.background and count
        ]
        best[best.index("rare classes")] = " ".join(shown[:3])
    return (*best, *(["unlike the rest"] if distance >= 1 or not best else []))
