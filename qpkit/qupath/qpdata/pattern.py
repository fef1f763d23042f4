"""Objects that differ in texts, numbers and corners alone are written by a pattern: a fourth of the time."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass

from qpkit.core.annotation import Annotation


@dataclass(frozen=True, slots=True)
class Pattern:
    """The bytes that alike objects share.

    Args:
        shared: What stands before, between and behind the contents of their own.
        handles: How many each of them takes.
    """

    shared: list[bytes]
    handles: int

    @classmethod
    def of(cls, pieces: Sequence[bytes | memoryview], own: Collection[int], handles: int) -> Pattern:
        """Learn from an object that was written, all that it refers to being there already.

        Args:
            pieces: It, in pieces.
            own: Which of them are its own.
            handles: How many it took.
        """
        bounds = [-1, *own, len(pieces)]
        between = zip(bounds, bounds[1:], strict=False)
        return cls([b"".join(pieces[before + 1 : behind]) for before, behind in between], handles)

    def filled(self, own: Sequence[bytes]) -> bytes:
        """Another object, of which these are the contents of its own, in the order of the file."""
        pieces = [b""] * (2 * len(own) + 1)
        pieces[::2], pieces[1::2] = self.shared, own
        return b"".join(pieces)


def shared_by(item: Annotation) -> Hashable:
    """What objects have to have in common to be alike, apart from a PolygonROI; None for kinds with more to them."""
    if item.kind in ("cell", "tma_core"):
        return None
    texts = item.name is None, item.id is None, tuple(item.metadata), tuple(item.measurements)
    return item.kind, item.color, *texts, item.locked, item.path_class, item.plane
