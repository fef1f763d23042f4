"""What tissue looks like to an encoder: one that was trained in a run, or one with published or local weights."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from qpkit.errors import ConfigError
from qpkit_train.data.normalization import Normalization, named_normalization
from qpkit_train.machine.devices import pick_device
from qpkit_train.models.forward import forward
from qpkit_train.models.registry import build_model, encoder_of
from qpkit_train.recipe.settings import ModelConfig
from qpkit_train.run_folder.run import load_run

_MPP: Final = 1.0
"""um per px for encoders that were trained on other pictures."""


class EncoderLook:
    """Describes pixels by the mean of an encoder's deepest features.

    Attributes:
        name: For people.
        mpp: um per px at which it wants to see tissue.
        most_px: Side of what it looks at, at most: the middle of larger squares.
    """

    most_px = 512

    def __init__(self, name: str, encoder: torch.nn.Module, normalization: Normalization, mpp: float) -> None:
        self.name, self.mpp, self._normalization = name, mpp, normalization
        self._device = pick_device()
        self._encoder = encoder.eval().to(self._device)

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """(h, w, 3) uint8 RGB to (channels,)."""
        images = torch.from_numpy(pixels.copy()).to(self._device).movedim(-1, 0).unsqueeze(0).float() / 255
        with torch.inference_mode():
            found = forward(lambda image: self._encoder(image)[-1], images, self._normalization)
        return np.asarray(found.mean(dim=(0, 2, 3)).double().cpu().numpy())


def encoder_look(text: str) -> EncoderLook:
    """Open an encoder.

    Args:
        text: A run folder, whose encoder is taken; or ENCODER:WEIGHTS as model.encoder and model.encoder_weights of a
            recipe have them, such as resnet34:imagenet or resnet18:weights.safetensors.

    Raises:
        ConfigError: Neither, or the network has no encoder, or weights cannot be fetched or do not fit.
        FormatError: The run's weights are damaged.
    """
    if (Path(text) / "run.json").is_file():
        run = load_run(Path(text))
        if len(run.recipe.model.factors) > 1:
            raise ConfigError(f"--encoder {text}: sees surroundings; name a run whose network sees one image")
        encoder = encoder_of(run.load_model(), run.recipe.model)
        return EncoderLook(f"the encoder of run {run.id}", encoder, run.normalization, run.mpp or _MPP)
    name, colon, weights = text.partition(":")
    if not colon or not name or not weights:
        raise ConfigError(f"--encoder {text}: is neither a run folder nor ENCODER:WEIGHTS such as resnet34:imagenet")
    if weights == "none":
        raise ConfigError(f"--encoder {text}: random weights see nothing; name published weights or a file")
    config = ModelConfig(architecture="unet", encoder=name, encoder_weights=weights)
    return EncoderLook(text, encoder_of(build_model(config, 2), config), named_normalization("imagenet"), _MPP)
