"""The folder in which a prediction grows, beside the one that it will be; all processes of one job share it."""

from __future__ import annotations

import glob
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from qpkit.claims import others_work
from qpkit.files import is_gone, shared_folder, this_process
from qpkit.predictions.store import INFO_NAME
from qpkit_train.inference.sharing.finished import has_finished
from qpkit_train.inference.sharing.work import has_journals

_ALONE: Final = ".alone"
"""In the folder of a command that does all slides: its process. The parts of an array job have none."""


def is_done(out: Path, job: str) -> bool:
    """Whether a folder holds the predictions of a job."""
    try:
        found = msgspec.json.decode((out / INFO_NAME).read_bytes(), type=dict[str, object]).get("info")
    except (OSError, msgspec.DecodeError):
        return False
    return isinstance(found, dict) and found.get("job") == job


@contextmanager
def unfinished_folder(out: Path, job: str, *, overwrite: bool, alone: bool) -> Iterator[Path]:
    """Give the folder to predict into.

    It stays if slides are done or begun, for the same command to go on with; what other commands for the same `out`
    have left is removed once their process is gone, but for the parts of array jobs. If another process finishes `out`
    meanwhile, the block ends there, without an error.

    Args:
        out: What it will be in the end.
        job: Of the prediction.
        overwrite: Replace predictions that are there.
        alone: Whether one command does all slides.

    Raises:
        OutputError: `out` holds something else, or the folder cannot be written.
    """
    with shared_folder(out, marker=INFO_NAME, overwrite=overwrite, job=job) as root:
        _remove_leftovers(root)
        if alone:
            (root / _ALONE).write_text(this_process(), encoding="utf-8")
        else:
            (root / _ALONE).unlink(missing_ok=True)
        try:
            yield root
        except OSError:
            # Gone, as another process of the same job was the last one: what is left of the block has been done.
            if root.is_dir() or not is_done(out, job):
                raise
        finally:
            if root.is_dir() and not (has_finished(root) or has_journals(root) or others_work(root)):
                shutil.rmtree(root, ignore_errors=True)


def forget_process(root: Path) -> None:
    """Remove the note of whose the folder was, once all slides are done."""
    (root / _ALONE).unlink(missing_ok=True)


def _remove_leftovers(root: Path) -> None:
    name = root.name.rpartition(".shared-")[0]
    for left in root.parent.glob(f"{glob.escape(name)}.shared-*"):
        try:
            is_left = left != root and is_gone((left / _ALONE).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            continue
        if is_left and not others_work(left):
            shutil.rmtree(left, ignore_errors=True)
