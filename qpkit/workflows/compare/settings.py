"""What is compared, and how finely."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from qpkit.ops.scores.bootstrap import RESAMPLES
from qpkit.settings import Flag, Range
from qpkit.workflows.inputs.settings import SlideSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareSettings(SlideSettings):
    """How readers are compared.

    Args:
        mpp: um per px of the pixels that are compared.
        by: Metadata key of objects that names the reader: one project then holds all of them. What has no such key
            (regions) belongs to all.
        hausdorff: Measure how far outlines lie apart at most, too; takes long for long outlines.
        resamples: Of the bootstrap over slides.
        seed: Of the bootstrap.
    """

    mpp: Annotated[float, Range(above=0)] = 1.0
    by: Annotated[str | None, Flag(metavar="KEY")] = None
    hausdorff: bool = False
    resamples: Annotated[int, Range(at_least=1)] = RESAMPLES
    seed: Annotated[int, Range(at_least=0)] = 0
