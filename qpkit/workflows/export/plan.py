"""What an export will do, worked out before the first tile: which slides, which label map, which grids."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from qpkit.core.annotation import Annotation, PathClass
from qpkit.core.geometry import has_area
from qpkit.core.labels import LabelMap, default_label_map, label_map_to_builtins, with_colors
from qpkit.core.tiles import SlideInfo, TileGrid, downsample_for
from qpkit.dataset.stores.nnunet import consecutive_labels
from qpkit.errors import ConfigError, LabelError, ProjectError, listed
from qpkit.files import safe_names
from qpkit.slides.base import require_plane
from qpkit.workflows.export.jobs import SlideJob
from qpkit.workflows.export.reviewed import ledger_hashes, reviewed_labels
from qpkit.workflows.export.settings import ExportSettings
from qpkit.workflows.export.slide import objects_of
from qpkit.workflows.inputs.label_maps import require_known_classes
from qpkit.workflows.inputs.slides import SlideInput, require_mpp
from qpkit.workflows.inputs.tissue_rule import mask_file
from qpkit.workflows.inputs.versions import versions


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportPlan:
    """Everything that decides what an export writes.

    Args:
        jobs: One per slide, in the order of the table.
        skipped: Names of slides without a single annotation.
        labels: The label map.
        settings: What was asked for.
        job: Hash of all this, of the inputs and of the versions: two plans of one hash write the same.
    """

    jobs: tuple[SlideJob, ...]
    skipped: tuple[str, ...]
    labels: LabelMap
    settings: ExportSettings
    job: str


def plan_export(inputs: Sequence[SlideInput], settings: ExportSettings, classes: Sequence[PathClass]) -> ExportPlan:
    """Look at all slides and settle what is to be done, so that what cannot work is said before the work.

    Args:
        inputs: Slides with their objects.
        settings: What to export.
        classes: The project's class list: order and colours of the default label map.

    Raises:
        ProjectError: No slide has an annotation.
        FormatError: A slide has no um per px, or not the plane.
        ConfigError: Metadata for the split, a tissue mask or the tissue class is missing.
        LabelError, GeometryError: The objects and the label map do not fit.
    """
    if settings.downsample is None:
        require_mpp(inputs)
    used, skipped, in_use = _survey(inputs, settings)
    _check_sources(used, settings)
    if settings.labels is not None:
        there = {item.class_name for one in used for item in one.objects() if item.class_name}
        require_known_classes(settings.labels, there | {str(item) for item in classes})
    labels = _label_map(in_use, settings, classes)
    _require_drawn(labels, in_use)
    _check_um(labels, used)
    # The coarsest slide decides: finer tiles would have to enlarge it.
    mpp = settings.mpp or (None if settings.downsample else max(i.info.mpp or 0 for i in used))
    grids = [_grid(item.info, mpp, settings) for item in used]
    stems = safe_names([item.source.name for item in used])
    jobs = [SlideJob(i, g, labels, settings, stem) for i, g, stem in zip(used, grids, stems, strict=True)]
    return ExportPlan(jobs=tuple(jobs), skipped=tuple(skipped), labels=labels, settings=settings, job=_job_hash(jobs))


def _job_hash(jobs: Sequence[SlideJob]) -> str:
    """Tell exports apart: everything that decides what is written."""
    facts = [
        {
            "inputs": {**job.item.hashes(), "name": job.item.source.name, "metadata": dict(job.item.metadata)},
            "mpp": job.item.info.mpp,
            "grid": repr(job.grid),
            "labels": label_map_to_builtins(job.labels),
            "settings": job.settings.to_builtins(),
            "stem": job.stem,
            **({"ledgers": ledger_hashes(job.item)} if job.settings.reviewed else {}),
        }
        for job in jobs
    ]
    return hashlib.sha256(msgspec.json.encode([facts, versions()], order="deterministic")).hexdigest()


def _survey(
    inputs: Sequence[SlideInput], settings: ExportSettings
) -> tuple[list[SlideInput], list[str], dict[str, PathClass]]:
    """Slides with annotations, names of those without (what nobody annotated is not a negative), classes in use."""
    used, skipped, in_use = [], [], dict[str, PathClass]()
    for item in inputs:
        annotations = objects_of(item, settings).draw
        in_use |= {str(a.path_class): a.path_class for a in annotations if a.path_class and _is_drawn(a, settings)}
        if annotations:
            used.append(item)
        else:
            skipped.append(item.source.name)
    if not used:
        how = "draw Reviewed* where predictions were looked at" if settings.reviewed else "pass --annotations"
        raise ProjectError(f"none of {len(inputs)} slides has an annotation; annotate in QuPath and save, or {how}")
    return used, skipped, in_use


def _is_drawn(item: Annotation, settings: ExportSettings) -> bool:
    """Whether an object has pixels: an area, or a line or point that the label map gives one."""
    labels = settings.labels
    return has_area(item.geometry) or bool(labels and (labels.line_width_um or labels.point_radius_um))


def _check_um(labels: LabelMap, inputs: Sequence[SlideInput]) -> None:
    """Raise LabelError if the label map states um and some slide has none."""
    without = [item.source.name for item in inputs if item.info.mpp is None]
    if labels.um_settings and without:
        raise LabelError(
            f"the label map states um ({listed(labels.um_settings)}), but no um/px is known for "
            f"{listed(without)}; state it with --slide-mpp or set the pixel size in QuPath"
        )


def _check_sources(inputs: Sequence[SlideInput], settings: ExportSettings) -> None:
    """Find out before the work whether every slide has the metadata and the tissue mask that it needs."""
    for item in inputs:
        # These calls are made for their errors.
        require_plane(settings.plane, item.info, item.source.name)
        settings.split.group_of(item.source.name, item.metadata)
        settings.split.named_split(item.source.name, item.metadata)
        if settings.tissue.by == "mask":
            mask_file(settings.tissue, item.source.name)
    if settings.tissue.by == "class":
        there = {item.class_name for one in inputs for item in one.objects() if item.class_name}
        if settings.tissue.source not in there:
            names = listed(map(repr, sorted(there)))
            raise ConfigError(f"--tissue {settings.tissue}: no object of any slide is of that class; there are {names}")


def _label_map(in_use: Mapping[str, PathClass], settings: ExportSettings, classes: Sequence[PathClass]) -> LabelMap:
    known = {str(c) for c in classes}
    every = [*classes, *(c for name, c in in_use.items() if name not in known)]
    drawn = [c for c in every if settings.tissue.by != "class" or str(c) != settings.tissue.source]
    labels = with_colors(settings.labels, every) if settings.labels else default_label_map(drawn)
    if settings.store == "nnunet":
        labels = consecutive_labels(labels)
    labels = replace(labels, unannotated=settings.unannotated) if settings.unannotated else labels
    return reviewed_labels(labels) if settings.reviewed else labels


def _require_drawn(labels: LabelMap, in_use: Mapping[str, PathClass]) -> None:
    """Raise if not one annotation would be drawn: masks of nothing but background teach the wrong thing."""
    if labels.class_of(None) is None and not any(labels.knows(name) for name in in_use):
        there = listed(map(repr, sorted(in_use)))
        wanted = listed(repr(source) for item in labels.order for source in item.sources)
        raise LabelError(
            f"no annotation with an area has a class that the label map draws (classes of the annotations: {there}; "
            f"of the label map: {wanted}); classify them in QuPath or name their classes in --labels"
        )


def _grid(info: SlideInfo, mpp: float | None, settings: ExportSettings) -> TileGrid:
    if settings.downsample is not None:
        downsample = settings.downsample
    else:
        downsample = downsample_for(mpp or math.nan, info.mpp or math.nan)
    return TileGrid(
        slide_width=info.width,
        slide_height=info.height,
        tile_size=settings.tile_size,
        overlap=settings.overlap,
        downsample=downsample,
        plane=settings.plane,
    )
