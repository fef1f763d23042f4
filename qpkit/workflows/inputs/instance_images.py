"""Label images in which each number is one object: read by strips, with the class of each number."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window

from qpkit.errors import FormatError, LabelError, ProjectError, listed
from qpkit.formats.shared.label_table import read_instance_classes
from qpkit.rasters import open_raster

SUFFIXES: Final = (".png", ".tif", ".tiff")

_ALL: Final = -1
_MOST: Final = (1 << 31) - 1
_FEW: Final = 3
"""Names in a message that has to stay one line."""


@dataclass(frozen=True, slots=True)
class NumberClasses:
    """The class of each number of a label image.

    Args:
        source: What the user stated, for messages.
        names: Class by number; -1 is the class of all.
    """

    source: str
    names: Mapping[int, str]

    @property
    def classes(self) -> set[str]:
        """All classes that a number can have."""
        return {name for number, name in self.names.items() if number}

    def values(self, numbers: NDArray[Any], value_of: Mapping[str, int], *, background: int = 0) -> NDArray[np.uint8]:
        """Replace numbers by the label values of their classes, 0 by the background.

        Args:
            numbers: Any shape, whole numbers from 0.
            value_of: Label value of each class.
            background: Of 0.

        Raises:
            LabelError: A number has no class.
        """
        if _ALL in self.names:
            value = np.uint8(value_of[self.names[_ALL]])
            return np.where(numbers > 0, value, np.uint8(background))
        known = np.array(sorted({0, *self.names}), np.int64)
        values = [background if number == 0 else value_of[self.names[number]] for number in known.tolist()]
        places = np.minimum(np.searchsorted(known, numbers), len(known) - 1)
        strange = np.unique(numbers[known[places] != numbers]).tolist()
        if strange:
            raise LabelError(
                f"{self.source}: has no class for {len(strange):,} number(s): {listed(strange, most=_FEW)}"
            )
        return np.asarray(np.array(values, np.uint8)[places])


def number_classes(stated: str) -> Callable[[str], NumberClasses]:
    """Read what --instances says: a class, a table of numbers and classes, or a folder of such tables.

    Args:
        stated: As the user wrote it.

    Returns:
        Gives the classes of an image by its name (see `image_name`); the table in a folder is called NAME.csv, and is
        read when it is asked for.

    Raises:
        LabelError: There is no such table, or it cannot be read; also when the classes are asked for.
    """
    if Path(stated).is_dir():
        return lambda name: _classes_in(f"{Path(stated) / name}.csv")
    classes = _classes_in(stated)
    return lambda name: classes


def _classes_in(stated: str) -> NumberClasses:
    return NumberClasses(stated, read_instance_classes(stated))


def image_name(path: Path, folder: Path) -> str:
    """What an image of a folder is called: its path in it, without the ending."""
    inside = path.relative_to(folder) if path.is_relative_to(folder) else Path(path.name)
    return inside.with_suffix("").as_posix()


def images_in(folder: Path) -> dict[str, Path]:
    """The label images in a folder and those below, by their names (see `image_name`).

    Raises:
        FormatError: There are none, or two differ in their endings only.
    """
    found: dict[str, Path] = {}
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES) if folder.is_dir() else []:
        name = image_name(path, folder)
        if name in found:
            raise FormatError(f"{folder}: {found[name].name} and {path.name} have one name; keep one of them")
        found[name] = path
    if not found:
        raise FormatError(f"{folder}: no label images (PNG or TIFF) there")
    return found


def image_pairs(predicted: Path, truth: Path) -> dict[str, tuple[Path, Path]]:
    """Pair the label images of two folders by their names: (predicted, true) by name.

    Raises:
        FormatError: A folder has none, or differently large ones.
        ProjectError: An image has no partner.
    """
    ours, theirs = images_in(predicted), images_in(truth)
    _refuse_lonely(sorted(ours.keys() - theirs.keys()), truth)
    _refuse_lonely(sorted(theirs.keys() - ours.keys()), predicted)
    pairs = {name: (path, theirs[name]) for name, path in ours.items()}
    for name, (path, partner) in pairs.items():
        (width, height), (true_width, true_height) = image_size(path), image_size(partner)
        if (width, height) != (true_width, true_height):
            raise FormatError(f"{name}: predicted are {width} x {height} px, true {true_width} x {true_height}")
    return pairs


def _refuse_lonely(names: Collection[str], folder: Path) -> None:
    if names:
        raise ProjectError(f"{folder}: no label image for {len(names)} of the others: {listed(names, most=_FEW)}")


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of a label image.

    Raises:
        FormatError: It cannot be read.
    """
    with _opened(path) as image:
        return image.width, image.height


def number_strips(path: Path, *, rows: int) -> Iterator[NDArray[Any]]:
    """Read a label image strip by strip from the top: (h, w) whole numbers, 0 .. 2^31 - 1, with at most `rows` rows.

    Raises:
        FormatError: It cannot be read, or its values are no numbers of objects.
    """
    with _opened(path) as image:
        kind = np.dtype(image.dtypes[0])
        if image.count != 1 or not np.issubdtype(kind, np.integer):
            raise FormatError(
                f"{path}: {image.count} x {kind} a pixel; numbers of objects are one whole number a pixel"
            )
        for y in range(0, image.height, rows):
            try:
                strip = image.read(1, window=Window(0, y, image.width, min(rows, image.height - y)))
            except RasterioError as err:
                raise FormatError(f"{path}: label image cannot be read ({err})") from err
            low, high = int(strip.min()), int(strip.max())
            if low < 0 or high > _MOST:
                raise FormatError(f"{path}: holds {low if low < 0 else high}; numbers of objects are 0 to 2^31 - 1")
            yield strip


def number_picture(path: Path, *, max_px: int) -> NDArray[Any]:
    """Read a label image so small that no side has more than `max_px`, nearest pixel: (h, w) numbers."""
    with _opened(path) as image:
        scale = max(1.0, max(image.width, image.height) / max_px)
        return np.asarray(
            image.read(1, out_shape=(max(1, int(image.height / scale)), max(1, int(image.width / scale))))
        )


def _opened(path: Path) -> Any:
    """The opened raster, as a context manager."""
    try:
        return open_raster(path)
    except RasterioError as err:
        raise FormatError(f"{path}: label image cannot be read ({err})") from err
