"""Suggested regions, and what else a search for them found."""

from __future__ import annotations

from dataclasses import dataclass

from qpkit.workflows.suggest.candidates import Candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """A region worth annotating.

    Args:
        rank: 1 is the first to annotate.
        candidate: Where.
        scores: By name, as the measurements in QuPath have them; those that are not known are left out.
        reasons: Why, in words.
    """

    rank: int
    candidate: Candidate
    scores: dict[str, float]
    reasons: tuple[str, ...]

    @property
    def name(self) -> str:
        """As QuPath shows it."""
        return f"Suggested {self.rank}: {', '.join(self.reasons)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SuggestReport:
    """What was found.

    Args:
        suggestions: The chosen ones, the most worthy first.
        candidates: Of how many.
        annotated: Squares left out because people have annotated in them.
        tissue_mm2: Of all slides.
        notes: What the user has to know.
        seconds: Wall time.
    """

    suggestions: tuple[Suggestion, ...]
    candidates: int
    annotated: int
    tissue_mm2: float
    notes: tuple[str, ...]
    seconds: float

    @property
    def mm2(self) -> float:
        """Area of the suggestions."""
        return sum(one.candidate.mm2 for one in self.suggestions)
