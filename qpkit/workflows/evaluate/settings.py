"""What qpkit evaluate is told: one value, checked once."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from qpkit.core.labels import Unannotated
from qpkit.errors import ConfigError
from qpkit.ops.scores.bootstrap import RESAMPLES
from qpkit.ops.scores.lesions import OVERLAP

PATIENT_KEY: Final = "Patient"
"""Metadata key that names the patient, if no other is given and every slide has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateSettings:
    """How predictions are judged.

    Args:
        by: Metadata keys; every value of each gets figures of its own.
        patient: Metadata key of what the means are taken over; None: "Patient" if every slide has it, else the slide.
        unannotated: Overrides the label map: what lies outside every region is "background" or "ignore".
        only_tissue: Glass (by the slide's thumbnail) that nobody annotated counts neither way.
        lesion_overlap: Share of a lesion that has to be covered for it to be found, and the IoU from which a
            predicted lesion is a true one.
        min_lesion_um2: Predicted lesions that match nothing do not count if they are smaller.
        resamples, seed: Of the bootstrap.

    Raises:
        ConfigError: Names every value that is out of range.
    """

    by: tuple[str, ...] = ()
    patient: str | None = None
    unannotated: Unannotated | None = None
    only_tissue: bool = False
    lesion_overlap: float = OVERLAP
    min_lesion_um2: float = 0.0
    resamples: int = RESAMPLES
    seed: int = 0

    def __post_init__(self) -> None:
        faults = list(self._faults())
        if faults:
            raise ConfigError("; ".join(faults))

    def _faults(self) -> Iterable[str]:
        if not 0 < self.lesion_overlap <= 1:
            yield f"--lesion-overlap {self.lesion_overlap:g}: has to be above 0 and at most 1"
        if not (self.min_lesion_um2 >= 0 and math.isfinite(self.min_lesion_um2)):
            yield f"--min-lesion-um2 {self.min_lesion_um2:g}: cannot be negative"
        if self.resamples < 1 or self.seed < 0:
            yield f"--resamples {self.resamples}, --seed {self.seed}: at least one resample, no negative seed"
        if len(set(self.by)) < len(self.by):
            yield f"--by {' --by '.join(self.by)}: a key is there twice"


def parse_unannotated(text: str | None) -> Unannotated | None:
    """Read "ignore" or "background"; None stays None.

    Raises:
        ConfigError: Anything else.
    """
    if text is None:
        return None
    rules: dict[str, Unannotated] = {"ignore": "ignore", "background": "background"}
    if text in rules:
        return rules[text]
    raise ConfigError(f"--unannotated {text!r}: has to be ignore or background")
