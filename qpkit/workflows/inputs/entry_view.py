"""How QuPath shows the image of an entry, and how qpkit opens it to show the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from qpkit.errors import ProjectError, listed
from qpkit.qupath import Entry
from qpkit.qupath.project.images.server import Server
from qpkit.slides import EMBEDDED, Colors, Crop, Flip, SlideSource, Step, Turn
from qpkit.workflows.inputs.server_arguments import ServerArguments, arguments_of
from qpkit.workflows.inputs.settings import NO_PROFILE

_QUARTERS: Final = {"ROTATE_NONE": 0, "ROTATE_90": 1, "ROTATE_180": 2, "ROTATE_270": 3}
_FLIPS: Final = {"NONE": (False, False), "HORIZONTAL": (True, False), "VERTICAL": (False, True), "BOTH": (True, True)}
_OF_SEVERAL: Final = (".ome.tif", ".ome.tiff", ".zarr")
"""Files whose images qpkit and Bio-Formats number alike."""


def unsupported_view(entry: Entry) -> str:
    """Say how QuPath shows an image in a way that qpkit cannot.

    Returns:
        The end of a sentence that begins with "QuPath"; "" if qpkit shows the same pixels.
    """
    for server in _outside_in(entry.server):
        if server.type != "uri" and _step(server) is None:
            return f"shows its image {server.type}"
    args = arguments_of(entry.server)
    is_other_image = args.series != 0 and not entry.image_name.lower().endswith(_OF_SEVERAL)
    if args.refused or args.series is None or is_other_image:
        return f"opens its image with {listed(args.refused) if args.refused else ' '.join(entry.server.innermost.args)}"
    return ""


def unknown_arguments(entry: Entry) -> str:
    """Name the arguments with which QuPath opens an image and that qpkit does not follow; "" if there are none."""
    args = arguments_of(entry.server)
    return listed(args.unknown) if args.unknown else ""


def is_opened_specially(entry: Entry) -> bool:
    """Whether QuPath opens another image of the file than the first, or more of it than its bounds."""
    args = arguments_of(entry.server)
    return args.series != 0 or not args.to_bounds


def entry_source(entry: Entry, *, reader: str = "auto", icc: str | None = None) -> SlideSource:
    """Say how to open an entry's image so that it is what QuPath shows.

    Args:
        entry: Of a project.
        reader: "auto", or the one reader to use.
        icc: Other colours than the project says, as `with_icc` takes them.

    Raises:
        ProjectError: The image is not there, or shown in a way that qpkit cannot.
    """
    reason = unsupported_view(entry)
    if reason:
        raise ProjectError(
            f"entry {entry.name!r}: QuPath {reason}, which qpkit does not do yet; leave it out with --entry"
        )
    args = arguments_of(entry.server)
    steps = [_step(server) for server in _outside_in(entry.server) if server.type != "uri"]
    return SlideSource(
        name=entry.name,
        path=entry.image_path(),
        entry=str(entry.id),
        mpp=entry.mpp(),
        mpp_note=entry.server.mpp_note(),
        note=_note(args, with_icc(args.colors, icc)),
        reader=reader,
        series=args.series or 0,
        to_bounds=args.to_bounds,
        # The outermost builder is the last step.
        steps=tuple(step for step in reversed(steps) if step is not None),
        colors=with_icc(args.colors, icc),
    )


def with_icc(colors: Colors, icc: str | None) -> Colors:
    """Change what --icc says: "none", "embedded", or the path of a profile; None changes nothing."""
    if icc is None:
        return colors
    named = "" if icc == NO_PROFILE else icc if icc == EMBEDDED else str(Path(icc).resolve())
    return replace(colors, icc=named, target="")


def _note(args: ServerArguments, colors: Colors) -> str:
    """What the user has to know of the arguments of an image."""
    notes = []
    if args.unknown:
        strange = listed(args.unknown)
        notes.append(f"QuPath opens it with {strange}, which qpkit does not follow: its pixels are those of the file")
    if args.passed_over:
        notes.append(f"QuPath passes over {listed(args.passed_over)} here, and so does qpkit")
    if args.colors.icc and colors != args.colors:
        notes.append(f"QuPath shows it {args.colors}, --icc reads it {colors}")
    return "; ".join(notes)


def _outside_in(server: Server) -> list[Server]:
    return [server] if server.builder is None else [server, *_outside_in(server.builder)]


def _step(server: Server) -> Step | None:
    """What a wrapping server does to the pixels; None if qpkit does not know it."""
    record = server.record
    if server.builder is None:
        return None
    if server.type == "rotated" and record.get("rotation") in _QUARTERS:
        return Turn(_QUARTERS[str(record["rotation"])])
    if server.type == "flipped" and record.get("flip") in _FLIPS:
        return Flip(*_FLIPS[str(record["flip"])])
    if server.type == "cropped":
        return _crop(record.get("region"))
    return None


def _crop(region: Any) -> Crop | None:
    record = region if isinstance(region, dict) else {}
    numbers = [n for key in ("x", "y", "width", "height") if isinstance(n := record.get(key), int)]
    return Crop(*numbers) if len(numbers) == 4 else None
