"""The image server of a project entry: which reader opens which file, as QuPath's serverBuilder JSON says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final

from qpkit.core.pixel_size import PixelSize
from qpkit.errors import FormatError
from qpkit.qupath.project.images.uris import file_path

_MICROMETRES: Final = ("µm", "μm", "um")  # micro sign, Greek mu, plain


@dataclass(frozen=True, slots=True)
class Server:
    """A server builder.

    Args:
        type: QuPath's builderType: "uri", "rotated", "cropped", ...
        provider: The reader's class for type "uri"; None lets QuPath try all.
        uri: As stored; None if there is none at this level.
        args: The reader's arguments, "--series", "0".
        metadata: Size, levels, channels, pixel calibration; empty if the file has none.
        builder: The inner builder of a wrapped one ("rotated" etc.).
        record: The whole JSON object, unknown keys too.
    """

    type: str
    provider: str | None
    uri: str | None
    args: tuple[str, ...]
    metadata: Mapping[str, Any]
    builder: Server | None
    record: Mapping[str, Any]

    @property
    def innermost(self) -> Server:
        """The builder that opens the file."""
        return self if self.builder is None else self.builder.innermost

    def pixel_size(self) -> PixelSize | None:
        """um per px along x and y; None if QuPath does not know both in um."""
        x, y = (_micrometres(self.metadata, key) for key in ("pixelWidth", "pixelHeight"))
        if x is None or y is None:
            return self.builder.pixel_size() if self.builder is not None and not self.metadata else None
        return PixelSize(x, y)

    @property
    def size(self) -> tuple[int, int] | None:
        """(width, height) in px, or None where it is not said."""
        width, height = self.metadata.get("width"), self.metadata.get("height")
        return (width, height) if isinstance(width, int) and isinstance(height, int) else None

    @property
    def path(self) -> PurePath | None:
        """Where the file is said to be; None for an image that is no file.

        Raises:
            FormatError: A URI that is none.
        """
        uri = self.innermost.uri
        return None if uri is None else file_path(uri)

    def mpp(self) -> float | None:
        """Pixel size in um; None if it is not stated in um or differs by more than 1 % between x and y."""
        size = self.pixel_size()
        return None if size is None else size.mean

    def mpp_note(self) -> str:
        """What the user should know about `mpp`: that it is a mean, or that the sides are too unlike for one."""
        size = self.pixel_size()
        if size is None:
            return ""
        if size.mean is None:
            return f"QuPath states {size}, pixels that are not square"
        width, height = (self.metadata.get(key) for key in ("width", "height"))
        return size.mean_note(width, height) if isinstance(width, int) and isinstance(height, int) else ""


def parse_server(record: object, where: str, *, depth: int = 0) -> Server:
    """Read a serverBuilder record.

    Args:
        record: Decoded JSON.
        where: File and entry, for messages.
        depth: How many builders it is inside of.

    Raises:
        FormatError: Not a builder, or nested without end.
    """
    if not isinstance(record, dict) or depth > 20:
        raise FormatError(f"{where}: serverBuilder is not an object with a builderType")
    inner = record.get("builder")
    args, metadata = record.get("args"), record.get("metadata")
    return Server(
        type=_text(record, "builderType", where) or "uri",
        provider=_text(record, "providerClassName", where),
        uri=_text(record, "uri", where),
        args=tuple(str(item) for item in args) if isinstance(args, list) else (),
        metadata=metadata if isinstance(metadata, dict) else {},
        builder=None if inner is None else parse_server(inner, where, depth=depth + 1),
        record=record,
    )


def _text(record: Mapping[str, Any], key: str, where: str) -> str | None:
    value = record.get(key)
    if value is not None and not isinstance(value, str):
        raise FormatError(f"{where}: {key} must be a string, not {value!r}")
    return value


def _micrometres(metadata: Mapping[str, Any], key: str) -> float | None:
    calibration = metadata.get("pixelCalibration")
    size = calibration.get(key) if isinstance(calibration, dict) else None
    if not isinstance(size, dict) or size.get("unit") not in _MICROMETRES:
        return None
    value = size.get("value")
    if not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        return None
    return float(value)
