"""A model in one ONNX file, run without torch. What it needs beside its weights is in the file's metadata."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qpkit.core.labels import label_map_from_builtins, label_map_to_builtins
from qpkit.errors import ConfigError, FormatError, LabelError
from qpkit.extras import extra
from qpkit_train.inference.pixels.uncertainty import entropy_bytes
from qpkit_train.models.card import LEVELS, Answer, ModelCard

KEY: Final = "qpkit"
"""Of the metadata: JSON with what `card_to_text` writes."""

FORMAT: Final = "qpkit onnx 1"
INPUT: Final = "pixels"
_CPU: Final = "CPUExecutionProvider"
_CUDA: Final = "CUDAExecutionProvider"
OUTPUT: Final = "probabilities"


def card_to_text(card: ModelCard) -> str:
    """Write a model's card for the metadata of its file."""
    return json.dumps(
        {
            "format": FORMAT,
            "run": card.run,
            "name": card.name,
            "labels": label_map_to_builtins(card.labels),
            "mpp": card.mpp,
            "downsample": card.downsample,
            "trained": card.trained,
            "exported_with": card.versions,
        }
    )


class OnnxModel:
    """Runs a file that `qpkit export-model` wrote; see `Model`.

    The graph takes (n, 3, h, w) float32 RGB in 0..255 and gives (n, classes, h, w) float32 probabilities: shift, scale
    and activation are part of it.

    Args:
        path: The file.
        device: "cpu", the number of a GPU, or None for the best there is.
        threads: Of a CPU; 0 for as many as there are cores.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        FormatError: The file is missing, damaged, or was not written by qpkit.
        ConfigError: There is no such device.
    """

    def __init__(self, path: Path, *, device: str | None = None, threads: int = 0) -> None:
        runtime = _runtime()
        if not path.is_file():
            raise FormatError(f"{path}: no such model")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        providers = _providers(runtime.get_available_providers(), device)
        try:
            self._session = runtime.InferenceSession(str(path), options, providers=providers)
        except Exception as err:  # onnxruntime raises exceptions of its own that share no base
            raise FormatError(f"{path}: cannot be opened as an ONNX model ({str(err).splitlines()[0]})") from err
        self.card = _card(self._session.get_modelmeta().custom_metadata_map, path)
        self.device_name = f"onnxruntime {self._session.get_providers()[0].removesuffix('ExecutionProvider')}"
        self.precision = "32-true"
        self.notes: tuple[str, ...] = ()

    def room(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """Make an array for pixels; see `Model`."""
        return np.empty(shape, np.uint8)

    def answer(self, pixels: NDArray[np.uint8], *, halo: int, probabilities: bool, uncertainty: bool = False) -> Answer:
        """Predict a batch; see `Model`."""
        found = self._probabilities(pixels)
        height, width = found.shape[-2:]
        found = found[..., halo : height - halo, halo : width - halo]
        indices = found.argmax(axis=1).astype(np.uint8)
        return Answer(
            indices,
            np.rint(found * 255).astype(np.uint8) if probabilities else None,
            entropy_bytes(found)[:, np.newaxis] if uncertainty else None,
        )

    def levels(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """Predict a batch, halo included; see `Model`."""
        return np.rint(self._probabilities(pixels) * LEVELS).astype(np.uint16)

    def _probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        images = np.ascontiguousarray(np.moveaxis(pixels, -1, 1), dtype=np.float32)
        found: NDArray[np.float32] = self._session.run([OUTPUT], {INPUT: images})[0]
        return found


def _providers(there: Sequence[str], device: str | None) -> list[Any]:
    """Choose what computes here: Azure's, first in some builds, calls services and would be named as the device."""
    if device is None:
        return [name for name in there if name != "AzureExecutionProvider"]
    if device == "cpu":
        return [_CPU]
    if _CUDA not in there:
        raise ConfigError(f"--devices {device}: this onnxruntime has no CUDA; install onnxruntime-gpu, or say cpu")
    return [(_CUDA, {"device_id": int(device)}), _CPU]


def _runtime() -> Any:
    with extra("onnx"):
        import onnxruntime
    return onnxruntime


def _card(entries: dict[str, str], path: Path) -> ModelCard:
    try:
        record = json.loads(entries[KEY])
        if record["format"] != FORMAT:
            raise FormatError(f"{path}: format is {record['format']!r}, this qpkit reads {FORMAT!r}")
        return ModelCard(
            run=record["run"],
            name=record["name"],
            where=str(path),
            labels=label_map_from_builtins(record["labels"]),
            mpp=record["mpp"],
            downsample=record["downsample"],
            trained=record["trained"],
            versions={p: metadata.version(p) for p in ("qpkit", "onnxruntime", "numpy")},
        )
    except (KeyError, json.JSONDecodeError, LabelError, TypeError) as err:
        raise FormatError(f"{path}: not a model that qpkit export-model wrote ({err!r})") from err
