"""Write beside, then rename: nothing that qpkit writes is ever seen half-written."""

from __future__ import annotations

import contextlib
import csv
import errno
import glob
import hashlib
import io
import os
import re
import shutil
import socket
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from qpkit.errors import OutputError

AnyPath = str | os.PathLike[str]
"""What public functions take for a path."""

RUN_NAME: Final = "run.json"
"""In every folder of a training."""

_SAMPLE_BYTES: Final = 1 << 20
_JOB: Final = ".job"
"""In an unfinished folder: machine and job that it is of."""


def path_of(path: AnyPath | None) -> Path | None:
    """Give a path that may be missing as a Path."""
    return None if path is None else Path(path)


def paths_of(paths: AnyPath | Sequence[AnyPath]) -> list[Path]:
    """Give paths, or the one there is, as a list."""
    return [Path(path) for path in ([paths] if isinstance(paths, str | os.PathLike) else paths)]


def replace_file(path: Path, content: bytes) -> None:
    """Write `content` to a temporary file in the same folder, flush it to disk and rename it over `path`.

    Who may read and write the old file may do so with the new one: projects lie in folders of whole groups.

    Raises:
        OutputError: The disk is full or the folder cannot be written; `path` is as it was before.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            # Before the rename: after a power cut the name must not lead to an empty file.
            os.fsync(file.fileno())
        if path.exists():
            with contextlib.suppress(PermissionError):  # some network drives know no modes
                beside.chmod(stat.S_IMODE(path.stat().st_mode))
        beside.replace(path)
    except OSError as err:
        raise OutputError(f"{path}: cannot be written ({err.strerror or err}); it is as it was") from err
    finally:
        beside.unlink(missing_ok=True)


def pretty_json(value: object) -> bytes:
    """Encode as JSON of one key a line."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2)


def csv_bytes(rows: Iterable[Sequence[Any]]) -> bytes:
    """Encode as CSV, the head first."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


@contextlib.contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Let one qpkit process of this machine into a folder, from its look at a file until it is replaced.

    The lock is on the folder itself, so nothing is left behind. Where folders cannot be locked (Windows, some network
    drives), all go in.
    """
    try:
        import fcntl

        descriptor = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        yield
        return
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)  # which ends the lock


_written_now: Final[set[Path]] = set()
"""The siblings that `new_folder` has open: one of this process that is not among them was left after Ctrl-C."""


@contextlib.contextmanager
def new_folder(path: Path, *, marker: str, overwrite: bool = False, job: str = "") -> Iterator[Path]:
    """Give a temporary sibling folder to write into; rename it to `path` when the block ends well.

    On any error (a full disk too) the sibling is removed and `path` is as it was before. After Ctrl-C it stays if the
    job can go on from it, as it does when the process is killed. What dead processes of this machine, or this one,
    have left for this path is taken up or removed.

    Args:
        path: The folder to make; its parents are made too. A link is followed.
        marker: File that tells a folder of this kind, such as "export.json".
        overwrite: Replace a folder that is there, if it has the marker: never a project, never somebody's files.
        job: What the folder is made from, in one word. If a process that made the same was killed on this machine,
            the folder that it has left is given instead of an empty one.

    Raises:
        OutputError: `path` holds something already, or cannot be written.
    """
    path = path.resolve()
    require_free(path, marker=marker, overwrite=overwrite)
    beside = path.with_name(f"{path.name}.partial-{os.getpid()}")
    is_kept = False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        abandoned = _abandoned(path, job)
        if abandoned is None:
            beside.mkdir()
        else:
            # Under this process's id, so that no other takes it up as well.
            abandoned.rename(beside)
        (beside / _JOB).write_text(_job_note(job), encoding="utf-8")
        _written_now.add(beside)
        yield beside
        (beside / _JOB).unlink(missing_ok=True)
        _swap(beside, path)
    except OSError as err:
        # An unreadable slide is an OSError, too, for which this folder is not to blame.
        if isinstance(err, OutputError) or not _is_about(err, beside):
            raise
        raise OutputError(f"{path}: cannot be written ({err.strerror}); nothing was left behind") from err
    except KeyboardInterrupt:
        is_kept = bool(job)
        raise
    finally:
        _written_now.discard(beside)
        if not is_kept:
            shutil.rmtree(beside, ignore_errors=True)


@contextlib.contextmanager
def shared_folder(path: Path, *, marker: str, overwrite: bool = False, job: str) -> Iterator[Path]:
    """Give the sibling folder that all who do the same job write into, from any machine; it outlives the block.

    Whoever finds everything done calls `settle_shared`.

    Args:
        path: The folder that it will be in the end; a link is followed.
        marker, overwrite: As for `new_folder`.
        job: What is made, in one word.

    Raises:
        OutputError: `path` holds something else, or the sibling cannot be written; what is in it stays.
    """
    path = path.resolve()
    require_free(path, marker=marker, overwrite=overwrite)
    beside = path.with_name(f"{path.name}.shared-{job[:12]}")
    try:
        beside.mkdir(parents=True, exist_ok=True)
        yield beside
    except OSError as err:
        if isinstance(err, OutputError) or not _is_about(err, beside):
            raise
        raise OutputError(f"{beside}: cannot be written ({err.strerror}); run the same job again to go on") from err


