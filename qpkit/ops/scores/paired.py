"""Two models judged on the same patients: the differences, patient by patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import wilcoxon

from qpkit.ops.scores.bootstrap import RESAMPLES, Interval, bootstrap_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference:
    """How much better one model is than another, over the patients that both have a value of.

    Args:
        difference: Mean of the differences (this one minus the other) and its bootstrap interval over patients.
        better, worse: Patients on which it is better, and worse.
        p: Of Wilcoxon's signed-rank test, two-sided; None with fewer than two patients. With n patients it cannot be
            below 2 / 2^n.
    """

    difference: Interval
    better: int
    worse: int
    p: float | None


def paired_difference(
    scores: Sequence[float | None], others: Sequence[float | None], *, seed: int, resamples: int = RESAMPLES
) -> PairedDifference:
    """Compare two models' scores of the same patients, in the same order; a patient without both is left out.

    Source: Wilcoxon, Individual comparisons by ranking methods, 1945; the interval as in `bootstrap_mean`, of the
    differences, so that what is hard for both models widens nothing.
    """
    found = [a - b for a, b in zip(scores, others, strict=True) if a is not None and b is not None]
    if len(found) < 2:
        p = None
    elif not np.any(found):
        p = 1.0
    else:
        p = float(wilcoxon(found).pvalue)
    return PairedDifference(
        difference=bootstrap_mean(found, seed=seed, resamples=resamples),
        better=sum(each > 0 for each in found),
        worse=sum(each < 0 for each in found),
        p=p,
    )
