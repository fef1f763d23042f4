"""qpkit convert: annotations from one format to another, with a list of what the other cannot hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from qpkit.core.annotation import PathClass
from qpkit.core.labels import LabelMap, default_label_map
from qpkit.errors import ConfigError, OutputError, ProjectError
from qpkit.files import AnyPath, new_folder, pretty_json, require_free, safe_names
from qpkit.formats.format import Format, NothingHeldError
from qpkit.formats.registry import format_of, named
from qpkit.formats.shared.cannot_hold import count_losses
from qpkit.formats.shared.drawing import Choices, Drawing, ImageFacts
from qpkit.formats.shared.label_table import read_instance_classes, read_label_table
from qpkit.progress import OnProgress, Ticker, no_progress
from qpkit.qupath import Project, open_project
from qpkit.version import __version__
from qpkit.workflows.convert.formats import ALL_FORMATS, PROJECT, PROJECT_CANNOT_HOLD
from qpkit.workflows.convert.predictions import is_predictions, prediction_drawings
from qpkit.workflows.convert.project import THERE, add_missing, entry_for, project_drawings, slide_facts
from qpkit.workflows.convert.qupath_shapes import count_float_losses, split
from qpkit.workflows.convert.settings import ConvertSettings
from qpkit.workflows.inputs.paths import is_project
from qpkit.workflows.inputs.slides import entries_where

INFO_NAME: Final = "convert.json"
"""In every folder that convert makes: its files, and what was lost."""


_FOLDER_ENDINGS: Final = tuple(suffix for item in ALL_FORMATS if item.folder for suffix in item.suffixes)

PREDICTIONS: Final = "predictions"
"""What a folder of predictions is called; it is only read."""

NO_FILE: Final = "images without anything that the format can hold: no file made"
"""What is lost, once an image."""

NOT_MADE: Final = "no file"
"""Where such an image's objects went."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertedImage:
    """One image's objects: what it is called, where they went, and how many there were of each class."""

    image: str
    target: str
    objects: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertReport:
    """The result of a conversion.

    Args:
        source_format, target_format: Names of formats; "project" and "predictions" for such folders.
        images: In order.
        losses: What the target cannot hold, and how many objects it concerns.
        notes: What the reader, also that of the labels, mended, left out or could not tell.
    """

    source_format: str
    target_format: str
    images: tuple[ConvertedImage, ...]
    losses: Mapping[str, int] = field(default_factory=dict)
    notes: Mapping[str, int] = field(default_factory=dict)

    def to_builtins(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        images = [{"image": i.image, "target": i.target, "objects": dict(i.objects)} for i in self.images]
        return {
            "from": self.source_format,
            "to": self.target_format,
            "images": images,
            "losses": dict(self.losses),
            "notes": dict(self.notes),
        }


def convert(
    source: AnyPath, target: AnyPath, settings: ConvertSettings, *, on_progress: OnProgress = no_progress
) -> ConvertReport:
    """Convert annotations.

    Args:
        source: A file of any format, a folder of such files (each named like its image), a project, or a folder of
            predictions.
        target: A file; a folder for several images; or a project, to whose entries the objects are added.
        settings: What the user stated.
        on_progress: Called for each image.

    Raises:
        ConfigError: A format or a fact is not known; the message says how to state it.
        FormatError, ProjectError, LabelError: The source cannot be read.
        OutputError: The target is there already, or cannot be written. Nothing is left half-written.
    """
    source, target = Path(source), Path(target)
    if not source.exists():
        raise ProjectError(f"{source}: there is no such file or folder")
    to_project = settings.target_format == PROJECT or (settings.target_format is None and is_project(target))
    several = is_project(source) or is_predictions(source)
    if to_project and is_predictions(source):
        raise ConfigError(f"{source}: predictions come into a project with: qpkit import-predictions {source} {target}")
    output = None if to_project else _format(target, settings.target_format, reading=False)
    if settings.entries and not several and (output is not None or len(settings.entries) > 1):
        raise ConfigError(
            "--entry chooses images of a project or predictions to convert, or the one image of a project to add to"
        )
    if settings.where and not is_project(source):
        raise ConfigError("--where chooses entries of a project to convert by their metadata")
    label_notes: Counter[str] = Counter()
    choices = _choices(settings, label_notes)
    facts = _facts(settings)
    if is_predictions(source):
        drawings, labels = prediction_drawings(source, settings.entries, facts)
        choices, origin = replace(choices, labels=choices.labels or labels), PREDICTIONS
    elif several:
        entries = entries_where(open_project(source).chosen(settings.entries), settings.where)
        if not entries:
            raise ProjectError(f"{source}: the project has no entries; there are none to convert")
        drawings = project_drawings(entries, facts, with_offsets=output is not None and output.needs_centre)
        origin = PROJECT
    else:
        drawings, origin = _read(source, settings, facts, choices)
    tick = Ticker(len(drawings), on_progress)
    notes = sum((Counter(drawing.notes) for drawing in drawings), label_notes)
    if output is None:
        places, losses = _into_project(
            open_project(target), drawings, () if several else settings.entries, source, tick
        )
    else:
        drawings = [_with_name(drawing, source.stem) for drawing in drawings]
        if output.needs_labels and choices.labels is None:
            choices = replace(choices, labels=_labels_of(drawings))
        places, losses = _into_files(target, drawings, output, choices, settings, tick)
    images = [
        ConvertedImage(
            image=drawing.image.name or source.name,
            target=place,
            objects=Counter(o.class_name or "(none)" for o in drawing.objects),
        )
        for drawing, place in zip(drawings, places, strict=True)
    ]
    return ConvertReport(
        source_format=origin,
        target_format=PROJECT if output is None else output.name,
        images=tuple(images),
        losses=losses,
        notes=notes,
    )


def _read(source: Path, settings: ConvertSettings, facts: ImageFacts, choices: Choices) -> tuple[list[Drawing], str]:
    """Read a file, or all files of a folder that are of a known format; gives also what they are."""
    if not source.is_dir() or source.name.lower().endswith(_FOLDER_ENDINGS):
        format_ = _format(source, settings.source_format, reading=True)
        return format_.read(source, facts, choices), format_.name
    endings = tuple(suffix for item in ALL_FORMATS for suffix in item.suffixes)
    there = [path for path in sorted(source.iterdir()) if path.name != INFO_NAME]
    files = [p for p in there if p.name.lower().endswith(endings if p.is_file() else _FOLDER_ENDINGS)]
    if not files:
        raise ProjectError(f"{source}: neither a QuPath project nor files of annotations in this folder")
    drawings: list[Drawing] = []
    origins: dict[str, None] = {}
    for path in files:
        format_ = _format(path, settings.source_format, reading=True)
        origins[format_.name] = None
        drawings += [_with_name(drawing, path.stem) for drawing in format_.read(path, facts, choices)]
    return drawings, " and ".join(origins)


def _format(path: Path, name: str | None, *, reading: bool) -> Format:
    """The format of a name, or, where none is stated, of a file."""
    return format_of(path, ALL_FORMATS, reading=reading) if name is None else named(name, ALL_FORMATS)


def _choices(settings: ConvertSettings, notes: Counter[str]) -> Choices:
    return Choices(
        downsample=settings.downsample,
        offset=settings.offset,
        labels=None if settings.labels is None else read_label_table(settings.labels, notes),
        instances=None if settings.instances is None else read_instance_classes(settings.instances, notes),
        segmentation=settings.segmentation,
    )


def _facts(settings: ConvertSettings) -> ImageFacts:
    width, height = settings.size or (None, None)
    mpp = settings.mpp if settings.mpp_xy is None else settings.mpp_xy.mean
    stated = ImageFacts(width=width, height=height, mpp=mpp, pixel_size=settings.mpp_xy, centre_nm=settings.centre_nm)
    return stated if settings.image is None else stated.filled(slide_facts(settings.image))


def _labels_of(drawings: Sequence[Drawing]) -> LabelMap:
    """One value for each class there is, by name; the same for all images."""
    found = {o.class_name: o.path_class for d in drawings for o in d.objects if o.path_class is not None}
    classes: list[PathClass] = [found[name] for name in sorted(found, key=str)]
    return default_label_map(classes)


def _with_name(drawing: Drawing, stem: str) -> Drawing:
    if drawing.image.name is not None:
        return drawing
    return replace(drawing, image=replace(drawing.image, name=stem))


def _into_project(
    project: Project, drawings: Sequence[Drawing], wanted: Sequence[str], source: Path, tick: Ticker
) -> tuple[list[str], Counter[str]]:
    """Add objects to the entries of a project; all entries are found before the first is written."""
    entries = [entry_for(project, drawing, wanted, source.stem) for drawing in drawings]
    losses: Counter[str] = Counter()
    for entry, drawing in zip(entries, drawings, strict=True):
        objects = split(drawing.objects)
        new = add_missing(entry, objects)
        losses[THERE] += len(objects) - len(new)
        losses += count_losses(drawing.objects if new else (), PROJECT_CANNOT_HOLD) + count_float_losses(new)
        tick(entry.name)
    return [f"{project.path}: {entry.name}" for entry in entries], +losses  # without zeros


def _into_files(
    target: Path,
    drawings: Sequence[Drawing],
    output: Format,
    choices: Choices,
    settings: ConvertSettings,
    tick: Ticker,
) -> tuple[list[str], Counter[str]]:
    is_file = target.name.lower().endswith(output.suffixes)
    if is_file and (output.several or len(drawings) == 1):
        _check_free(target, output, overwrite=settings.overwrite)
        lost = output.write(target, drawings, choices)
        tick(target.name)
        return [str(target)] * len(drawings), lost
    if is_file:
        raise ConfigError(
            f"{target}: the source has {len(drawings)} images, a file of {output.title} one; give a folder"
        )
    require_free(target, marker=INFO_NAME, overwrite=settings.overwrite)
    losses: Counter[str] = Counter()
    with new_folder(target, marker=INFO_NAME, overwrite=settings.overwrite) as folder:
        if output.several and not output.one_in_folders:
            names = [f"annotations{output.suffixes[0]}"] * len(drawings)
            losses += output.write(folder / names[0], drawings, choices)
        else:
            stems = safe_names([drawing.image.name or "image" for drawing in drawings])
            names = [f"{stem}{output.suffixes[0]}" for stem in stems]
            for number, (name, drawing) in enumerate(zip(names, drawings, strict=True)):
                try:
                    losses += output.write(folder / name, [drawing], choices)
                except NothingHeldError as err:
                    losses += err.losses + Counter({NO_FILE: 1})
                    names[number] = ""
                tick(name)
        record = {"qpkit": __version__, "to": output.name, "files": sorted({*names} - {""}), "losses": dict(losses)}
        (folder / INFO_NAME).write_bytes(pretty_json(record))
    return [str(target / name) if name else NOT_MADE for name in names], losses


def _check_free(target: Path, output: Format, *, overwrite: bool) -> None:
    beside = [] if output.beside is None else [output.beside(target)]
    for path in (target, *beside):
        if path.exists() and output.never_replaced is not None:
            kept = output.suffixes[0]
            raise OutputError(f"{path}: is there already, and {kept} is never replaced; {output.never_replaced}")
        if path.exists() and not overwrite:
            raise OutputError(f"{path}: is there already; choose another name or pass --overwrite")