def settle_shared(folder: Path, path: Path) -> None:
    """Give a shared folder its final name; what was there goes."""
    _swap(folder, path.resolve())


def _job_note(job: str) -> str:
    return f"{socket.gethostname()} {job}"


def _abandoned(path: Path, job: str) -> Path | None:
    """Find what a dead process of this machine has left of the same job; what is left of others goes."""
    found = None
    for left in sorted(path.parent.glob(f"{glob.escape(path.name)}.partial-*")):
        pid = left.name.rpartition("-")[2]
        try:
            host, _, made = (left / _JOB).read_text(encoding="utf-8").partition(" ")
        except (OSError, UnicodeDecodeError):
            continue
        # Only of this machine, which the note says: an id means nothing on another.
        if host != socket.gethostname() or not pid.isdecimal():
            continue
        if left in _written_now if int(pid) == os.getpid() else is_running(int(pid)):
            continue
        if job and made == job and found is None:
            found = left
        else:
            shutil.rmtree(left, ignore_errors=True)
    return found


def this_process() -> str:
    """Name this machine and process, "host 1234"."""
    return f"{socket.gethostname()} {os.getpid()}"


def is_gone(process: str) -> bool:
    """Say whether a process that `this_process` named was of this machine and lives no more."""
    host, _, pid = process.rpartition(" ")
    # Of another machine an id means nothing.
    return host == socket.gethostname() and pid.isdecimal() and not is_running(int(pid))


def is_running(pid: int) -> bool:
    """Say whether a process of this machine lives; where that cannot be asked, it counts as living."""
    # On Windows the signal 0 is no question but Ctrl-C.
    if os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def _is_about(err: OSError, folder: Path) -> bool:
    """Whether an error comes from writing into a folder: the disk is full, or the path in it is the folder's."""
    return err.errno in (errno.ENOSPC, errno.EDQUOT) or str(err.filename or "").startswith(str(folder))


def require_free(path: Path, *, marker: str, overwrite: bool) -> None:
    """Raise unless new_folder would take this path; for work that ends in a folder, before it begins.

    Raises:
        OutputError: `path` holds something that is not of this kind, or is and must not be overwritten.
    """
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not (path / marker).is_file():
        raise OutputError(f"{path}: there is something already that is not of this kind; choose another folder")
    if not overwrite:
        raise OutputError(f"{path}: there is something already; choose another folder or pass --overwrite")


def require_new(path: Path) -> None:
    """Raise unless there is nothing at a path; for what is never written over.

    Raises:
        OutputError: There is something.
    """
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise OutputError(f"{path}: there is something already; choose another folder")


def require_run_folder(path: Path, *, resume: bool) -> None:
    """Raise unless a training can begin in this folder, or go on in it; cheap, for before anything heavy is imported.

    Raises:
        OutputError: There is something that is no run, or a run and `resume` is not set.
    """
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not (path / RUN_NAME).is_file():
        raise OutputError(f"{path}: there is something already that is no run; choose another folder")
    if not resume:
        raise OutputError(f"{path}: holds a run already; go on with --resume, or choose another folder")


def _swap(new: Path, path: Path) -> None:
    """Put `new` in the place of `path`; an old folder goes only after the new one stands."""
    if not path.exists():
        new.rename(path)
        return
    old = path.with_name(f"{path.name}.old-{os.getpid()}")
    path.rename(old)
    new.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def sha256(path: Path) -> str:
    """Hash a whole file, hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def quick_hash(path: Path) -> str:
    """Hash size, first and last MiB of a file (or each file of a folder): enough to tell slides apart, in no time.

    Of files deeper in a folder (the chunks of OME-Zarr) names and sizes count.
    """
    digest = hashlib.sha256()
    for part in sorted(path.iterdir()) if path.is_dir() else [path]:
        if not part.is_file():
            continue
        size = part.stat().st_size
        digest.update(str(size).encode())
        with part.open("rb") as file:
            digest.update(file.read(_SAMPLE_BYTES))
            file.seek(max(0, size - _SAMPLE_BYTES))
            digest.update(file.read(_SAMPLE_BYTES))
    deeper = [part for part in path.rglob("*") if part.parent != path and part.is_file()] if path.is_dir() else []
    for part in sorted(deeper):
        digest.update(f"{part.relative_to(path).as_posix()} {part.stat().st_size}\n".encode())
    return digest.hexdigest()


def safe_names(texts: Sequence[str]) -> list[str]:
    """Turn slides' names into file names that every system takes, all different (upper and lower case are alike).

    Letters, digits, '-', '_' and '.' stay; names that would be the same get a number: "a_b.svs", "a_b.svs_2".
    """
    plain = [re.sub(r"[^\w.-]+", "_", text, flags=re.ASCII).strip("._") or "slide" for text in texts]
    taken = {name.lower() for name in plain}
    used: set[str] = set()
    result = []
    for name in plain:
        number, unique = 1, name
        # A name with a number may not be what another slide is called without one.
        while unique.lower() in used or (number > 1 and unique.lower() in taken):
            number += 1
            unique = f"{name}_{number}"
        used.add(unique.lower())
        result.append(unique)
    return result
