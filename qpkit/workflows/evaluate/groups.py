"""Which slides belong together: by a metadata key, by patient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from qpkit.errors import ConfigError, listed, or_else
from qpkit.workflows.evaluate.settings import PATIENT_KEY
from qpkit.workflows.inputs.slides import SlideInput

NOT_STATED: Final = "(not stated)"
"""Group of the slides without a metadata key that others have."""


def group_values(items: Sequence[SlideInput], key: str) -> list[str]:
    """The value of a metadata key for each slide.

    Raises:
        ConfigError: No slide has it.
    """
    if not any(key in item.metadata for item in items):
        raise ConfigError(f"--by {key!r}: no slide has this metadata key; {or_else(key, _keys(items))}")
    return [item.metadata.get(key, NOT_STATED) for item in items]


def patients_of(items: Sequence[SlideInput], key: str | None) -> tuple[str, list[str]]:
    """What the means are taken over, and whose each slide is.

    Raises:
        ConfigError: A slide lacks the key that was asked for.
    """
    chosen = key or PATIENT_KEY
    without = [item.source.name for item in items if chosen not in item.metadata]
    if key is not None and without:
        names = listed(without)
        raise ConfigError(f"--patient {key!r}: no such metadata for {names}; {or_else(key, _keys(items))}")
    if without:
        return "slide", [item.source.name for item in items]
    return chosen, [item.metadata[chosen] for item in items]


def _keys(items: Sequence[SlideInput]) -> list[str]:
    return sorted({key for item in items for key in item.metadata})
