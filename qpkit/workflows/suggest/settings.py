"""What is asked of suggestions, and what they cost."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Final

from qpkit.errors import ConfigError
from qpkit.settings import FRACTION, Flag, Range
from qpkit.workflows.inputs.settings import SlideSettings

_AREA: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(%|mm2)\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class SuggestSettings(SlideSettings):
    """Which regions are suggested.

    Args:
        n: So many regions; 10 if nothing is said of area and time either.
        area: So much, such as 3% (of the tissue of all slides) or 1.5mm2.
        minutes: So much work, by the two costs below; of predicted outlines, or of as much to draw as was drawn so far.
        region_um: Side of a region, um.
        min_tissue: Least fraction of tissue in a region.
        uncertainty: What it counts that predictions are unsure.
        rarity: What it counts that rare classes are predicted.
        disagreement: What it counts that two runs predict differently.
        decision_s: Seconds to look at one predicted area and decide.
        outline_s_per_mm: Seconds to correct one mm of outline.
    """

    n: Annotated[int | None, Range(at_least=1)] = None
    area: Annotated[str | None, Flag(metavar="3%|1.5mm2")] = None
    minutes: Annotated[float | None, Range(above=0)] = None
    region_um: Annotated[float, Range(above=0)] = 500.0
    min_tissue: Annotated[float, FRACTION] = 0.5
    uncertainty: Annotated[float, Range(at_least=0)] = 1.0
    rarity: Annotated[float, Range(at_least=0)] = 1.0
    disagreement: Annotated[float, Range(at_least=0)] = 1.0
    decision_s: Annotated[float, Range(above=0)] = 3.0
    outline_s_per_mm: Annotated[float, Range(above=0)] = 10.0

    def budget_mm2(self, tissue_mm2: float) -> float | None:
        """The area that is asked for, mm2; None if none is.

        Raises:
            ConfigError: It is no area.
        """
        if self.area is None:
            return None
        found = _AREA.fullmatch(self.area)
        if found is None or float(found[1]) <= 0 or (found[2] == "%" and float(found[1]) > 100):
            raise ConfigError(f"--area {self.area}: is no area; give a percentage of the tissue (3%) or mm2 (1.5mm2)")
        return float(found[1]) * (tissue_mm2 / 100 if found[2] == "%" else 1.0)
