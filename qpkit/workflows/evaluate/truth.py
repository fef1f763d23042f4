"""Which objects of a slide are ground truth, and where they come from: no model is judged by its own answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qpkit.core.annotation import Annotation
from qpkit.core.labels import LabelMap
from qpkit.core.provenance import drawn_by_people, is_looked_at, is_prediction, origin_of, run_of
from qpkit.core.review import said_of
from qpkit.workflows.evaluate.settings import Accepted

DRAWN = "drawn"
"""What objects that people drew are counted as."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroundTruth:
    """The objects that predictions are compared with.

    Args:
        objects: The truth.
        unknown: Objects that are neither truth nor background.
        origins: Both, by where they come from: "drawn", "accepted from run X", "edited from run X"; those that are
            unknown end in ", left out".
    """

    objects: Sequence[Annotation]
    unknown: Sequence[Annotation]
    origins: Mapping[str, int]


def ground_truth(
    objects: Sequence[Annotation], rules: LabelMap, *, run: str, accepted: Accepted = "ignore"
) -> GroundTruth:
    """Sort the objects of a slide.

    Predictions that nobody touched are left out. Those that a person locked as they were are truth, unless they are of
    the run that is evaluated: it would be right by its own word. What a person changed is truth, what one was unsure of
    is unknown.

    Args:
        objects: Of one slide.
        rules: Which kinds of objects it looks at.
        run: Id of the run that is evaluated.
        accepted: What accepted predictions of that run are.
    """
    truth, unknown = [], []
    origins: Counter[str] = Counter()
    for item in drawn_by_people(objects, rules):
        origin, made_by = origin_of(item), run_of(item)
        said = DRAWN if origin == "drawn" else f"{origin} from run {made_by}"
        if origin == "accepted" and made_by == run and accepted == "ignore":
            unknown.append(item)
            said += ", left out"
        else:
            truth.append(item)
        origins[said] += 1
    unsure = [o for o in objects if is_looked_at(o, rules) and is_prediction(o) and said_of(o.metadata) == "unsure"]
    for item in unsure:
        unknown.append(item)
        origins[f"unsure from run {run_of(item)}, left out"] += 1
    return GroundTruth(objects=truth, unknown=unknown, origins=origins)


def origins_note(origins: Mapping[str, int]) -> tuple[str, ...]:
    """Say where the truth comes from, if not all of it was drawn."""
    if not set(origins) - {DRAWN}:
        return ()
    said = ", ".join(f"{count:,} {origin}" for origin, count in sorted(origins.items()))
    left_out = (
        " (their area is ignored; --accepted truth counts them)"
        if any(o.startswith("accepted") and "left out" in o for o in origins)
        else ""
    )
    return (f"ground truth: {said}{left_out}",)
