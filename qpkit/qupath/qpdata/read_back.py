"""A file that was edited as it reads back, before anybody sees it: nothing else may have changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from qpkit.core.annotation import Annotation
from qpkit.errors import FormatError


def require_kept(found: Iterable[Annotation], kept: Iterator[Annotation], missing: set[str]) -> None:
    """Look at an edited file as it reads back: but for the new objects everything has to be as it was.

    Args:
        found: What was read.
        kept: What was there and had to stay, in the same order.
        missing: Ids of objects that were added; each has to be found once, and goes.

    Raises:
        FormatError: It reads differently.
    """
    same = True
    for item in found:
        if item.id in missing:
            missing.remove(item.id)
        else:
            before = next(kept, None)
            # In a tree its parent may have another place now.
            same &= before is not None and replace(item, parent=before.parent).comparable() == before.comparable()
    if missing or not same or next(kept, None) is not None:
        raise FormatError("not written, because the new file would not read back as it should; please report this")
