"""qpkit doctor on the images of a project: where they are now, whether they are the right ones, what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Final

from qpkit.errors import ConfigError, FormatError, ProjectError, QpkitError
from qpkit.qupath import Entry
from qpkit.qupath.project.images.relocation import Relocation, find_by_name, is_of_this_system, own_path
from qpkit.qupath.project.images.uris import file_uri
from qpkit.slides import open_slide
from qpkit.workflows.doctor.findings import EXAMPLES, Finding, SetUri
from qpkit.workflows.inputs.entry_view import is_opened_specially, unknown_arguments, unsupported_view
from qpkit.workflows.inputs.server_arguments import arguments_of

_SAME_MPP: Final = 0.01
_STATE_MPP: Final = "set the pixel size in QuPath (Image tab), or give qpkit --slide-mpp"
_FIND: Final = "put it back, or give --relocate OLD=NEW or --search FOLDER"


@dataclass(frozen=True, slots=True)
class Look:
    """An image file as a reader sees it: size in px, um per px if it says it, why it cannot be opened."""

    size: tuple[int, int] | None
    mpp: float | None
    fault: str = ""


@dataclass(slots=True)
class ImagePlaces:
    """Where images may be, and what was seen there; every file is opened once.

    Args:
        relocations: In the user's order; the first that fits counts.
        found: Files below the --search folders by image name.
    """

    relocations: Sequence[Relocation] = ()
    found: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    _looks: dict[Path, Look] = field(default_factory=dict)

    def look(self, path: Path) -> Look:
        """Open an image."""
        if path not in self._looks:
            try:
                with open_slide(path) as slide:
                    self._looks[path] = Look((slide.info.width, slide.info.height), slide.info.mpp)
            except (QpkitError, OSError) as err:
                self._looks[path] = Look(None, None, str(err))
        return self._looks[path]


def image_places(entries: Sequence[Entry], relocations: Sequence[Relocation], search: Sequence[Path]) -> ImagePlaces:
    """Look for the missing images below the folders.

    Raises:
        ProjectError: A folder is not there.
    """
    missing = {entry.image_name for entry in entries if stored_path(entry) and present_path(entry) is None}
    return ImagePlaces(relocations, find_by_name(search, missing) if search else {})


def stored_path(entry: Entry) -> PurePath | None:
    """Where the project says the image is; None if that is no file or no URI."""
    try:
        return entry.server.path
    except FormatError:
        return None


def present_path(entry: Entry) -> Path | None:
    """Where the image is now, as far as QuPath's own rule finds it."""
    try:
        return entry.image_path()
    except (ProjectError, FormatError):
        return None


def image_findings(entry: Entry, places: ImagePlaces) -> list[Finding]:
    """Examine the image of an entry."""
    stored, reason = stored_path(entry), unsupported_view(entry)
    found = (
        [Finding(kind="image-unsupported", what=f"QuPath {reason}; qpkit export cannot read it yet")] if reason else []
    )
    if strange := unknown_arguments(entry):
        what = f"QuPath opens its image with {strange}, which qpkit does not follow: its pixels are the file's"
        found.append(Finding(kind="image-arguments", what=what))
    if stored is None:
        return found + _elsewhere(entry)
    present = present_path(entry)
    new = next((new for rule in places.relocations if (new := rule.apply(stored)) is not None), None)
    if new is not None and new != stored:
        place, finding = _relocated(entry, present, new, places)
        finding = finding or (_moved(present, stored) if present else None)
    elif present is None:
        place, finding = _missing(entry, places)
    else:
        place, finding = present, _moved(present, stored)
    pixels = _pixels(entry, place, places, unsure=bool(reason)) + _profile(entry, place)
    if finding is not None and any(item.kind == "image-size" for item in pixels):
        finding = replace(finding, fix="", repair=None)  # nothing is written about a wrong image
    return [*found, *([finding] if finding else []), *pixels]


def _elsewhere(entry: Entry) -> list[Finding]:
    uri = entry.server.innermost.uri
    if uri is not None and not uri.startswith(("http:", "https:", "omero:")):
        return []  # a URI that is none is a fault of the record
    what = f"its image is no file ({uri or entry.server.innermost.type}); qpkit export needs one"
    return [Finding(kind="image-elsewhere", what=what, remedy="export the image from QuPath as OME-TIFF")]


