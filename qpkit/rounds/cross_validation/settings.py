"""What a cross-validation can be asked for, checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from qpkit.dataset.splits import SplitRule
from qpkit.settings import Flag, Range, Settings
from qpkit.workflows.tables.split_settings import SplitSettings, parse_by


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossValidationSettings(Settings):
    """How tiles are shared out to folds.

    Args:
        by: What stays together: group (as in the table), slide or patient:KEY.
        folds: Each is tested once, by a model that was trained on the others but for one, which chose its best epoch.
        stratify: Share out every class evenly, too.
        seed: Of the draw of the folds.
    """

    by: Annotated[SplitRule | None, Flag(parse=parse_by, shown="group")] = None
    folds: Annotated[int, Range(at_least=3)] = 4
    stratify: Annotated[bool, Flag(name="--stratify/--no-stratify")] = True
    seed: Annotated[int, Range(at_least=0)] = 0

    def faults(self) -> Iterator[str]:
        """Name what cannot be cross-validated."""
        if self.by is not None and self.by.by in ("tile", "metadata"):
            yield f"--by {self.by}: folds keep together a group, a slide or a patient:KEY"

    @property
    def split(self) -> SplitSettings:
        """The same as `qpkit split` takes it."""
        return SplitSettings(by=self.by, folds=self.folds, stratify=self.stratify, seed=self.seed)

    @property
    def patient(self) -> str | None:
        """Metadata key that names the patient, where the folds are drawn by it."""
        return self.by.key if self.by is not None and self.by.by == "patient" else None
