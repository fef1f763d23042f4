"""What the user points at - a project, slides, a slide with a GeoJSON file - as slides with their objects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from qpkit.core.annotation import Annotation, PathClass
from qpkit.core.tiles import SlideInfo
from qpkit.errors import ConfigError, FormatError, ProjectError, listed, or_else
from qpkit.files import AnyPath, path_of, paths_of, quick_hash, sha256
from qpkit.qupath import Entry, open_project, read_geojson
from qpkit.slides import AS_IN_FILE, SlideSource, open_source
from qpkit.slides.tiff_levels import pages_of_one_size
from qpkit.workflows.inputs.entry_view import entry_source, with_icc
from qpkit.workflows.inputs.paths import fits_pattern, is_project, projects_or_slides
from qpkit.workflows.inputs.settings import ALL_SLIDES, SlideSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideInput:
    """One slide and where its objects come from.

    Args:
        source: Name, file and um per px (not None once `resolve_mpp` was called).
        info: The slide as numbers, with the same um per px.
        entry: Its entry in a QuPath project, or None.
        annotation_file: A GeoJSON file, or None.
        metadata: The entry's metadata.
        drawn: Gives the objects where they come from neither, such as from a mask.
    """

    source: SlideSource
    info: SlideInfo
    entry: Entry | None = None
    annotation_file: Path | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    drawn: Callable[[], list[Annotation]] | None = None

    def objects(self) -> list[Annotation]:
        """Read the slide's objects; every call reads them anew."""
        if self.drawn is not None:
            return self.drawn()
        if self.entry is not None:
            return self.entry.objects() if self.entry.has_data else []
        return [] if self.annotation_file is None else read_geojson(self.annotation_file)

    @property
    def origin(self) -> Path | None:
        """The project or the GeoJSON file that its objects come from, absolute; None of a slide alone."""
        file = self.annotation_file if self.entry is None else self.entry.files.project
        return None if file is None else file.resolve()

    def hashes(self) -> dict[str, str]:
        """Tell the inputs apart: sha256 of the objects' file, a quick hash (size, both ends) of the slide's."""
        found = {"slide": self.source.path.name, "slide_quick_hash": quick_hash(self.source.path)}
        shown = [*map(str, self.source.steps)]
        shown += [f"series:{self.source.series}"] if self.source.series else []
        shown += [] if self.source.to_bounds else ["whole canvas"]
        found |= {"reader": self.source.reader} | ({"view": " ".join(shown)} if shown else {})
        if (colors := self.source.colors) != AS_IN_FILE:
            found |= {"colors": str(colors)} | {f"sha256 of {name}": sha256(name) for name in colors.files}
        file = self.annotation_file
        if self.entry is not None and self.entry.has_data:
            file = self.entry.files.data
        return found if file is None else found | {"annotations_sha256": sha256(file)}


def slide_inputs(
    paths: AnyPath | Sequence[AnyPath],
    settings: SlideSettings = ALL_SLIDES,
    *,
    annotations: AnyPath | None = None,
    broken: dict[str, str] | None = None,
) -> list[SlideInput]:
    """List the slides behind projects and slide files; each is opened once to see that it can be.

    Args:
        paths: QuPath projects and slide files, in any mix, and folders of either.
        settings: Which of them, and how they are read.
        annotations: GeoJSON with the objects of the one slide in `paths`.
        broken: Takes up slides whose file cannot be read (name to reason), which then are left out; None raises.

    Raises:
        ProjectError: An image is missing, an entry does not exist, none is what `where` asks for, or nothing is left.
        FormatError: A file cannot be read (with `broken`: none can).
        ConfigError: A slide has no ICC profile by which it is to be shown.
    """
    paths = paths_of(paths)
    places = projects_or_slides(paths)
    if settings.chooses_entries and not any(map(is_project, places)):
        raise ConfigError("--entry and --where go with a QuPath project; there is none")
    if annotations is not None and (len(places) != 1 or is_project(places[0])):
        raise ConfigError(f"--annotations {annotations}: goes with exactly one slide file")
    inputs: list[SlideInput] = []
    failed: dict[str, str] = {}
    for path in places:
        sources: list[Entry | Path] = [path]
        if is_project(path):
            sources = [*entries_where(open_project(path).chosen(settings.entries), settings.where)]
        for source in sources:
            try:
                inputs.append(_input(source, settings, path_of(annotations)))
            except _UnreadableError as err:
                if broken is None:
                    raise
                failed[source.name] = str(err)
    if failed and not inputs:
        first = next(iter(failed.values()))
        raise FormatError(f"no slide can be read ({listed(failed)}); the first: {first}" if len(failed) > 1 else first)
    if broken is not None:
        broken.update(failed)
    if not places:
        raise ProjectError("no project and no slide was given")
    if not inputs:
        raise ProjectError(f"{listed(map(str, paths))}: no images in it; add images in QuPath first")
    return _unique_names([_with_mpp(item, settings.slide_mpp) for item in inputs])


