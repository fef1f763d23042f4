"""Several readers to one project: what they say together, with who agreed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final

import numpy as np
from numpy.typing import NDArray

from qpkit.core.annotation import Annotation, PathClass
from qpkit.core.geometry import has_area
from qpkit.core.labels import LabelMap
from qpkit.core.review import is_mark
from qpkit.errors import ConfigError, ProjectError, listed
from qpkit.files import AnyPath, new_folder, require_new
from qpkit.ops.scores.confusion import IGNORE_INDEX, class_indices
from qpkit.ops.scores.consensus import Rule, consensus_table, pattern_count, patterns_of
from qpkit.ops.vectors.sweep import trace
from qpkit.ops.vectors.vectorize import Outlines, outlines_of
from qpkit.progress import OnProgress, Ticker, no_progress
from qpkit.qupath import Entry, Project, open_project
from qpkit.qupath.project.copying import copy_project, drop_backups
from qpkit.settings import Range, words_of
from qpkit.workflows.compare.compare import downsample_of, item_of, strips_of
from qpkit.workflows.compare.readers import Reader, common_label_map, readers_of
from qpkit.workflows.compare.settings import CompareSettings
from qpkit.workflows.hand_out import NAME, read_hand_out
from qpkit.workflows.inputs.slides import slide_inputs

CONSENSUS_KEY: Final = "qpkit consensus"
READERS_KEY: Final = "qpkit readers"
"""Metadata of a merged object: by which rule it came about, and who gave most of it its class."""

_MOST_PATTERNS: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeSettings(CompareSettings):
    """How readers become one.

    Args:
        rule: majority, union, intersection, first (the earliest reader counts) or staple (readers are weighted by how
            reliable they turn out to be).
        simplify_um: How far outlines may move in simplifying.
    """

    rule: Rule = "majority"
    simplify_um: Annotated[float, Range(at_least=0)] = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeReport:
    """What was merged.

    Args:
        project: The new one.
        merged: By slide that several have read, how many objects there are now.
        single: By slide that one has read, who it was; its objects were taken as they are.
        unread: Slides that nobody has read; they have no objects.
        elsewhere: Slides of others that the first project does not have: they are left out.
        left_out: By slide that several have read, objects of theirs that are neither drawn nor a region: points and
            lines, kinds and classes that the label map does not draw.
    """

    project: Project
    merged: dict[str, int]
    single: dict[str, str]
    unread: list[str]
    elsewhere: tuple[str, ...]
    left_out: Counter[str]


def merge(
    sources: Sequence[str],
    out: AnyPath,
    settings: MergeSettings,
    *,
    labels: LabelMap | None = None,
    on_progress: OnProgress = no_progress,
) -> MergeReport:
    """Make the project of what readers say together.

    A slide that one reader has read has that reader's objects. On others the classes of the label map are drawn at
    `settings.mpp`, decided pixel by pixel, and traced; regions are those of all. Pixels that nobody has judged have no
    object.

    Args:
        sources: Projects, as for `readers_of`, or the folder that hand-out made.
        out: Folder to make.
        settings: How.
        labels: What is drawn; all classes there are if left out.

    Raises:
        ConfigError: There are fewer than two readers, or too many for so many classes.
        ProjectError: A model is among them, or a slide has no um per px.
        OutputError: The folder is there already.
    """
    out = Path(out)
    base, readers = _opened(sources, settings)
    if any(reader.predictions is not None for reader in readers):
        raise ProjectError("predictions cannot be merged; import them into a project, and let somebody review them")
    rules = common_label_map(readers, labels)
    if pattern_count(len(readers), len(rules.trained_values)) > _MOST_PATTERNS:
        raise ConfigError(f"{len(readers)} readers of {len(rules.trained_values)} classes are too many to merge")
    read = {name for reader in readers for name in reader.items}
    names = {entry.id: entry.name for entry in base.entries if entry.name in read or not settings.chooses_entries}
    elsewhere = tuple(sorted(read - {entry.name for entry in base.entries}))
    tick = Ticker(len(names), on_progress)
    report = MergeReport(project=base, merged={}, single={}, unread=[], elsewhere=elsewhere, left_out=Counter())
    require_new(out)
    with new_folder(out, marker=base.path.name) as root:
        made = copy_project(base, root, names, place=out)
        for entry in made.entries:
            _put(entry, _objects_of(entry.name, [r for r in readers if entry.name in r.items], rules, settings, report))
            tick(entry.name)
        drop_backups(root)
    return replace(report, project=open_project(out))


def _objects_of(
    slide: str, readers: Sequence[Reader], labels: LabelMap, settings: MergeSettings, report: MergeReport
) -> list[Annotation]:
    """The objects of a slide; writes into the report what became of it."""
    if not readers:
        report.unread.append(slide)
        return []
    if len(readers) == 1:
        report.single[slide] = readers[0].name
        return [o for o in readers[0].objects(slide) if not is_mark(o)]
    # Regions, and what is to be ignored, are those of all; of the rest only what is drawn goes into the consensus.
    objects = [o for reader in readers for o in reader.objects(slide) if not is_mark(o)]
    places = {o.geometry.wkb: o for o in objects if o.class_name in (*labels.regions, *labels.ignored)}
    report.left_out[slide] += sum(
        o.class_name not in (*labels.regions, *labels.ignored)
        and (not labels.takes(o) or labels.class_of(o.class_name) is None or not has_area(o.geometry))
        for o in objects
    )
    merged = [*places.values(), *_consensus(readers, slide, labels, settings)]
    report.merged[slide] = len(merged)
    return merged


def _opened(sources: Sequence[str], settings: MergeSettings) -> tuple[Project, list[Reader]]:
    """The project that is copied, and its readers, whose slides are called as there."""
    sources = words_of(sources)
    folder = Path(sources[0])
    if len(sources) > 1 or not (folder / NAME).is_file():
        readers = readers_of(sources, settings)
        return open_project(readers[0].path), readers
    given = read_hand_out(folder)
    base = open_project(Path(given.project))
    names = {entry.id: entry.name for entry in base.entries}
    readers = []
    for reader, own in given.readers.items():
        path = folder / own.folder
        found = {item.source.name: item for item in slide_inputs([path], settings)}
        ids = {name: given.slides.get(name, -1) for name in found}
        if lost := sorted(name for name, identity in ids.items() if identity not in names):
            raise ProjectError(f"{path}: {listed(lost)}: not handed out, or gone from {base.path}; rename it back")
        items = {names[ids[name]]: item for name, item in found.items()}
        readers.append(Reader(name=reader, path=path, items=items))
    return base, readers


def _put(entry: Entry, objects: Sequence[Annotation]) -> None:
    """Make these the objects of an entry; TMA cores stay."""
    there = {number for number, o in enumerate(entry.objects()) if o.kind != "tma_core"}
    made = [replace(o, id=None, parent=None) for o in objects if o.kind != "tma_core"]
    if there or made:
        entry.replace_objects(remove=there, add=made)


def _consensus(readers: Sequence[Reader], slide: str, labels: LabelMap, settings: MergeSettings) -> list[Annotation]:
    item = item_of(readers, slide)
    downsample = downsample_of(item, settings)
    values = np.array([*labels.trained_values], np.uint8)
    classes = len(values)
    draws = [reader.drawing(slide, item, labels, downsample) for reader in readers]

    def judged() -> Iterator[tuple[int, NDArray[np.uint8]]]:
        for tile in strips_of(item, downsample):
            yield tile.y, np.stack([class_indices(draw(tile), labels.trained_values) for draw in draws])

    counts = np.zeros(pattern_count(len(readers), classes), np.int64)
    if settings.rule == "staple":
        for _, votes in judged():
            counts += np.bincount(patterns_of(votes, classes).ravel(), minlength=len(counts))
    background = labels.trained_values.index(labels.background)
    table = consensus_table(counts, len(readers), classes, settings.rule, background=background)
    after = np.append(values, np.uint8(labels.ignore))[np.minimum(table, classes)]

    def decided(reader: int) -> Iterator[tuple[int, NDArray[np.uint8], NDArray[np.uint8]]]:
        for y, votes in judged():
            labels_here = after[patterns_of(votes, classes)]
            yield y, labels_here, _agrees(votes[reader], labels_here, values)

    # A sweep for each reader: the same outlines, and how much of each area that reader gave its class.
    skip = {labels.background, labels.ignore}
    sweeps = [trace(decided(reader), skip=skip) for reader in range(len(readers))]
    tolerance = settings.simplify_um / (downsample * (item.info.mpp or settings.mpp))
    made = [outlines_of(arcs, tolerance=tolerance, has_weights=True, downsample=downsample) for arcs in sweeps]
    return _objects(made, readers, labels, settings)


def _agrees(votes: NDArray[np.uint8], decided: NDArray[np.uint8], values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """255 where a reader says what was decided."""
    said = np.append(values, np.uint8(0))[np.minimum(votes, len(values))]
    return np.where((votes != IGNORE_INDEX) & (said == decided), np.uint8(255), np.uint8(0))


def _objects(
    made: Sequence[Outlines], readers: Sequence[Reader], labels: LabelMap, settings: MergeSettings
) -> list[Annotation]:
    shares = np.stack([outlines.means / 255 for outlines in made])
    objects = []
    for number, (polygon, value) in enumerate(zip(made[0].polygons, made[0].values.tolist(), strict=True)):
        agreed = [reader.name for reader, share in zip(readers, shares[:, number], strict=True) if share > 0.5]
        name = labels.name_of(value)
        color = next((item.color for item in labels.classes if item.value == value), None)
        objects.append(
            Annotation(
                geometry=polygon,
                shape="geometry" if polygon.interiors else "polygon",
                path_class=PathClass.parse(name, color),
                measurements={"Agreement": round(float(shares[:, number].mean()), 4)},
                metadata={CONSENSUS_KEY: settings.rule, READERS_KEY: ", ".join(agreed)},
            )
        )
    return objects
