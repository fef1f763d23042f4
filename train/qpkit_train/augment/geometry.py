"""Moves of image and mask together: flips and quarter turns by exchanging pixels, all others by one sampling grid.

A place is where an output pixel's centre lies in the source, (x, y) in px from its upper left edge: pixel i has its
centre at i + 0.5. Grid distortion, elastic bends and the affine map follow one another in it, so that the image is
interpolated only once; the mask takes the pixel that holds the place, so that no label is made up. Outside of the
source the mask is IGNORE_INDEX and the image is mirrored at its edge. None of the three folds tissue over itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from qpkit.ops.scores.confusion import IGNORE_INDEX
from qpkit_train.augment.random import Stream, chosen_of, replaced
from qpkit_train.recipe.settings import AugmentConfig

_GRID_CELLS: Final = 5


def flip_and_turn(
    images: Tensor, targets: Tensor, config: AugmentConfig, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Flip and turn (n, 3, h, w) and (n, h, w) of any type by multiples of 90 degrees; quarter turns need squares."""
    count = len(images)
    for probability, axis in ((config.hflip, -1), (config.vflip, -2)):
        chosen = chosen_of(rng, count, probability)
        images, targets = _flipped(images, chosen, axis), _flipped(targets, chosen, axis)
    quarters = rng.integers(0, 4, count)
    if config.rot90 and images.shape[-1] == images.shape[-2]:
        for turns in (1, 2, 3):
            chosen = np.flatnonzero(quarters == turns)
            images, targets = _turned(images, chosen, turns), _turned(targets, chosen, turns)
    return images, targets


def _flipped(batch: Tensor, chosen: NDArray[np.int64], axis: int) -> Tensor:
    return replaced(batch, chosen, lambda part: part.flip(axis))


def _turned(batch: Tensor, chosen: NDArray[np.int64], quarters: int) -> Tensor:
    return replaced(batch, chosen, lambda part: torch.rot90(part, quarters, (-2, -1)))


@dataclass(frozen=True, slots=True)
class Warps:
    """What was drawn for n images.

    Args:
        affine: (n, 2, 3) source place from (x, y, 1).
        knots_x, knots_y: (n, cells + 1) where the grid's lines come from, in px.
        bends: (n, 2, rows, columns) control points of x and y in px; the first is a cell outside.
        cell_px: Distance of the control points.
        moved: (n,) whether any of this is more than standing still.
    """

    affine: NDArray[np.float64]
    knots_x: NDArray[np.float64]
    knots_y: NDArray[np.float64]
    bends: NDArray[np.float64]
    cell_px: float
    moved: NDArray[np.bool_]


def reach(config: AugmentConfig, side: int) -> int:
    """How far beyond a crop of `side` px its pixels may come from, px."""
    half = side / 2 + (config.elastic_px if config.elastic_p else 0)
    if not config.affine_p:
        return math.ceil(half - side / 2)
    across, down = half * (1 + math.tan(math.radians(config.shear))), half
    turned = max(_turned_by(across, down, config.rotate), _turned_by(down, across, config.rotate))
    return math.ceil(turned * (1 + config.scale) + config.shift * side - side / 2)


def _turned_by(along: float, beside: float, degrees: float) -> float:
    """How far along an axis a corner gets that is so far along and beside it, turned by up to an angle."""
    angle = min(math.radians(degrees), math.atan2(beside, along))
    return math.cos(angle) * along + math.sin(angle) * beside


def warp(
    images: Tensor, targets: Tensor, config: AugmentConfig, stream: Stream, *, margin: int = 0
) -> tuple[Tensor, Tensor]:
    """Move image and mask by one sampling grid.

    Args:
        images: (n, 3, h + 2 margin, w + 2 margin) float32.
        targets: (n, h + 2 margin, w + 2 margin) uint8.
        config: Which moves, and how far.
        stream: Random numbers.
        margin: px on each side that are there to be moved into the crop; `reach` is enough.

    Returns:
        (n, 3, h, w) and (n, h, w) of the same types; images that nothing fell on keep their bits.
    """
    crops, masks = without_margin(images, margin), without_margin(targets, margin)
    count, (height, width) = len(masks), masks.shape[-2:]
    warps = draw_warps(config, count, height, width, stream)
    chosen = np.flatnonzero(warps.moved)
    if not len(chosen):
        return crops, masks
    at = torch.from_numpy(chosen).to(images.device)
    x, y = (place + margin for place in places_of(warps, chosen, height, width, device=images.device))
    return (
        crops.index_copy(0, at, sample_image(images[at], x, y)),
        masks.index_copy(0, at, sample_mask(targets[at], x, y)),
    )


def without_margin(batch: Tensor, margin: int) -> Tensor:
    """The middle of (..., h + 2 margin, w + 2 margin)."""
    height, width = batch.shape[-2:]
    return batch[..., margin : height - margin, margin : width - margin]


