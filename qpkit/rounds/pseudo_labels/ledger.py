"""What a round added: per slide and class, in pixels and mm2, and how much of it is right where the truth is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from qpkit.errors import FormatError
from qpkit.files import csv_bytes

LEDGER_NAME: Final = "pseudo-labels.json"
TABLE_NAME: Final = "pseudo-labels.csv"


class Added(msgspec.Struct, frozen=True, kw_only=True):
    """What was added of one class on one slide.

    Args:
        slide, class_name: Which.
        candidates_px: Pixels that nobody annotated and that are predicted as the class.
        px: Those that became labels.
        mm2: Their area; None if the um per px are not known.
        least_probability: Of the class, on all slides; None where nothing was added.
        true_px: Those of which the truth is known; None without a truth.
        right_px: Those of these that are right.
    """

    slide: str
    class_name: str
    candidates_px: int
    px: int
    mm2: float | None
    least_probability: float | None
    true_px: int | None = None
    right_px: int | None = None

    @property
    def precision(self) -> float | None:
        """Fraction of the pixels with a known truth that are right."""
        return None if not self.true_px or self.right_px is None else self.right_px / self.true_px


def read_added(folder: Path) -> tuple[Added, ...]:
    """Read what `label_tiles` wrote about a folder.

    Raises:
        FormatError: It is damaged.
    """
    try:
        return msgspec.json.decode((folder / LEDGER_NAME).read_bytes(), type=tuple[Added, ...])
    except (OSError, msgspec.DecodeError) as err:
        raise FormatError(
            f"{folder / LEDGER_NAME}: cannot be read ({err}); remove the folder to make it again"
        ) from err


def added_csv(added: Sequence[Added]) -> bytes:
    """One row per slide and class, blank for what is not known."""
    names = [*Added.__struct_fields__, "precision"]
    return csv_bytes([names, *([getattr(row, name) for name in names] for row in added)])


def summed(added: Sequence[Added]) -> Mapping[str, Added]:
    """What was added of each class on all slides, in the order in which classes appear."""
    found: dict[str, Added] = {}
    for row in added:
        before = found.get(row.class_name)
        found[row.class_name] = row if before is None else _together(before, row)
    return {name: msgspec.structs.replace(row, slide="") for name, row in sorted(found.items())}


def _together(one: Added, other: Added) -> Added:
    def both(name: str) -> Any:
        values = getattr(one, name), getattr(other, name)
        return None if None in values else sum(values)

    names = ("candidates_px", "px", "mm2", "true_px", "right_px")
    return msgspec.structs.replace(one, **{name: both(name) for name in names})
