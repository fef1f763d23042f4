"""A run's best model as one ONNX file that other programs, and qpkit without torch, can run."""

from __future__ import annotations

import io
import tempfile
import warnings
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from qpkit.errors import ConfigError
from qpkit.extras import extra
from qpkit.files import replace_file
from qpkit_train.data.normalization import Normalization
from qpkit_train.inference.running.onnx_model import INPUT, KEY, OUTPUT, card_to_text
from qpkit_train.losses.activation import probabilities_of, uses_sigmoid
from qpkit_train.models.card import ModelCard
from qpkit_train.models.forward import forward
from qpkit_train.run_folder.run import Run, load_run

TOLERANCE: Final = 1e-4
"""Largest difference of a probability between torch and ONNX."""

_OPSET: Final = 17
_SIDES: Final = ((1, 2, 2), (3, 4, 3), (2, 5, 6))
"""Batch sizes, and heights and widths in strides, that the file is checked with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxReport:
    """The ONNX file that was written.

    Args:
        path: The file.
        run: Id of the run.
        megabytes: Its size.
        difference: Largest difference of a probability from torch, on random pixels of three shapes.
    """

    path: Path
    run: str
    megabytes: float
    difference: float


class _Whole(torch.nn.Module):
    """Pixels 0..255 in, probabilities out."""

    def __init__(self, network: torch.nn.Module, normalization: Normalization, *, sigmoid: bool) -> None:
        super().__init__()
        self.network, self.normalization, self.sigmoid = network, normalization, sigmoid

    def forward(self, pixels: Tensor) -> Tensor:
        logits = forward(self.network, pixels / 255, self.normalization)
        return probabilities_of(logits, sigmoid=self.sigmoid)


def export_onnx(run_root: Path, path: Path) -> OnnxReport:
    """Write a run's best model, after comparing it with torch.

    Args:
        run_root: What fit() left.
        path: File to write.

    Raises:
        FormatError: The run is damaged or not there.
        MissingExtraError: onnx or onnxruntime is not installed.
        ConfigError: The network has an operation that ONNX has not, or the two do not agree to 1e-4.
        OutputError: The file cannot be written.
    """
    run = load_run(run_root)
    content, difference = checked_onnx(run)
    replace_file(path, content)
    return OnnxReport(path=path, run=run.id, megabytes=round(len(content) / 1e6, 1), difference=difference)


def checked_onnx(run: Run) -> tuple[bytes, float]:
    """Make the ONNX file of a run's best model, and compare it with torch.

    Returns:
        The file, and the largest difference of a probability.

    Raises:
        FormatError, MissingExtraError, ConfigError: As for `export_onnx`.
    """
    onnx, runtime = libraries()
    whole = whole_network(run)
    card = run.card()
    model = onnx.load_from_string(traced(whole, run.root, (2, card.channels, 2 * card.stride, 3 * card.stride)))
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, card_to_text(card)
    content = model.SerializeToString()
    difference = _difference(whole, content, runtime, card)
    if not difference <= TOLERANCE:
        raise ConfigError(
            f"{run.root}: ONNX and torch differ by {difference:.1e}, more than {TOLERANCE:g}; not written"
        )
    return content, difference


def whole_network(run: Run) -> torch.nn.Module:
    """A run's best network with all that belongs to it.

    Returns:
        Takes (n, channels, h, w) float32 pixels in 0..255, gives (n, classes, h, w) float32 probabilities.

    Raises:
        FormatError: The weights are damaged or gone.
    """
    return _Whole(run.load_model(), run.normalization, sigmoid=uses_sigmoid(run.recipe.loss.terms)).eval()


def libraries() -> tuple[Any, Any]:
    """The modules onnx and onnxruntime.

    Raises:
        MissingExtraError: One is not installed.
    """
    with extra("onnx"):
        import onnx
        import onnxruntime
    return onnx, onnxruntime


def traced(whole: torch.nn.Module, run_root: Path, shape: tuple[int, int, int, int], *, fixed: bool = False) -> bytes:
    """Write a network as ONNX.

    Args:
        whole: What `whole_network` gives.
        run_root: Of the run, for the message.
        shape: Of an input: batch, channels, height, width.
        fixed: Whether the file takes inputs of this shape only; otherwise any batch, height and width.

    Raises:
        ConfigError: It has an operation that ONNX has not.
    """
    free = {0: "batch", 2: "height", 3: "width"}
    # Where it fails, torch prints the whole graph.
    silent = redirect_stdout(io.StringIO())
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), silent:
        warnings.simplefilter("ignore")  # of torch's about its own exporter, and of tracing shapes
        file = Path(folder) / "model.onnx"
        try:
            torch.onnx.export(
                whole,
                (torch.zeros(shape),),
                file,
                dynamo=False,
                opset_version=_OPSET,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_axes=None if fixed else {INPUT: free, OUTPUT: free},
            )
        except (RuntimeError, torch.onnx.errors.OnnxExporterError) as err:
            reason = str(err).splitlines()[0]
            raise ConfigError(f"{run_root}: the network cannot be written as ONNX ({reason})") from err
        return file.read_bytes()


def _difference(whole: torch.nn.Module, content: bytes, runtime: Any, card: ModelCard) -> float:
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    largest = 0.0
    for batch, height, width in _SIDES:
        shape = batch, card.channels, height * card.stride, width * card.stride
        pixels = rng.integers(0, 256, shape).astype(np.float32)
        with torch.inference_mode():
            expected = whole(torch.from_numpy(pixels)).numpy()
        largest = max(largest, float(abs(session.run([OUTPUT], {INPUT: pixels})[0] - expected).max()))
    return largest
