"""A trained model on the best device there is: pixels in, probabilities out. Knows no slides and no files."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qpkit.core.tiles import Tile
from qpkit.errors import ConfigError
from qpkit.slides import Slide
from qpkit_train.data.normalization import normalize, normalized_bytes
from qpkit_train.inference.pixels.uncertainty import entropy_bytes
from qpkit_train.inference.running.calibration import batch_norms, calibrated, middles_of
from qpkit_train.inference.running.gpu_stream import GpuStream
from qpkit_train.inference.running.graphs import Graphs
from qpkit_train.inference.running.memory import InParts
from qpkit_train.losses.activation import probabilities_of, uses_sigmoid
from qpkit_train.machine.devices import (
    choose_precision,
    compiled,
    device_name,
    named_device,
    pick_device,
    refuse_uncompiled,
)
from qpkit_train.models.card import LEVELS, Answer, Calibrate, concatenated, joined
from qpkit_train.models.forward import cropped, run_network
from qpkit_train.run_folder.run import Run


class Predictor:
    """A run's model on a device; see `Model`.

    Args:
        run: The run.
        device: "cpu", the number of a GPU, or None for the best there is.
        threads: Of a CPU; 0 leaves them as they are.
        calibrate: Whether batch-norm statistics are estimated anew on each slide.
        compile: Run it through torch.compile.

    Raises:
        ConfigError: There is no such device, or no batch norm.

    Attributes:
        card: What it is.
        device_name, precision: What it runs on.
        stream: Of a GPU.
    """

    def __init__(
        self,
        run: Run,
        *,
        device: str | None = None,
        threads: int = 0,
        calibrate: Calibrate = "none",
        compile: bool = False,
    ) -> None:
        self.card = run.card()
        if threads:
            torch.set_num_threads(threads)
        self.device = pick_device() if device is None else named_device(device)
        self.device_name = device_name(self.device)
        self.stream = GpuStream(self.device) if self.device.type == "cuda" else None
        self.precision: str = choose_precision(run.recipe.precision, self.device.type)
        self._dtype = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(self.precision)
        self._model = run.load_model().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's overloads leave it out
        self._normalization = run.normalization
        self._calibrate = calibrate
        if calibrate == "batch-norm" and not batch_norms(self._model):
            raise ConfigError(f"{self.card.where}: its network has no batch norm; leave out --calibrate batch-norm")
        if compile:
            self._model = compiled(self._model)
        self._in_parts = InParts()
        self._graphs = None if self.stream is None else Graphs()
        self._sigmoid = uses_sigmoid(run.recipe.loss.terms)

    def for_slide(self, slide: Slide, tiles: Sequence[Tile]) -> Predictor:
        """The model as it predicts a slide; see `SlideModel`."""
        if self._calibrate == "none" or not tiles:
            return self
        own = copy.copy(self)

        def run(network: torch.nn.Module, pixels: NDArray[np.uint8]) -> None:
            own._model = network
            own._in_parts(lambda part: own.probabilities(part, halo=0), pixels)

        own._model = calibrated(self._model, run, middles_of(slide, tiles, self.card.factors))
        own._graphs = None if self.stream is None else Graphs()
        return own

    def room(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """Make an array for pixels, pinned where a GPU copies them; see `Model`."""
        room: NDArray[np.uint8] = torch.empty(shape, dtype=torch.uint8, pin_memory=self.device.type == "cuda").numpy()
        return room

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user has to know of the device's memory."""
        return self._in_parts.notes

    def upload(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Begin to copy pixels to the device; see `DeviceModel`."""
        return torch.from_numpy(pixels).to(self.device, non_blocking=True)

    def answer(self, pixels: NDArray[np.uint8], *, halo: int, probabilities: bool, uncertainty: bool = False) -> Answer:
        """Predict a batch; see `Model`."""
        found = self.answer_there(pixels, halo=halo, probabilities=probabilities, uncertainty=uncertainty)
        return found.each(lambda part: part.cpu().numpy())

    def answer_there(self, pixels: Any, *, halo: int, probabilities: bool, uncertainty: bool = False) -> Answer:
        """Predict a batch; see `DeviceModel`."""

        def run(part: Any) -> list[Any]:
            found = self.probabilities(part, halo=halo)
            # The same as argmax (the first of equal ones), which takes 5 times as long on CPUs.
            indices = found.max(dim=1).indices.to(torch.uint8)
            bytes_ = [(found * 255).round().to(torch.uint8)] if probabilities else []
            return [indices, *bytes_, *([entropy_bytes(found)[:, None]] if uncertainty else [])]

        def predict(part: Any) -> Answer:
            found = iter(self._on_device(("answer", halo, probabilities, uncertainty), run, part))
            return Answer(next(found), *(next(found) if wanted else None for wanted in (probabilities, uncertainty)))

        return joined(self._in_parts(predict, pixels))

    def levels(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """Predict a batch, halo included; see `Model`."""
        found: NDArray[np.int32] = self.levels_there(pixels).cpu().numpy()
        return found.astype(np.uint16)

    def levels_there(self, pixels: Any, *, spread: bool = False) -> Tensor:
        """Predict a batch, halo included; see `DeviceModel`. A single look has no spread."""

        def run(part: Any) -> list[Tensor]:
            return [(self.probabilities(part, halo=0) * LEVELS).round().to(torch.int32)]

        found: Tensor = concatenated(self._in_parts(lambda part: self._on_device("levels", run, part)[0], pixels))
        return found

    def _on_device(self, name: Hashable, run: Callable[[Any], list[Any]], pixels: Any) -> list[Any]:
        """Run a function of pixels, on a GPU by a graph."""
        if self._graphs is None:
            return run(pixels)
        return self._graphs(name, run, self.upload(pixels) if isinstance(pixels, np.ndarray) else pixels)

    def probabilities(self, pixels: Any, *, halo: int) -> Tensor:
        """Predict a batch.

        Args:
            pixels: (n, h, w, 3 k) uint8, h and w multiples of the card's stride; of numpy, or on the device.
            halo: px to throw away on each side.

        Returns:
            (n, classes, h - 2 halo, w - 2 halo) float32 probabilities on the device.
        """
        height, width = pixels.shape[1:3]
        if self.device.type == "cpu":
            images = normalized_bytes(pixels, self._normalization)
        else:
            there = self.upload(pixels) if isinstance(pixels, np.ndarray) else pixels
            images = normalize(there.movedim(-1, 1).float() / 255, self._normalization)
        return self.probabilities_of(cropped(self._run(images), height=height, width=width, halo=halo))

    def logits(self, images: Tensor) -> Tensor:
        """Run the network on (n, 3, h, w) float32 RGB in 0..1 on the device; see `forward`."""
        return self._run(normalize(images, self._normalization))

    def _run(self, images: Tensor) -> Tensor:
        try:
            with torch.inference_mode(), torch.autocast(self.device.type, self._dtype, enabled=self._dtype is not None):
                return run_network(self._model, images)
        except RuntimeError as err:
            refuse_uncompiled(err, "without --compile")
            raise

    def probabilities_of(self, logits: Tensor) -> Tensor:
        """Turn logits into probabilities, by sigmoid or softmax as the loss has it."""
        return probabilities_of(logits, sigmoid=self._sigmoid)
