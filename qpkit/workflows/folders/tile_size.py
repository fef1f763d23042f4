"""How large tiles of images of any size are, and how much of them lies beside the images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from qpkit.errors import ConfigError
from qpkit.workflows.folders.pictures import Picture

_DEFAULT_PX: Final = 512
_MULTIPLE: Final = 32
_MUCH: Final = 0.25


def padded_fraction(sizes: Sequence[tuple[int, int]], tile_size: int, overlap: int = 0) -> float:
    """Fraction of the tiles' px that lies beside the images, of images of (width, height) px."""
    stride = tile_size - overlap
    tiles = sum(_steps(w, tile_size, stride) * _steps(h, tile_size, stride) for w, h in sizes)
    inside = sum(_seen(w, tile_size, stride) * _seen(h, tile_size, stride) for w, h in sizes)
    return 1 - inside / (tiles * tile_size**2)


def _steps(length: int, size: int, stride: int) -> int:
    return max(1, -(-(length - (size - stride)) // stride))


def _seen(length: int, size: int, stride: int) -> int:
    """px of an axis that tiles show, those that overlap counted in each."""
    return sum(min(size, length - at * stride) for at in range(_steps(length, size, stride)))


def tile_size_for(pictures: Sequence[Picture], stated: int | None, overlap: int) -> tuple[int, list[str]]:
    """The stated tile size; else 512 px, or what holds the largest image if that is less, in multiples of 32.

    Raises:
        ConfigError: The overlap is not smaller.
    """
    sizes = [(picture.width, picture.height) for picture in pictures]
    longest = max(max(size) for size in sizes)
    size = stated or min(_DEFAULT_PX, -(-longest // _MULTIPLE) * _MULTIPLE)
    if overlap >= size:
        raise ConfigError(f"--overlap {overlap}: has to be less than the tile size, {size}")
    padded = padded_fraction(sizes, size, overlap)
    if padded <= _MUCH:
        return size, []
    others = range(size // 2 // _MULTIPLE * _MULTIPLE or _MULTIPLE, 2 * size, _MULTIPLE)
    candidates = (size, *(other for other in others if other > overlap))
    best = min(candidates, key=lambda other: padded_fraction(sizes, other, overlap))
    advice = f"; --tile-size {best} would have {padded_fraction(sizes, best, overlap):.0%}"
    better = padded_fraction(sizes, best, overlap) < padded - 0.05
    return size, [f"{padded:.0%} of the tiles' px lie beside the images, as ignore{advice if better else ''}"]
