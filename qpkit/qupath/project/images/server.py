"""The image server of a project entry: which reader opens which file, as QuPath's serverBuilder JSON says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final

from qpkit.errors import FormatError
from qpkit.qupath.project.images.uris import file_path

_MICROMETRES: Final = ("µm", "μm", "um")  # micro sign, Greek mu, plain
_SAME: Final = 0.01
_UNLIKE: Final = 1e-3


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
        sizes = [_micrometres(self.metadata, key) for key in ("pixelWidth", "pixelHeight")]
        if sizes[0] is None or sizes[1] is None:
            return self.builder.mpp() if self.builder is not None and not self.metadata else None
        return (sizes[0] + sizes[1]) / 2 if abs(sizes[0] / sizes[1] - 1) <= _SAME else None

    def mpp_note(self) -> str:
        """What the user should know about `mpp`: that it is a mean, or that the sides are too unlike for one."""
        sizes = [_micrometres(self.metadata, key) for key in ("pixelWidth", "pixelHeight")]
        if sizes[0] is None or sizes[1] is None:
            return self.builder.mpp_note() if self.builder is not None and not self.metadata else ""
        both = f"{sizes[0]:.5g} x {sizes[1]:.5g} um"
        if self.mpp() is None:
            return f"QuPath states {both}, pixels that are not square"
        return f"the mean of {both}" if abs(sizes[0] / sizes[1] - 1) > _UNLIKE else ""


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
