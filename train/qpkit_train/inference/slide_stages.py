"""What is done to a batch of a slide's tiles: where the model computes, and how overlapping tiles are put together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpkit.core.tiles import Tile, TileGrid
from qpkit_train.inference.pipeline import Stages
from qpkit_train.inference.pixels.blend import Blender
from qpkit_train.inference.pixels.rasters import SlideRasters
from qpkit_train.inference.pixels.reading import TileReader
from qpkit_train.inference.running.together import Together
from qpkit_train.inference.settings import PredictSettings
from qpkit_train.inference.sharing.journal import AnsweredTiles
from qpkit_train.models.card import Answer, DeviceModel, Model, Waiting, on_device


def stages_of(
    model: Model,
    settings: PredictSettings,
    grid: TileGrid,
    rasters: SlideRasters,
    answers: AnsweredTiles,
    reader: TileReader,
    tiles: Sequence[Tile],
) -> Stages[Tile, Any]:
    """How tiles become answers: cropped or blended, in the memory of the process or in that of a device.

    Args:
        model: What predicts them.
        settings, grid: Of the slide.
        rasters: Know what is wanted of the answers.
        answers: Take them.
        reader: Of the slide.
        tiles: All that will come.
    """
    side = settings.tile_px + 2 * settings.halo_px
    stages = partial(Stages, read=reader.read, room=model.room, shape=(side, side, 3 * len(model.card.factors)))
    there, wanted = on_device(model), rasters.wants_probabilities
    if settings.blend == "crop":
        asked: dict[str, Any] = {"halo": grid.halo, "probabilities": wanted, "uncertainty": settings.uncertainty}
        if there is None:
            return stages(
                predict=lambda _, pixels: model.answer(pixels, **asked),
                write=lambda batch, answer: answers.write(batch, answer, reader),
            )
        return stages(
            predict=lambda _, pixels: _queued(there, lambda: [there.answer_there(pixels, **asked)], rasters),
            write=lambda batch, found: answers.write(batch, found[0], reader),
            queued=True,
        )
    blender = Blender(
        tiles,
        settings.blend,
        classes=len(rasters.values),
        core=grid.tile_size,
        halo=grid.halo,
        probabilities=wanted,
        uncertainty=settings.uncertainty,
    )

    def write(finished: Iterable[tuple[Tile, Answer]]) -> None:
        for tile, answer in finished:
            if (tile.col, tile.row) not in answers.places:
                answers.write([tile], answer, reader)

    if there is None:
        levels = model.levels_and_spread if settings.uncertainty and isinstance(model, Together) else model.levels
        return stages(
            predict=lambda _, pixels: levels(pixels),
            write=lambda batch, found: write(blender.add(batch, found, broken=reader.broken)),
        )
    order: deque[Tile] = deque()

    def blended(batch: Sequence[Tile], pixels: NDArray[np.uint8]) -> list[Answer]:
        found = there.levels_there(pixels, spread=settings.uncertainty)
        pairs = list(blender.add(batch, found, broken=reader.broken))
        order.extend(tile for tile, _ in pairs)
        return [answer for _, answer in pairs]

    return stages(
        predict=lambda batch, pixels: _queued(there, lambda: blended(batch, pixels), rasters),
        write=lambda _, found: write((order.popleft(), answer) for answer in found),
        queued=True,
    )


def _queued(model: DeviceModel, predict: Callable[[], Sequence[Answer]], rasters: SlideRasters) -> Waiting:
    """Have a device answer and hold that against thresholds: what it does meanwhile nobody waits for."""
    stream = model.stream
    assert stream is not None
    begun = stream.mark()
    return stream.fetch([rasters.held_to_limits(answer) for answer in predict()], since=begun)
