"""OME-Zarr: a folder with an image in levels (multiscales 0.4 and 0.5). zarr, which reads it, is imported here only."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qpkit.core.annotation import DEFAULT_PLANE, Plane
from qpkit.core.tiles import SlideInfo
from qpkit.errors import FormatError
from qpkit.extras import extra
from qpkit.slides.base import NotRgbError, require_plane
from qpkit.slides.pixel_size import UM_PER_UNIT, nominal_downsamples, with_pixel_size

_AXES: Final = frozenset("tczyx")
_SEVERAL: Final = "bioformats2raw.layout"


@dataclass(frozen=True, slots=True)
class _Axes:
    """Names of the dimensions in the arrays' order, "tczyx" or a part of it, and the unit of y and x."""

    names: str
    unit: str | None


class ZarrReader:
    """Reads an 8-bit image of one channel (grey) or three (RGB) from an OME-Zarr folder.

    Raises:
        FormatError: No OME-Zarr image, or its pixels are not 8-bit RGB or grey.
        MissingExtraError: zarr is not installed.
    """

    name: Final = "zarr"

    def __init__(self, path: Path, *, series: int = 0) -> None:
        self._path = path
        group = _open_group(path)
        if _SEVERAL in _attributes(group):
            group, series = self._of_several(group, series), 0
        image = self._image(_attributes(group), series)
        self._axes = self._read_axes(image)
        datasets = image.get("datasets")
        if not isinstance(datasets, list) or not datasets:
            raise FormatError(f"{path}: an OME-Zarr image without levels (datasets)")
        self._levels = [self._array(group, entry) for entry in datasets]
        self._check()
        sizes = [self.level_size(level) for level in range(len(self._levels))]
        first = self._levels[0]
        info = SlideInfo(
            width=sizes[0][0],
            height=sizes[0][1],
            downsamples=nominal_downsamples(sizes),
            size_z=self._size(first, "z"),
            size_t=self._size(first, "t"),
        )
        self.info = with_pixel_size(info, *self._pixel_size(image, datasets[0]))

    def _of_several(self, group: Any, series: int) -> Any:
        """One image of a folder as bioformats2raw writes it: a group per image, called 0, 1, ..."""
        try:
            return group[str(series)]
        except (KeyError, ValueError) as err:
            raise FormatError(f"{self._path}: there is no image {series} in it") from err

    def _image(self, attributes: Mapping[str, Any], series: int) -> Mapping[str, Any]:
        images = attributes.get("multiscales")
        if not isinstance(images, list) or not images:
            raise FormatError(f"{self._path}: a Zarr folder without OME multiscales; give the folder of the image")
        if not 0 <= series < len(images):
            raise FormatError(f"{self._path}: there is no image {series} in it, only {len(images)} from 0")
        image: Mapping[str, Any] = images[series]
        return image

    def _read_axes(self, image: Mapping[str, Any]) -> _Axes:
        # OME-NGFF 0.3 lists bare names; before it, arrays always had these five dimensions.
        axes = [a if isinstance(a, dict) else {"name": a} for a in image.get("axes", "tczyx")]
        names = "".join(str(axis.get("name")) for axis in axes)
        if not set(names) <= _AXES or len(set(names)) != len(names) or not names.endswith("yx"):
            raise FormatError(f"{self._path}: axes {names!r} are not those of a picture (t, c, z, y, x)")
        return _Axes(names, axes[-1].get("unit"))

    def _array(self, group: Any, entry: Mapping[str, Any]) -> Any:
        try:
            array = group[str(entry["path"])]
        except (KeyError, TypeError, ValueError) as err:
            raise FormatError(f"{self._path}: the level {entry!r} is not there ({err})") from err
        if len(array.shape) != len(self._axes.names):
            raise FormatError(f"{self._path}: a level has {len(array.shape)} dimensions, its axes {self._axes.names!r}")
        return array

    def _check(self) -> None:
        channels, dtype = self._size(self._levels[0], "c"), self._levels[0].dtype
        if dtype != np.uint8 or channels not in (1, 3):
            kind = f"{channels} channel{'s' * (channels != 1)} of {dtype}"
            raise NotRgbError(f"{self._path}: {kind} cannot be shown as 8-bit RGB or grey; convert it to RGB first")

    def _size(self, array: Any, axis: str) -> int:
        return int(array.shape[self._axes.names.index(axis)]) if axis in self._axes.names else 1

    def _pixel_size(self, image: Mapping[str, Any], level: Mapping[str, Any]) -> tuple[float | None, float | None]:
        """(x, y) um per px: the scales of the largest level and of the image, in the unit of its axes."""
        per_unit = UM_PER_UNIT.get(str(self._axes.unit))
        scale = np.ones(len(self._axes.names))
        found = False
        for step in itertools.chain(_transformations(level), _transformations(image)):
            if step.get("type") == "scale" and len(step.get("scale", ())) == len(scale):
                scale, found = scale * np.asarray(step["scale"], float), True
        if per_unit is None or not found:
            return None, None
        return float(scale[-1]) * per_unit, float(scale[-2]) * per_unit

    def level_size(self, level: int) -> tuple[int, int]:
        """(width, height) of a level in its own px."""
        height, width = self._levels[level].shape[-2:]
        return int(width), int(height)

    def read_level(
        self, level: int, *, x: int, y: int, width: int, height: int, plane: Plane = DEFAULT_PLANE
    ) -> NDArray[np.uint8]:
        """Read a rectangle of one level. Returns (height, width, 3) uint8."""
        require_plane(plane, self.info, str(self._path))
        at = {"t": plane.t, "z": plane.z, "c": slice(None), "y": slice(y, y + height), "x": slice(x, x + width)}
        try:
            pixels = np.asarray(self._levels[level][tuple(at[axis] for axis in self._axes.names)])
        except (ValueError, RuntimeError, OSError, KeyError) as err:
            raise FormatError(f"{self._path}: pixels of level {level} cannot be read ({err})") from err
        channels = pixels if pixels.ndim == 3 else pixels[np.newaxis]
        return np.ascontiguousarray(np.broadcast_to(np.moveaxis(channels, 0, -1), (height, width, 3)))

    def icc_profile(self) -> None:
        """OME-Zarr has no place for one."""

    def close(self) -> None:
        """Nothing is kept open."""


def _open_group(path: Path) -> Any:
    with extra("zarr", why=f"{path} is OME-Zarr"):
        import zarr
    try:
        return zarr.open_group(path, mode="r")
    except (ValueError, KeyError, OSError, TypeError) as err:
        raise FormatError(f"{path}: not a Zarr group ({err})") from err


def _attributes(group: Any) -> Mapping[str, Any]:
    """The attributes that hold multiscales: under "ome" since 0.5."""
    attributes: Mapping[str, Any] = dict(group.attrs)
    inner = attributes.get("ome")
    return inner if isinstance(inner, dict) else attributes


def _transformations(record: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    steps = record.get("coordinateTransformations", ())
    return [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else ()
