"""Slides that are done, in the folder that is not: what a prediction that was killed goes on from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from qpkit.core.annotation import Annotation
from qpkit.errors import FormatError
from qpkit.files import pretty_json, quick_hash, replace_file
from qpkit.predictions import SlidePrediction
from qpkit.slides import SlideSource
from qpkit.version import __version__
from qpkit_train.inference.settings import PredictSettings
from qpkit_train.inference.slide import PredictedSlide

_ENDING: Final = ".finished.json"


class _Finished(msgspec.Struct, frozen=True):
    report: PredictedSlide
    row: SlidePrediction


def job_of(
    run_root: Path,
    sources: Sequence[SlideSource],
    settings: PredictSettings,
    areas: Mapping[str, Sequence[Annotation]] | None = None,
) -> str:
    """Name a prediction by everything that its rasters depend on: models, slides and where on them, settings.

    How many threads work does not count.

    Raises:
        FormatError: A model cannot be read.
    """
    digest = hashlib.sha256(f"{__version__} {replace(settings, readers=None)}".encode())
    try:
        for model in (run_root, *settings.others):
            digest.update(quick_hash(model).encode())
    except OSError as err:
        raise FormatError(f"{err.filename}: cannot be read ({err.strerror})") from err
    for source in sources:
        try:
            content = quick_hash(source.path)
        except OSError:  # a slide that is gone is skipped, and named there
            content = ""
        digest.update(f"{source} {content}".encode())
        for item in (areas or {}).get(source.name, ()):
            digest.update(item.geometry.wkb)
    return digest.hexdigest()


def finished_slide(root: Path, stem: str) -> tuple[PredictedSlide, SlidePrediction] | None:
    """Read what an earlier process has left of a slide; None where it was not done with it."""
    try:
        found = msgspec.json.decode((root / f"{stem}{_ENDING}").read_bytes(), type=_Finished)
    except (OSError, msgspec.DecodeError):
        return None
    rasters = [found.row.labels, *([found.row.probabilities] if found.row.probabilities else [])]
    return (found.report, found.row) if all((root / name).is_file() for name in rasters) else None


def note_finished(root: Path, stem: str, report: PredictedSlide, row: SlidePrediction) -> None:
    """Write that a slide is done; its rasters are whole."""
    replace_file(root / f"{stem}{_ENDING}", pretty_json(_Finished(report, row)))


def forget_finished(root: Path) -> None:
    """Remove the notes: all slides are done."""
    for path in root.glob(f"*{_ENDING}"):
        path.unlink()
