"""How clicks are simulated for a network that takes them ([model] click_px says whether it does)."""

from __future__ import annotations

from typing import Annotated

from qpkit.settings import Range
from qpkit_train.section import Section


class PromptConfig(Section, frozen=True, kw_only=True):
    """Clicks that a promptable network learns from.

    Args:
        clicks: Clicks that a sample begins with: 1 to so many. The first is inside the object, each further one inside
            or outside of it, with the same probability.
        corrective: Then 0 to so many more, each in the middle of the largest error of the network as it is.
        measured_clicks: Validation tiles are measured after so many: one in the middle of the object, then corrective
            ones.
    """

    clicks: Annotated[int, Range(at_least=1, at_most=24)] = 4
    corrective: Annotated[int, Range(at_least=0, at_most=24)] = 3
    measured_clicks: Annotated[int, Range(at_least=1, at_most=24)] = 3
