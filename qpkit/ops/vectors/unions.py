"""Sets that grow together: each member leads to another one of its set, and in the end to the root."""

from __future__ import annotations


def root_of(parents, at):
    """The root of a member's set; paths become shorter on the way. For compiled loops."""
    while parents[at] != at:
        parents[at] = parents[parents[at]]
        at = parents[at]
    return at
