"""How QuPath shows the image of an entry, and how qpkit opens it to show the same."""

from __future__ import annotations

from typing import Any, Final

from qpkit.errors import ProjectError, listed
from qpkit.qupath import Entry
from qpkit.qupath.project.images.server import Server
from qpkit.slides import Crop, Flip, SlideSource, Step, Turn

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
    series = _series(entry.server)
    if series is None or (series and not entry.image_name.lower().endswith(_OF_SEVERAL)):
        return f"opens its image with {' '.join(entry.server.innermost.args)}"
    return ""


def unknown_arguments(entry: Entry) -> str:
    """Name the arguments with which QuPath opens an image and that qpkit does not follow; "" if there are none.

    QuPath 0.7 writes --icc-profile, --icc-profile-source and --icc-profile-dest, 0.8 --background-color: they change
    the pixels that it shows.
    """
    args = list(entry.server.innermost.args)
    strange = []
    for number, arg in enumerate(args):
        is_value = number > 0 and args[number - 1].lower() == "--series"
        if arg.startswith("-") and arg.lower() not in ("--series", "--no-crop") and not is_value:
            value = args[number + 1 : number + 2]
            strange.append(" ".join([arg, *(v for v in value if not v.startswith("-"))]))
    return listed(strange) if strange else ""


def is_opened_specially(entry: Entry) -> bool:
    """Whether QuPath opens another image of the file than the first, or more of it than its bounds."""
    return _series(entry.server) != 0 or not _to_bounds(entry.server)


def entry_source(entry: Entry, *, reader: str = "auto") -> SlideSource:
    """Say how to open an entry's image so that it is what QuPath shows.

    Raises:
        ProjectError: The image is not there, or shown in a way that qpkit cannot.
    """
    reason = unsupported_view(entry)
    if reason:
        raise ProjectError(
            f"entry {entry.name!r}: QuPath {reason}, which qpkit does not do yet; leave it out with --entry"
        )
    strange = unknown_arguments(entry)
    steps = [_step(server) for server in _outside_in(entry.server) if server.type != "uri"]
    return SlideSource(
        name=entry.name,
        path=entry.image_path(),
        entry=str(entry.id),
        mpp=entry.mpp(),
        mpp_note=entry.server.mpp_note(),
        note=f"QuPath opens it with {strange}, which qpkit does not follow: its pixels are those of the file"
        if strange
        else "",
        reader=reader,
        series=_series(entry.server) or 0,
        to_bounds=_to_bounds(entry.server),
        # The outermost builder is the last step.
        steps=tuple(step for step in reversed(steps) if step is not None),
    )


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


def _series(server: Server) -> int | None:
    """Number of the image in the file; None if the arguments are not understood."""
    args = [arg.lower() for arg in server.innermost.args]
    if "--series" not in args:
        return 0
    number = args[args.index("--series") + 1 : args.index("--series") + 2]
    return int(number[0]) if number and number[0].isdecimal() else None


def _to_bounds(server: Server) -> bool:
    return "--no-crop" not in [arg.lower() for arg in server.innermost.args]
