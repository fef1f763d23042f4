"""A trained model on the best device there is: pixels in, probabilities out. Knows no slides and no files."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qpkit_train.checkpoint import Run
from qpkit_train.devices import choose_precision, device_name, pick_device
from qpkit_train.losses import uses_sigmoid
from qpkit_train.normalization import normalize


class Predictor:
    """A run's model on the best device there is; see `Model`.

    Attributes:
        card: What it is.
        device_name, precision: What it runs on.
    """

    def __init__(self, run: Run) -> None:
        self.card = run.card()
        self.device = pick_device()
        self.device_name = device_name(self.device)
        self.precision: str = choose_precision(run.recipe.precision, self.device.type)
        self._dtype = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(self.precision)
        self._model = run.load_model().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's overloads leave it out
        self._normalization = run.normalization
        self._sigmoid = uses_sigmoid(run.recipe.loss.terms)

    def answer(
        self, pixels: NDArray[np.uint8], *, halo: int, chances: bool
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
        """Predict a batch; see `Model`."""
        found = self.chances(pixels, halo=halo)
        indices = found.argmax(dim=1).to(torch.uint8).cpu().numpy()
        return indices, (found * 255).round().to(torch.uint8).cpu().numpy() if chances else None

    def chances(self, pixels: NDArray[np.uint8], *, halo: int) -> Tensor:
        """Predict a batch.

        Args:
            pixels: (n, h, w, 3) uint8, h and w multiples of the network's stride.
            halo: px to throw away on each side.

        Returns:
            (n, classes, h - 2 halo, w - 2 halo) float32 probabilities on the device.
        """
        images = torch.from_numpy(pixels).to(self.device).movedim(-1, 1).float() / 255
        images = normalize(images, self._normalization)
        logits = self.logits(images)
        height, width = logits.shape[-2:]
        return self.chances_of(logits[..., halo : height - halo, halo : width - halo])

    def logits(self, images: Tensor) -> Tensor:
        """Run the network on normalised (n, 3, h, w) float32 on the device; (n, classes, h, w) float32."""
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast(self.device.type, self._dtype, enabled=self._dtype is not None):
            logits: Tensor = self._model(images)
        return logits.float()

    def chances_of(self, logits: Tensor) -> Tensor:
        """Turn logits into probabilities, by sigmoid or softmax as the loss has it."""
        return logits.sigmoid() if self._sigmoid else logits.softmax(dim=1)