def _relocated(
    entry: Entry, present: Path | None, new: PurePath, places: ImagePlaces
) -> tuple[Path | None, Finding | None]:
    """Judge a place that --relocate names."""
    kind = "image-missing" if present is None else "image-relocated"
    uri = entry.server.innermost.uri or ""
    if not is_of_this_system(new):
        fix = f"write {file_uri(new)} (not checked: a place of another system)"
        what = "its image is to be relocated" if present else "its image is not there"
        return present, Finding(kind=kind, what=what, where=uri, fix=fix, repair=SetUri(file_uri(new)))
    path = Path(new)
    if not path.exists():
        remedy = f"not at {path} either; check --relocate"
        return present, None if present else Finding(kind=kind, what="its image is not there", where=uri, remedy=remedy)
    fault = _misfit(entry, places.look(path))
    if fault:
        what = f"--relocate leads to another image: {path} {fault}"
        return present, Finding(kind="image-size", what=what, where=uri, remedy="put the right image there")
    return path, Finding(
        kind=kind,
        what="its image is to be relocated" if present else "its image is not where the project says",
        where=uri,
        fix=f"write {file_uri(new)}",
        repair=SetUri(file_uri(new)),
    )


def _missing(entry: Entry, places: ImagePlaces) -> tuple[Path | None, Finding]:
    """Judge the files of the image's name below the --search folders."""
    uri = entry.server.innermost.uri or ""
    paths = list({path.resolve(): path for path in places.found.get(entry.image_name, ())}.values())
    fitting = [path for path in paths if entry.server.innermost.size and not _misfit(entry, places.look(path))]
    if len(fitting) == 1:
        new = file_uri(own_path(fitting[0]))
        fix = f"write {new} (same name and size)"
        what = "its image is not where the project says"
        return fitting[0], Finding(kind="image-missing", what=what, where=uri, fix=fix, repair=SetUri(new))
    what, remedy = "its image is not there", _FIND
    if fitting:
        what = f"its image is not there; {len(fitting)} files have its name and size: {_listed(fitting)}"
        remedy = "choose one with --relocate, or search in a smaller folder"
    elif paths:
        reasons = [f"{path} {_misfit(entry, places.look(path)) or 'may fit (size unknown)'}" for path in paths]
        what = f"its image is not there; of its name: {'; '.join(reasons[:EXAMPLES])}"
    return None, Finding(kind="image-missing", what=what, where=uri, remedy=remedy)


def _listed(paths: Sequence[Path]) -> str:
    more = f" and {len(paths) - EXAMPLES} more" if len(paths) > EXAMPLES else ""
    return ", ".join(map(str, paths[:EXAMPLES])) + more


def _moved(present: Path, stored: PurePath) -> Finding | None:
    """The image moved along with the project."""
    if own_path(present) == stored:
        return None
    uri = file_uri(own_path(present.absolute()))
    what = "its image moved along with the project: QuPath asks before it opens it, and scripts fail"
    return Finding(kind="image-moved", what=what, where=str(stored), fix=f"write {uri}", repair=SetUri(uri))


def _pixels(entry: Entry, path: Path | None, places: ImagePlaces, *, unsure: bool) -> list[Finding]:
    """Compare the file with what the project says of it; um per px may be in either."""
    look = Look(None, None) if path is None else places.look(path)
    found = []
    if look.fault:
        what = "qpkit cannot open its image"
        found.append(Finding(kind="image-unreadable", what=what, where=look.fault, remedy="see whether QuPath can"))
    elif look.size is not None and not unsure and (fault := _misfit(entry, look)):
        what = f"its image {fault}; objects would not fit"
        found.append(Finding(kind="image-size", what=what, where=str(path), remedy="put the right image there"))
    return found + _mpp(entry, look, known=path is not None and not look.fault)


def _profile(entry: Entry, path: Path | None) -> list[Finding]:
    """See whether the ICC profile is there by which QuPath shows the image."""
    args = arguments_of(entry.server)
    if path is None or not args.colors.icc:
        return []
    try:
        open_slide(path, series=args.series or 0, to_bounds=args.to_bounds, colors=args.colors).close()
    except ConfigError as err:
        return [Finding(kind="image-profile", what=f"QuPath cannot show it by its arguments: {err}")]
    except (QpkitError, OSError):
        return []  # said already
    return []


def _mpp(entry: Entry, look: Look, *, known: bool) -> list[Finding]:
    stated = entry.mpp()
    if stated is None and look.mpp is None:
        file = "nor does the file" if known else "and the file cannot be asked"
        return [Finding(kind="no-mpp", what=f"the project states no um/px, {file}", remedy=_STATE_MPP)]
    if stated is not None and look.mpp is not None and abs(stated / look.mpp - 1) > _SAME_MPP:
        what = f"the project says {stated:.4g} um/px, the file {look.mpp:.4g}; qpkit takes the project's"
        return [Finding(kind="mpp-differs", what=what, remedy="if the project is wrong, set the pixel size in QuPath")]
    return []


def _misfit(entry: Entry, look: Look) -> str:
    """Why a file is not the entry's image, as the end of a sentence; "" if it may be."""
    expected = entry.server.innermost.size  # of the file's own pixels
    if look.fault:
        return "cannot be opened"
    if expected is None or look.size is None or look.size == expected or is_opened_specially(entry):
        return ""
    return f"is {look.size[0]} x {look.size[1]} px, but {expected[0]} x {expected[1]} in QuPath"
