"""How predictions are judged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from qpkit.core.labels import Unannotated
from qpkit.ops.scores.bootstrap import RESAMPLES
from qpkit.ops.scores.lesions import OVERLAP
from qpkit.settings import Range, Settings

Accepted = Literal["ignore", "truth"]
"""What predictions of the evaluated run are that a person accepted as they were."""

ObjectRule = Literal["components", "drawn"]
"""What a true object is: an area that touches itself, or each object of the project."""

PATIENT_KEY: Final = "Patient"
"""Metadata key that names the patient, if no other is given and every slide has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateSettings(Settings):
    """How predictions are judged.

    Args:
        by: Figures for every value of a metadata key, e.g. Stain (repeatable).
        patient: Metadata key over which means are taken. Default: Patient if all slides have it, else the slide.
        unannotated: Count what nobody annotated as background, or ignore it. Default: as the label map says.
        accepted: Predictions of the evaluated run that were accepted (locked) unchanged: ignore, or truth.
        only_tissue: Leave out glass (by the slide's thumbnail) that nobody annotated.
        lesion_overlap: Fraction of a lesion that has to be covered for it to be found, and the IoU from which a
            predicted lesion is a true one.
        min_lesion_um2: Smaller predicted lesions that match nothing are no false alarms.
        objects: Compare objects, too (F1, PQ, AJI). True ones are components (4-connected areas of a class), or drawn
            (each object of the project by itself); predicted ones are components.
        resamples: Of the bootstrap over patients.
        seed: Of the bootstrap.
    """

    by: tuple[str, ...] = ()
    patient: str | None = None
    unannotated: Unannotated | None = None
    accepted: Accepted = "ignore"
    only_tissue: bool = False
    lesion_overlap: Annotated[float, Range(above=0, at_most=1)] = OVERLAP
    min_lesion_um2: Annotated[float, Range(at_least=0)] = 0.0
    objects: ObjectRule | None = None
    resamples: Annotated[int, Range(at_least=1)] = RESAMPLES
    seed: Annotated[int, Range(at_least=0)] = 0

    def faults(self) -> Iterator[str]:
        """Name what does not go together."""
        if len(set(self.by)) < len(self.by):
            yield f"--by {' --by '.join(self.by)}: a key is there twice"
