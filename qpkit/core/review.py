"""What reviewers say of objects, regions and slides: keys of metadata, and classes.

The review script writes the keys; classes do for those who work without it. Nothing here says what follows from them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, Literal

from qpkit.core.annotation import Annotation

REVIEW_KEY: Final = "qpkit review"
"""Of an object: accepted, unsure or reclassified. Of a region or an image: reviewed."""

REVIEWER_KEY: Final = "qpkit reviewer"
SECONDS_KEY: Final = "qpkit review seconds"

UNSURE_CLASS: Final = "Unsure*"
REVIEWED_CLASS: Final = "Reviewed*"
"""QuPath does not show a class that ends in a star as one of tissue; the same name without it counts, too."""

SUGGESTED_CLASS: Final = "Suggested*"
"""Where annotating is worth the most; whoever has done it makes it a `Region*`."""

SUGGESTION_KEY: Final = "qpkit suggestion"
"""Of a suggested region: which call of `qpkit suggest` it is of."""

DISAGREEMENT_CLASS: Final = "Disagreement*"
"""Where readers judge differently."""

MARKS: Final = (REVIEWED_CLASS, SUGGESTED_CLASS, DISAGREEMENT_CLASS)
"""Classes that say something of a place and nothing of the tissue there."""

PROPOSED: Final = "Proposed: {}"
"""Class of what `qpkit propose` has found, by its number: no class of tissue before somebody names it."""

Said = Literal["accepted", "unsure", "reclassified"]

_SAID: Final[dict[str, Said]] = {"accepted": "accepted", "unsure": "unsure", "reclassified": "reclassified"}


def is_unnamed(class_name: str) -> bool:
    """Whether a class is a proposal that nobody has named."""
    return class_name.startswith(PROPOSED.format(""))


def said_of(metadata: Mapping[str, str]) -> Said | None:
    """What a reviewer said of an object by the key; None if nothing, or nothing that is known."""
    return _SAID.get(metadata.get(REVIEW_KEY, "").strip().lower())


def is_unsure(item: Annotation) -> bool:
    """Whether a reviewer could not decide: the key says so, or the class is `Unsure*` or below it."""
    return said_of(item.metadata) == "unsure" or _is_of(item, UNSURE_CLASS)


def is_reviewed_region(item: Annotation) -> bool:
    """Whether an annotation marks where everything was looked at, by its class (`Reviewed*`) or the key."""
    return is_review_mark(item) or (item.kind == "annotation" and is_reviewed(item.metadata))


def is_review_mark(item: Annotation) -> bool:
    """Whether an annotation is nothing but a mark of what was reviewed, by its class: it is no tissue."""
    return item.kind == "annotation" and _is_of(item, REVIEWED_CLASS)


def is_suggestion(item: Annotation) -> bool:
    """Whether an annotation is nothing but a suggestion where to annotate, by its class: it is no tissue."""
    return item.kind == "annotation" and _is_of(item, SUGGESTED_CLASS)


def is_disagreement(item: Annotation) -> bool:
    """Whether an annotation is nothing but a place where readers disagree, by its class: it is no tissue."""
    return item.kind == "annotation" and _is_of(item, DISAGREEMENT_CLASS)


def is_mark(item: Annotation) -> bool:
    """Whether an annotation says something of a place and nothing of the tissue there."""
    return is_review_mark(item) or is_suggestion(item) or is_disagreement(item)


def is_reviewed(metadata: Mapping[str, str]) -> bool:
    """Whether the key says "reviewed": of a whole image, or of a region."""
    return metadata.get(REVIEW_KEY, "").strip().lower() == "reviewed"


def reviewer_of(item: Annotation) -> str:
    """Who decided; "" where nobody says."""
    return item.metadata.get(REVIEWER_KEY, "").strip()


def seconds_of(item: Annotation) -> float | None:
    """How long the decision took, s; None where nothing or nonsense is said."""
    try:
        seconds = float(item.metadata.get(SECONDS_KEY, ""))
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _is_of(item: Annotation, name: str) -> bool:
    return item.path_class is not None and item.path_class.names[0] in (name, name.removesuffix("*"))
