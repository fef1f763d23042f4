"""The loop over a stream: ask the innermost frame what comes next, read it, and so on."""

from __future__ import annotations

from qpkit.qupath.java.scanning.frames import next_in_frame
from qpkit.qupath.java.scanning.items import read_item
from qpkit.qupath.java.scanning.state import (
    CONTENT,
    F_CONTENT,
    F_VALUES,
    FAULT,
    NOTHING,
    POS,
    STOP,
    TOP,
    VALUE,
    Scan,
)


def walk(scan: Scan) -> None:
    """Walk from the cursor to the end of the stream, to the last string, or to a fault (which the cursor then tells).

    Nothing recurses here, so objects may be nested as deep as there are frames.
    """
    cursor, frames = scan.cursor, scan.frames
    cursor[FAULT] = 0
    want = NOTHING
    while want != STOP:
        if want == NOTHING:
            top = cursor[TOP]
            if top < 0:
                if cursor[POS] >= scan.end:
                    return
                want = CONTENT
            elif frames[top + F_VALUES]:
                frames[top + F_VALUES] -= 1
                want = VALUE
            elif frames[top + F_CONTENT]:
                want = CONTENT
            else:
                want = next_in_frame(scan, top)
                continue
        want = read_item(scan, want)
