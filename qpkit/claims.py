"""Who works on which part (a slide, a fold) of a folder that several processes share: a lock file for each part.

A lock holds its machine and process. It is dead if that process is of this machine and gone, or if nobody has touched
the lock for two minutes: whoever works on a part touches it every few seconds. Ages are those of the drive's own
clock, so clocks of machines need not agree. A process that slept for longer finds that its lock is another's and gives
up the part.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from qpkit.errors import OutputError
from qpkit.files import is_gone, one_at_a_time, this_process

BEAT: Final = 10.0
"""Seconds between two touches of a lock."""

STALE: Final = 120.0
"""Seconds after which a lock that nobody touches is dead."""

_ENDING: Final = ".lock"
_CLOCK: Final = ".clock-"


class LostClaimError(OutputError):
    """Another process took the part over, as this one seemed dead."""


class Claim:
    """A lock that this process holds, touched until it is released.

    Attributes:
        token: Made for this claim alone.
    """

    def __init__(self, path: Path, token: str) -> None:
        self._path, self.token = path, token
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="qpkit-lock", daemon=True)
        self._thread.start()

    def require(self) -> None:
        """Raise LostClaimError unless the lock is still this one's."""
        if _token_in(self._path) != self.token:
            raise LostClaimError(f"{self._path}: another process took this part over, as this one seemed dead")

    def release(self) -> None:
        """Let others have the part."""
        self._released.set()
        self._thread.join()
        if _token_in(self._path) == self.token:
            self._path.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._released.wait(BEAT):
            with contextlib.suppress(OSError):  # gone, or the drive hangs: `require` will say
                os.utime(self._path)


@contextlib.contextmanager
def claimed(folder: Path, stem: str) -> Iterator[Claim | None]:
    """Claim a part for a block; gives None where a living process has it.

    Args:
        folder: That all processes share.
        stem: Names the part; its files begin so.

    Raises:
        OSError: The folder is gone or cannot be written.
    """
    token = _take(folder / f"{stem}{_ENDING}")
    if token is None:
        yield None
        return
    claim = Claim(folder / f"{stem}{_ENDING}", token)
    try:
        yield claim
    finally:
        claim.release()


def others_work(folder: Path) -> bool:
    """Whether a living process has a part of a folder."""
    return any(not _is_dead(path) for path in folder.glob(f"*{_ENDING}"))


def forget_claims(folder: Path) -> None:
    """Remove every lock, a living process's too, once all parts are done."""
    for path in (*folder.glob(f"*{_ENDING}"), *folder.glob(f"{_CLOCK}*")):
        path.unlink(missing_ok=True)


def _take(path: Path) -> str | None:
    """Make a lock, in the place of a dead one if need be; gives its token, or None where it is another's."""
    token = uuid.uuid4().hex
    if _made(path, token):
        return token
    if not _is_dead(path):
        return None
    with one_at_a_time(path.parent):
        if not _is_dead(path):  # meanwhile somebody else took it over
            return None
        path.unlink(missing_ok=True)
        return token if _made(path, token) else None


def _made(path: Path, token: str) -> bool:
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(f"{this_process()}\n{token}\n")
    return True


def _token_in(path: Path) -> str:
    lines = _lines(path)
    return lines[1] if len(lines) == 2 else ""


def _is_dead(path: Path) -> bool:
    lines = _lines(path)
    return (len(lines) == 2 and is_gone(lines[0])) or _age(path) > STALE


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split("\n")[:-1]
    except (OSError, UnicodeDecodeError):
        return []


def _age(path: Path) -> float:
    """Seconds since a lock was touched, by the clock of the drive; 0 where that cannot be told."""
    clock = path.with_name(f"{_CLOCK}{uuid.uuid4().hex}")
    try:
        touched = path.stat().st_mtime
        clock.touch()
        return clock.stat().st_mtime - touched
    except OSError:
        return 0.0
    finally:
        clock.unlink(missing_ok=True)


def wait_a_little() -> None:
    """Between two looks at a part that another process has."""
    time.sleep(BEAT / 10)
