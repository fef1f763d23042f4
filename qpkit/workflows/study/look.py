"""What somebody has to begin with: a project with annotations, or a folder of images and masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from qpkit.core.provenance import drawn_by_people
from qpkit.errors import ProjectError, listed
from qpkit.ops.vectors.areas import class_of
from qpkit.progress import OnProgress, no_progress
from qpkit.workflows.folders.pairing import Pairing, find_pairs, holds_pictures
from qpkit.workflows.folders.settings import FolderSettings, with_dataset_file
from qpkit.workflows.inputs.paths import is_project, slide_files
from qpkit.workflows.inputs.slides import SlideInput, slide_inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a study can be made of.

    Args:
        place: The project file, or the folder.
        kind: "project" or "folder".
        images: How many slides, or images with a mask.
        annotated: Slides on which somebody drew something; of a folder all images with a mask.
        classes: How many annotations each class has, the most frequent first; empty for a folder.
        mpps: um per px of the slides, each value once, rising; None among them where it is not known.
        metadata: Values of each key that all annotated slides have, and how many slides have each value.
        broken: Slides that cannot be read, and why.
        notes: What else there is to know.
    """

    place: Path
    kind: Literal["project", "folder"]
    images: int
    annotated: int
    classes: Mapping[str, int]
    mpps: tuple[float | None, ...]
    metadata: Mapping[str, Mapping[str, int]]
    broken: Mapping[str, str]
    notes: tuple[str, ...]


def look_at(place: Path, *, on_progress: OnProgress = no_progress) -> Found:
    """Look at a project or a folder; nothing is changed.

    Args:
        place: QuPath project, or folder of images and masks.
        on_progress: Called with (slides done, in all, name).

    Raises:
        ProjectError: There is neither, or nobody has drawn anything; the message says what to do first.
        FormatError: The project cannot be read.
    """
    if is_project(place):
        return _project(place, on_progress)
    if not place.exists():
        raise ProjectError(f"{place}: there is no such file or folder")
    if holds_pictures(place):
        read = with_dataset_file(place, FolderSettings())
        try:
            pairing = find_pairs(place, images=read.images, masks=read.masks)
        except ProjectError:
            pairing = None
        if pairing is not None and any(pair.mask is not None for pair in pairing.pairs):
            return _folder(place, pairing, read.mpp)
    slides = slide_files([place]) if place.is_dir() else [place]
    raise ProjectError(
        f"{place}: {len(slides)} slide(s) without annotations; make a project: qpkit project create NEW "
        f"{place}, annotate it in QuPath, then: qpkit init NEW"
    )


def _project(place: Path, on_progress: OnProgress) -> Found:
    broken: dict[str, str] = {}
    items = slide_inputs([place], broken=broken)
    classes: Counter[str] = Counter()
    annotated = []
    for number, item in enumerate(items):
        on_progress(number, len(items), item.source.name)
        drawn = list(drawn_by_people(item.objects()))
        classes.update(map(class_of, drawn))
        annotated += [item] if drawn else []
    on_progress(len(items), len(items), "")
    if not annotated:
        raise ProjectError(
            f"{place}: nobody has drawn anything on its {len(items)} slide(s); annotate in QuPath, or begin with "
            f"clusters: qpkit propose {place}"
        )
    file = place if place.is_file() else next(place.glob("*.qpproj"))
    return Found(
        place=file,
        kind="project",
        images=len(items),
        annotated=len(annotated),
        classes=dict(classes.most_common()),
        mpps=_mpps(annotated),
        metadata=_metadata(annotated),
        broken=broken,
        notes=(),
    )


def _mpps(items: Sequence[SlideInput]) -> tuple[float | None, ...]:
    found = {item.info.mpp for item in items}
    known = sorted(mpp for mpp in found if mpp is not None)
    return (*known, *((None,) if None in found else ()))


def _metadata(items: Sequence[SlideInput]) -> dict[str, dict[str, int]]:
    """Keys that all slides have."""
    keys = set.intersection(*(set(item.metadata) for item in items))
    return {key: dict(Counter(item.metadata[key] for item in items)) for key in sorted(keys)}


def _folder(place: Path, pairing: Pairing, mpp: float | None) -> Found:
    with_mask = len(pairing.pairs) - len(pairing.without_mask)
    notes = [pairing.how]
    if pairing.without_mask:
        names = listed(pair.image.name for pair in pairing.without_mask)
        notes.append(f"{len(pairing.without_mask)} image(s) have no mask: {names}")
    if pairing.lonely_masks:
        notes.append(f"{len(pairing.lonely_masks)} mask(s) have no image")
    return Found(
        place=place,
        kind="folder",
        images=with_mask,
        annotated=with_mask,
        classes={},
        mpps=(mpp,),
        metadata={},
        broken={},
        notes=tuple(notes),
    )