def entries_where(entries: Sequence[Entry], where: Mapping[str, str]) -> list[Entry]:
    """List the entries whose metadata have these values; * and ? in a value stand for any text.

    Raises:
        ProjectError: None has.
    """
    found = [
        entry for entry in entries if all(fits_pattern(entry.metadata.get(key), value) for key, value in where.items())
    ]
    if entries and not found:
        for key, value in where.items():
            there = {entry.metadata[key] for entry in entries if key in entry.metadata}
            if not there:
                keys = sorted({key for entry in entries for key in entry.metadata})
                raise ProjectError(f"--where {key}={value}: no entry has such metadata, {or_else(key, keys)}")
            if not any(fits_pattern(text, value) for text in there):
                raise ProjectError(f"--where {key}={value}: no entry has this value, {or_else(value, sorted(there))}")
        raise ProjectError(f"--where {listed(f'{k}={v}' for k, v in where.items())}: no entry has all of it")
    return found


def project_classes(paths: Sequence[Path]) -> list[PathClass]:
    """Classes of the projects' class lists, in their order, without repetition."""
    places = projects_or_slides(paths)
    classes = [c for path in places if is_project(path) for c in open_project(path).classes]
    # Turned round twice: of several classes of one name the first one stays, in its place.
    return list({str(c): c for c in reversed(classes)}.values())[::-1]


class _UnreadableError(FormatError):
    """The file of a slide is damaged, or nothing here can read it."""


def _input(source: Entry | Path, settings: SlideSettings, annotations: Path | None) -> SlideInput:
    """Open an entry, or a file with its annotations."""
    if isinstance(source, Entry):
        return _entry_input(source, settings)
    try:
        colors = with_icc(AS_IN_FILE, settings.icc)
        shown = SlideSource(name=source.name, path=source, reader=settings.reader, colors=colors)
        return _with_note_on_pages(_open(shown, annotation_file=annotations))
    except FormatError as err:
        raise _UnreadableError(str(err)) from err


def _with_note_on_pages(item: SlideInput) -> SlideInput:
    """Say that a file has more pages than the one that is read."""
    if item.info.size_z * item.info.size_t > 1 or not item.source.path.is_file():
        return item
    pages = pages_of_one_size(item.source.path)
    note = f"has {pages} pages of one size, of which the first is read" if pages > 1 else ""
    return replace(item, source=replace(item.source, note=note))


def _entry_input(entry: Entry, settings: SlideSettings) -> SlideInput:
    source = entry_source(entry, reader=settings.reader, icc=settings.icc)
    try:
        found = replace(_open(source), entry=entry, metadata=entry.metadata)
    except FormatError as err:
        raise _UnreadableError(f"entry {entry.name!r}: {err}") from err
    size = (found.info.width, found.info.height)
    if entry.image_size not in (None, size):
        width, height = entry.image_size or size
        raise FormatError(
            f"entry {entry.name!r}: {source.path} is {size[0]} x {size[1]} px here, but {width} x {height} in QuPath: "
            "annotations would not fit; put the right image there, or leave it out with --entry"
        )
    return found


def _open(source: SlideSource, *, annotation_file: Path | None = None) -> SlideInput:
    with open_source(source) as slide:
        return SlideInput(source=source, info=slide.info, annotation_file=annotation_file)


def _with_mpp(item: SlideInput, slide_mpp: float | None) -> SlideInput:
    if item.info.mpp is not None:
        return replace(item, source=replace(item.source, mpp=item.info.mpp))
    if slide_mpp is None:
        return item
    source = replace(item.source, mpp=slide_mpp, mpp_note="")
    return replace(item, source=source, info=replace(item.info, mpp=slide_mpp, mpp_note=""))


def require_mpp(inputs: Sequence[SlideInput]) -> None:
    """Raise unless every slide has its um per px.

    Raises:
        FormatError: Names every slide without, and how to state it.
    """
    without = [f"{i.source.name} ({i.info.mpp_note or 'not stated'})" for i in inputs if i.info.mpp is None]
    if without:
        raise FormatError(
            f"no um/px known for {listed(without, joint='; ')}; state it with --slide-mpp, "
            "set the pixel size in QuPath, or export at a --downsample"
        )


def _unique_names(inputs: list[SlideInput]) -> list[SlideInput]:
    """Entries of one name get their id added, so that files and tables tell them apart."""
    counts = Counter(i.source.name for i in inputs)
    used = {name for name, count in counts.items() if count == 1}
    result = []
    for position, item in enumerate(inputs, start=1):
        name = plain = item.source.name
        if counts[plain] > 1:
            name = f"{plain} ({item.source.entry or position})"
            while name in used:
                name += f" #{position}"
            used.add(name)
        result.append(replace(item, source=replace(item.source, name=name)))
    return result
