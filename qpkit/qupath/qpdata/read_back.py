"""A file that was edited as it reads back, before anybody sees it: nothing else may have changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from qpkit.core.annotation import Annotation
from qpkit.errors import FormatError
from qpkit.qupath.qpdata.object_reader import ObjectColumns


def require_kept(found: Iterable[ObjectColumns], kept: Iterator[Annotation], missing: set[str]) -> None:
    """Look at an edited file as it reads back: but for the new objects everything has to be as it was.

    Args:
        found: What was read.
        kept: What was there and had to stay, in the same order.
        missing: Ids of objects that were added; each has to be found once, and goes.

    Raises:
        FormatError: It reads differently.
    """
    same = True
    for some in found:
        for item in some.annotations(_not_taken_from(missing, some.ids)):
            before = next(kept, None)
            # In a tree its parent may have another place now.
            same &= before is not None and replace(item, parent=before.parent).comparable() == before.comparable()
        del some  # before the next are read
    if missing or not same or next(kept, None) is not None:
        raise FormatError("not written, because the new file would not read back as it should; please report this")


def _not_taken_from(missing: set[str], ids: list[str | None]) -> list[int]:
    """Places of the ids that are not missing; each that is missing goes, so that it is not found twice."""
    places = []
    for place, identity in enumerate(ids):
        if identity in missing:
            missing.remove(identity)
        else:
            places.append(place)
    return places
