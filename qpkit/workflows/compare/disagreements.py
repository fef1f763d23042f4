"""Where readers disagree, as annotations."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qpkit.core.annotation import Annotation, PathClass, argb
from qpkit.core.labels import LabelMap
from qpkit.core.review import DISAGREEMENT_CLASS, is_disagreement
from qpkit.core.tiles import Tile
from qpkit.ops.vectors.sweep import trace
from qpkit.ops.vectors.vectorize import outlines_of
from qpkit.progress import OnProgress, Ticker, no_progress
from qpkit.qupath import Project
from qpkit.workflows.compare.compare import downsample_of, item_of, strips_of
from qpkit.workflows.compare.readers import Draw, Reader, common_label_map
from qpkit.workflows.compare.settings import CompareSettings

_CLASS: Final = PathClass((DISAGREEMENT_CLASS,), argb(255, 128, 0))
_NAMESPACE: Final = uuid.UUID("57b5c7de-4a86-4c0f-8f37-0c4f5f7bb1a2")
_SAME: Final = -1


def write_disagreements(
    project: Project,
    readers: Sequence[Reader],
    settings: CompareSettings,
    *,
    labels: LabelMap | None = None,
    min_area_um2: float = 0.0,
    on_progress: OnProgress = no_progress,
) -> tuple[int, int]:
    """Put the places where two readers judge differently into a project; earlier ones are taken out.

    Args:
        project: Whose slides get them.
        readers: Who were compared.
        settings: As they were compared.
        labels: As they were compared.
        min_area_um2: Smaller places are left out.

    Returns:
        (written, replaced).
    """
    labels = common_label_map(readers, labels)
    tick = Ticker(len(project.entries), on_progress)
    written = replaced = 0
    for entry in project.entries:
        there = {number: o.id for number, o in enumerate(entry.objects()) if is_disagreement(o)}
        made = []
        if all(entry.name in reader.slides for reader in readers):
            made = disagreements(readers, entry.name, labels, settings, min_area_um2=min_area_um2)
        if set(there.values()) != {o.id for o in made}:
            entry.replace_objects(remove=set(there), add=made)
            replaced += len(there)
        written += len(made)
        tick(entry.name)
    return written, replaced


def disagreements(
    readers: Sequence[Reader], slide: str, labels: LabelMap, settings: CompareSettings, *, min_area_um2: float = 0.0
) -> list[Annotation]:
    """The places on a slide where two readers judge differently; a pixel that one of them leaves open is none.

    Raises:
        ProjectError: The slide has no um per px.
    """
    item = item_of(readers, slide)
    downsample = downsample_of(item, settings)
    um2 = (downsample * (item.info.mpp or 1.0)) ** 2
    draws = [reader.drawing(slide, item, labels, downsample) for reader in readers]
    made = []
    for a, b in combinations(range(len(readers)), 2):
        strips = _strips(draws[a], draws[b], strips_of(item, downsample), labels)
        found = outlines_of(trace(strips, skip=()), downsample=downsample)
        for number in np.flatnonzero(found.areas * um2 >= min_area_um2).tolist():
            first, second = (labels.name_of(value) for value in divmod(int(found.values[number]), 256))
            name = f"Disagreement: {readers[a].name} vs {readers[b].name} ({first} / {second})"
            polygon, area = found.polygons[number], float(found.areas[number] * um2)
            made.append(
                Annotation(
                    geometry=polygon,
                    shape="geometry" if polygon.interiors else "polygon",
                    path_class=_CLASS,
                    id=str(uuid.uuid5(_NAMESPACE, f"{slide}/{name}/{polygon.wkt}")),
                    name=name,
                    measurements={"Area µm^2": round(area, 2)},
                )
            )
    return made


def _strips(
    first: Draw, second: Draw, tiles: Iterable[Tile], labels: LabelMap
) -> Iterator[tuple[int, NDArray[np.int32], None]]:
    """256 * the label of the one + that of the other, where they differ."""
    for tile in tiles:
        one, other = first(tile).astype(np.int32), second(tile).astype(np.int32)
        same = (one == other) | (one == labels.ignore) | (other == labels.ignore)
        yield tile.y, np.where(same, _SAME, 256 * one + other), None