def draw_warps(config: AugmentConfig, count: int, height: int, width: int, stream: Stream) -> Warps:
    """Draw what moves `count` images of height x width px."""
    c = config
    affine, is_affine = _drawn(
        _affine_of(c, height, width), stream("affine"), count, c.affine_p, any((c.rotate, c.scale, c.shear, c.shift)),
        still=np.eye(2, 3),
    )  # fmt: skip
    lines, is_grid = _drawn(
        lambda rng, n: 1 + c.grid * rng.uniform(-1, 1, (n, 2, _GRID_CELLS)), stream("grid"), count, c.grid_p,
        c.grid > 0, still=np.ones((2, _GRID_CELLS)),
    )  # fmt: skip
    shape = (2, *(math.ceil(side / c.elastic_cell_px) + 3 for side in (height, width)))
    bends, is_bent = _drawn(
        lambda rng, n: c.elastic_px * rng.uniform(-1, 1, (n, *shape)), stream("elastic"), count, c.elastic_p,
        c.elastic_px > 0, still=np.zeros(shape),
    )  # fmt: skip
    return Warps(
        affine=affine,
        knots_x=_knots(lines[:, 0], width),
        knots_y=_knots(lines[:, 1], height),
        bends=bends,
        cell_px=c.elastic_cell_px,
        moved=is_affine | is_grid | is_bent,
    )


def _drawn(
    draw: Callable[[np.random.Generator, int], NDArray[np.float64]],
    rng: np.random.Generator,
    count: int,
    probability: float,
    is_on: bool,
    *,
    still: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Draw for `count` images, those left out standing still; also which were not left out."""
    moved = np.zeros(count, bool)
    if not is_on:
        return np.broadcast_to(still, (count, *still.shape)), moved
    moved[chosen_of(rng, count, probability)] = True
    return np.where(moved.reshape(-1, *[1] * still.ndim), draw(rng, count), still), moved


def _affine_of(
    config: AugmentConfig, height: int, width: int
) -> Callable[[np.random.Generator, int], NDArray[np.float64]]:
    def draw(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        turn, zoom, slant, *shift = rng.uniform(-1, 1, (count, 5)).T
        angle, slope = np.radians(turn * config.rotate), np.tan(np.radians(slant * config.shear))
        factor = (1 + config.scale) ** -zoom
        turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        slanted = np.array([[np.ones(count), slope], [np.zeros(count), np.ones(count)]])
        matrix = np.einsum("ijn,jkn,n->nik", turned, slanted, factor)
        middle, side = np.array([width, height]) / 2, np.array([width, height])
        moved = middle - matrix @ middle + np.stack(shift, axis=1) * config.shift * side
        return np.concatenate([matrix, moved[:, :, np.newaxis]], axis=2)

    return draw


def _knots(factors: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """(n, cells + 1) sums of the cells' widths, 0 to `length`."""
    ends = np.cumsum(factors, axis=1)
    return np.concatenate([np.zeros((len(factors), 1)), ends / ends[:, -1:] * length], axis=1)


def places_of(
    warps: Warps, chosen: NDArray[np.int64], height: int, width: int, *, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Where the pixels of the chosen images come from: x and y, (m, height, width) float32 each."""
    x, y = _on_axis(warps.knots_x[chosen], width), _on_axis(warps.knots_y[chosen], height)
    columns, rows = (torch.from_numpy(v).float().to(device) for v in (x[:, np.newaxis, :], y[:, :, np.newaxis]))
    bends = warps.bends[chosen]
    if bends.any():
        across, down = (
            torch.from_numpy(_basis(v, warps.cell_px, points)).float().to(device)
            for v, points in ((x, bends.shape[-1]), (y, bends.shape[-2]))
        )
        pulled = torch.einsum("nyr,nark,nxk->nayx", down, torch.from_numpy(bends).float().to(device), across)
        columns, rows = columns + pulled[:, 0], rows + pulled[:, 1]
    a = torch.from_numpy(warps.affine[chosen]).float().to(device)[..., np.newaxis, np.newaxis]
    return (
        a[:, 0, 0] * columns + a[:, 0, 1] * rows + a[:, 0, 2],
        a[:, 1, 0] * columns + a[:, 1, 1] * rows + a[:, 1, 2],
    )


def _on_axis(knots: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """(n, length) places of the pixels' centres after the grid's distortion."""
    even = np.linspace(0, length, knots.shape[1])
    return np.stack([np.interp(np.arange(length) + 0.5, even, row) for row in knots])


def _basis(places: NDArray[np.float64], cell_px: float, points: int) -> NDArray[np.float64]:
    """(n, length, points) weights of control points at (i - 1) * cell_px: cubic B-spline, each row sums to 1."""
    distance = np.abs(places[..., np.newaxis] / cell_px + 1 - np.arange(points))
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.maximum(2 - distance, 0) ** 3 / 6
    return np.where(distance < 1, near, far)


def sample_image(images: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Interpolate (n, c, h, w) float between its pixels (bilinear), mirrored at the edges."""
    height, width = images.shape[-2:]
    places = torch.stack([x * (2 / width) - 1, y * (2 / height) - 1], dim=-1)
    return F.grid_sample(images, places, mode="bilinear", padding_mode="reflection", align_corners=False)


def sample_mask(targets: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Take from (n, h, w) uint8 the pixels that hold the places (n, rows, columns); IGNORE_INDEX outside."""
    height, width = targets.shape[-2:]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    column, row = x.clamp(0, width - 1).long(), y.clamp(0, height - 1).long()
    taken = targets.flatten(1).gather(1, (row * width + column).flatten(1)).view_as(row)
    return taken.masked_fill(~inside, IGNORE_INDEX)
