"""What a review finds of each object, and what is asked of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

from shapely.geometry.base import BaseGeometry

from qpkit.core.annotation import Annotation
from qpkit.settings import Flag, Settings, Where

Outcome = Literal[
    "untouched", "accepted", "edited", "reclassified", "unsure", "split", "merged", "rejected",
    "replaced", "undone", "unknown", "added",
]  # fmt: skip
"""What became of an imported object; "added" is one that no import put there. docs/review.md has the rules."""

OUTCOMES: Final[tuple[Outcome, ...]] = (
    "untouched", "accepted", "edited", "reclassified", "unsure", "split", "merged", "rejected",
    "replaced", "undone", "unknown", "added",
)  # fmt: skip

DECIDED: Final[tuple[Outcome, ...]] = ("accepted", "edited", "reclassified", "split", "merged", "rejected")
"""Of which a person has said what is right."""

MatchedBy = Literal["id", "shape", "metadata", ""]
"""How the object of now was found; by metadata alone where no ledger knows of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewSettings(Settings):
    """What is reviewed.

    Args:
        runs: Only what this run imported, and what was drawn (repeatable).
        entries: Only this entry, by name or id (repeatable).
        where: Only entries with this metadata, such as Split=test; * and ? stand for any text (repeatable: all of it).
    """

    runs: Annotated[tuple[str, ...], Flag(name="--run")] = ()
    entries: Annotated[tuple[str, ...], Flag(name="--entry")] = ()
    where: Where = field(default_factory=dict)


ALL_OUTCOMES: Final = ReviewSettings()
"""Of every run and entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewed:
    """One object that was imported, or that people drew.

    Args:
        outcome: What became of it.
        run: That imported it; "" for what was added.
        entry, slide: Id of the entry, and its name.
        id: As imported; of an added one its own, "" where it has none.
        predicted_class: As imported; "" for what was added.
        class_now: Of what is there now; "" where nothing is, or it has none.
        kind: QuPath's object type.
        probability: 0..1, or None.
        x, y, width, height: Bounds in slide px, as imported; of what is there where that is not known.
        area_px2: Its area, likewise.
        iou: Of what was predicted and what is there, where the shape has changed.
        distance_px, distance_um: Hausdorff distance of the outlines, likewise; um where they are known.
        matched_by: How it was found.
        now: Ids of what is there.
        reviewer: Who decided, "" if nobody says.
        seconds: How long that took, if known.
        imported: When (ISO 8601), "" if not known.
        then: The shape as imported; None if not known.
        objects: What is there.
    """

    outcome: Outcome
    run: str
    entry: str
    slide: str
    id: str
    predicted_class: str
    class_now: str = ""
    kind: str
    probability: float | None = None
    x: float
    y: float
    width: float
    height: float
    area_px2: float
    iou: float | None = None
    distance_px: float | None = None
    distance_um: float | None = None
    matched_by: MatchedBy = ""
    now: tuple[str, ...] = ()
    reviewer: str = ""
    seconds: float | None = None
    imported: str = ""
    then: BaseGeometry | None = field(default=None, repr=False)
    objects: tuple[Annotation, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewReport:
    """The result of qpkit review.

    Args:
        rows: One for each row of the ledgers, for each imported object that no ledger knows, and for each added one.
        notes: What could not be known, and what the user has to know.
        seconds: Wall time.
    """

    rows: Sequence[Reviewed]
    notes: tuple[str, ...]
    seconds: float = 0.0
