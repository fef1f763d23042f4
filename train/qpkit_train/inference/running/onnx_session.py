"""An ONNX file that onnxruntime has opened, and what it says in qpkit's terms. Needs no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qpkit.errors import ConfigError, FormatError
from qpkit.extras import extra
from qpkit.version import __version__
from qpkit_train.inference.pixels.uncertainty import entropy_bytes
from qpkit_train.models.card import LEVELS, Answer, ModelCard

_CPU: Final = "CPUExecutionProvider"
_CUDA: Final = "CUDAExecutionProvider"


def open_session(path: Path, *, device: str | None, threads: int) -> Any:
    """Open an ONNX file.

    Args:
        path: The file.
        device: "cpu", the number of a GPU, or None for the best there is.
        threads: Of a CPU; 0 for as many as there are cores.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        FormatError: The file is missing or damaged.
        ConfigError: There is no such device.
    """
    with extra("onnx"):
        import onnxruntime
    if not path.is_file():
        raise FormatError(f"{path}: no such model")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    providers = _providers(onnxruntime.get_available_providers(), device)
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as err:  # onnxruntime raises exceptions of its own that share no base
        raise FormatError(f"{path}: cannot be opened as an ONNX model ({str(err).splitlines()[0]})") from err


def _providers(there: Sequence[str], device: str | None) -> list[Any]:
    """Choose what computes here: Azure's, first in some builds, calls services and would be named as the device."""
    if device is None:
        return [name for name in there if name != "AzureExecutionProvider"]
    if device == "cpu":
        return [_CPU]
    if _CUDA not in there:
        raise ConfigError(f"--devices {device}: this onnxruntime has no CUDA; install onnxruntime-gpu, or say cpu")
    return [(_CUDA, {"device_id": int(device)}), _CPU]


def versions() -> dict[str, str]:
    """Of the packages that run ONNX files; asked of the modules, as onnxruntime-gpu gives onnxruntime, too.

    Raises:
        MissingExtraError: onnxruntime is not installed.
    """
    with extra("onnx"):
        import onnxruntime
    return {"qpkit": __version__, "onnxruntime": onnxruntime.__version__, "numpy": np.__version__}


class SessionModel(ABC):
    """Answers with what a session says; see `Model`."""

    def __init__(self, session: Any, card: ModelCard) -> None:
        self._session, self.card = session, card
        self.device_name = f"onnxruntime {session.get_providers()[0].removesuffix('ExecutionProvider')}"
        self.precision = "32-true"
        self.notes: tuple[str, ...] = ()

    @abstractmethod
    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Predict a batch.

        Args:
            pixels: (n, h, w, 3) uint8 RGB.

        Returns:
            (n, classes, h, w) float32, 0..1.
        """

    def room(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """Make an array for pixels; see `Model`."""
        return np.empty(shape, np.uint8)

    def answer(self, pixels: NDArray[np.uint8], *, halo: int, probabilities: bool, uncertainty: bool = False) -> Answer:
        """Predict a batch; see `Model`."""
        found = self.probabilities(pixels)
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
        return np.rint(self.probabilities(pixels) * LEVELS).astype(np.uint16)
