"""What is known of the slides of a folder that is not finished: predicted, or why not. Processes share it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
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
from qpkit_train.inference.predicted import PredictedSlide
from qpkit_train.inference.running.foreign import files_of
from qpkit_train.inference.settings import PredictSettings

_ENDING: Final = ".finished.json"


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """What came out of a slide.

    Args:
        name: Of the slide.
        report, row: None if it could not be predicted.
        failure: Why not.
        notes: What the model said of how it ran.
    """

    name: str
    report: PredictedSlide | None = None
    row: SlidePrediction | None = None
    failure: str = ""
    notes: tuple[str, ...] = ()


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
            for file in files_of(model):
                digest.update(quick_hash(file).encode())
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


def finished_slide(root: Path, stem: str) -> Finished | None:
    """Read what came out of a slide; None if nobody is done with it."""
    try:
        found = msgspec.json.decode((root / f"{stem}{_ENDING}").read_bytes(), type=Finished)
    except (OSError, msgspec.DecodeError):
        return None
    rasters = () if found.row is None else found.row.rasters
    return found if all((root / name).exists() for name in rasters) else None


def note_finished(root: Path, stem: str, finished: Finished) -> None:
    """Write that a slide is done; its rasters are whole."""
    replace_file(root / f"{stem}{_ENDING}", pretty_json(finished))


def forget_failures(root: Path, stems: Iterable[str]) -> None:
    """Let slides be tried again that could not be predicted."""
    for stem in stems:
        found = finished_slide(root, stem)
        if found is not None and found.failure:
            (root / f"{stem}{_ENDING}").unlink(missing_ok=True)


def has_finished(root: Path) -> bool:
    """Whether any slide of a folder has been predicted."""
    return any((found := finished_slide(root, path.name.removesuffix(_ENDING))) and found.row for path in _notes(root))


def forget_finished(root: Path) -> None:
    """Remove the notes: all slides are done."""
    for path in _notes(root):
        path.unlink(missing_ok=True)


def _notes(root: Path) -> list[Path]:
    return sorted(root.glob(f"*{_ENDING}"))
