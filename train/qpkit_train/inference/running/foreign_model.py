"""Somebody else's ONNX model, run as its TOML file describes it. Needs no torch."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qpkit.core.tiles import Tile
from qpkit.errors import ConfigError, FormatError
from qpkit.slides import Slide
from qpkit_train.inference.running.foreign import (
    BACKGROUND,
    Description,
    PrepareTiles,
    content_id,
    load_preparation,
    read_description,
)
from qpkit_train.inference.running.onnx_session import SessionModel, open_session, versions
from qpkit_train.models.card import STRIDE, ModelCard

_TYPES: Final = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
_PICTURE_PX: Final = 2048
"""Longer side of the picture of a slide that a preparation is given."""


class ForeignModel(SessionModel):
    """Runs an ONNX file that a TOML file describes; see `Model` and `SlideModel`.

    Args:
        path: The TOML file.
        device: "cpu", the number of a GPU, or None for the best there is.
        threads: Of a CPU; 0 for as many as there are cores.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        FormatError: A file is missing or damaged, or the graph is not what is described.
        ConfigError: There is no such device, or the preparation cannot be imported.
    """

    def __init__(self, path: Path, *, device: str | None = None, threads: int = 0) -> None:
        self._path, self._said = path, read_description(path)
        session = open_session(path.parent / self._said.onnx, device=device, threads=threads)
        super().__init__(session, _card(path, self._said))
        self._input = _named(session.get_inputs(), self._said.input, path)
        self._output = _named(session.get_outputs(), self._said.output, path)
        if self._input.type not in _TYPES:
            raise FormatError(f"{path}: the model takes {self._input.type}, not one of {', '.join(_TYPES)}")
        self._one_by_one = self._input.shape[0] == 1
        self._prepare_slide = load_preparation(path, self._said) if self._said.prepare else None
        self._prepare: PrepareTiles = self._normalized

    def for_slide(self, slide: Slide, tiles: Sequence[Tile]) -> ForeignModel:
        """The model as it predicts a slide; see `SlideModel`."""
        if self._prepare_slide is None:
            return self
        picture = slide.thumbnail(_PICTURE_PX)
        own = copy.copy(self)
        try:
            own._prepare = self._prepare_slide(picture)
        except Exception as err:
            raise FormatError(f"{self._path}: {self._said.prepare} refuses the slide ({err!r})") from err
        return own

    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Predict a batch; see `SessionModel`."""
        tiles = self._prepared(pixels)
        parts = [tiles[i : i + 1] for i in range(len(tiles))] if self._one_by_one else [tiles]
        found = np.concatenate([self._run(part) for part in parts]).astype(np.float32)
        if self._said.layout == "nhwc":
            found = np.moveaxis(found, -1, 1)
        self._require_shape(found, pixels)
        return self._by_value(_activated(found, self._said))

    def _prepared(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        try:
            tiles = np.asarray(self._prepare(pixels))
        except Exception as err:
            raise ConfigError(f"{self._path}: {self._said.prepare or 'mean, std'}: {err!r}") from err
        if self._said.layout == "nchw":
            tiles = np.moveaxis(tiles, -1, 1)
        return np.ascontiguousarray(tiles, dtype=_TYPES[self._input.type])

    def _normalized(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        said = self._said
        ordered = pixels[..., ::-1] if said.channels == "bgr" else pixels
        scaled = ordered.astype(np.float32) * np.float32(said.pixel_max / 255)
        return np.asarray((scaled - np.array(said.mean)) / np.array(said.std), np.float32)

    def _run(self, tiles: NDArray[Any]) -> NDArray[Any]:
        try:
            found: NDArray[Any] = self._session.run([self._output.name], {self._input.name: tiles})[0]
        except Exception as err:
            shape = " x ".join(map(str, tiles.shape))
            reason = str(err).splitlines()[0][:100]
            raise ConfigError(
                f"{self._path}: the model does not take {shape}; see stride, input_px ({reason})"
            ) from err
        return found

    def _require_shape(self, found: NDArray[np.float32], pixels: NDArray[np.uint8]) -> None:
        needed = 1 + max([*self._said.order, self._said.background or 0])
        wanted = (len(pixels), *pixels.shape[1:3])
        if found.ndim != 4 or (found.shape[0], *found.shape[2:]) != wanted or found.shape[1] < needed:
            raise ConfigError(
                f"{self._path}: the model gives {' x '.join(map(str, found.shape))} for tiles of "
                f"{wanted[1]} x {wanted[2]} px, not {needed} or more channels of the same size"
            )

    def _by_value(self, found: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, classes, h, w) in the order of the label map's trained values."""
        said, labels = self._said, self.card.labels
        classes = found[:, said.order]
        if said.background is not None:
            left = found[:, said.background]
        else:
            left = 1 - (classes.max(axis=1) if said.activation == "sigmoid" else classes.sum(axis=1))
        by_value = {item.value: classes[:, i] for i, item in enumerate(labels.classes)} | {BACKGROUND: left}
        return np.clip(np.stack([by_value[value] for value in labels.trained_values], axis=1), 0, 1)


def _activated(found: NDArray[np.float32], said: Description) -> NDArray[np.float32]:
    if said.activation == "softmax":
        powers = np.exp(found - found.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))
    if said.activation == "sigmoid":
        return np.asarray(0.5 * (1 + np.tanh(0.5 * found)), np.float32)
    return found


def _card(path: Path, said: Description) -> ModelCard:
    name = said.name or path.stem
    return ModelCard(
        run=f"{name}-{content_id(path)}",
        name=name,
        where=str(path),
        labels=said.labels(),
        mpp=said.mpp,
        downsample=said.downsample,
        trained={},
        versions=versions(),
        stride=said.stride or STRIDE,
        input_px=said.input_px,
    )


def _named(nodes: Any, name: str, path: Path) -> Any:
    """An input or output by its name, the first one if it is ""."""
    found = [node for node in nodes if node.name == name or not name]
    if not found:
        names = ", ".join(node.name for node in nodes)
        raise FormatError(f"{path}: the model has no {name!r}; it has {names}")
    return found[0]
