"""Scores of patients side by side: a dot each, one column per model, with the mean and its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from qpkit.report.figures.names import numbers, plain_text, png_of


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientColumn:
    """A model in one panel.

    Args:
        name: Of the model.
        patients: Dice by patient; None where it cannot be said.
        mean, low, high: Over patients, and the ends of the interval; None where there is none.
    """

    name: str
    patients: Mapping[str, float | None]
    mean: float | None
    low: float | None
    high: float | None


def patients_png(panels: Mapping[str, Sequence[PatientColumn]], baselines: Mapping[str, float | None]) -> bytes:
    """One panel per class, one column per model; lines connect a patient's dots.

    Args:
        panels: Columns by class.
        baselines: Dice of the best baseline by class, a dotted line; None or missing where there is none.
    """
    columns = max(len(found) for found in panels.values())
    figure = Figure(figsize=(max(5.0, len(panels) * (1.2 + 1.1 * columns)), 4), layout="constrained")
    for axes, (name, found) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for patient in found[0].patients:
            dice = numbers([column.patients.get(patient) for column in found])
            axes.plot(range(len(found)), dice, "o-", color="#66727f", alpha=0.5, linewidth=0.8, markersize=4)
        for at, column in enumerate(found):
            if column.mean is None:
                continue
            ends = None
            if column.low is not None and column.high is not None:
                ends = [[column.mean - column.low], [column.high - column.mean]]
            axes.errorbar([at + 0.12], [column.mean], yerr=ends, fmt="s", color="#c00000", capsize=4, markersize=5)
        if baselines.get(name) is not None:
            axes.axhline(float(baselines[name] or 0), color="#9a5b00", linestyle=":", linewidth=1)
        axes.set(title=plain_text(name), ylim=(-0.02, 1.02), xlim=(-0.5, len(found) - 0.5), ylabel="Dice")
        axes.set_xticks(range(len(found)), [plain_text(column.name) for column in found], rotation=20, ha="right")
        axes.grid(alpha=0.3)
    return png_of(figure)
