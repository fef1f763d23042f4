"""Models that answer clicks: runs and ONNX files with click channels, or a SAM in a local folder. One door for all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from qpkit.errors import ConfigError
from qpkit_train.clicks.discs import Click, clicked_image
from qpkit_train.inference.prompts.settings import PromptSettings
from qpkit_train.inference.running.opening import open_one
from qpkit_train.models.card import LEVELS, Model, ModelCard

SAM_PREFIX: Final = "sam:"
"""How the name of a SAM model begins; its folder follows."""


class PromptModel(Protocol):
    """Answers clicks.

    Attributes:
        card: What it is.
        device_name: What it runs on.
    """

    card: ModelCard
    device_name: str

    def answer(
        self, images: Sequence[NDArray[np.uint8]], clicks: Sequence[Sequence[Click]]
    ) -> list[NDArray[np.float32]]:
        """Say of each pixel how probably it belongs to what was clicked on.

        Args:
            images: (h, w, 3) uint8 RGB each, all of one size, a multiple of the card's stride.
            clicks: Of each image.

        Returns:
            (h, w) float32, 0..1, of each image.
        """
        ...


class ClickedNetwork:
    """A run or an ONNX file whose input has the channels of clicks; see `PromptModel`.

    Raises:
        ConfigError: It has none.
    """

    def __init__(self, model: Model) -> None:
        self.card, self.device_name, self._model = model.card, model.device_name, model
        if not self.card.click_px:
            raise ConfigError(
                f"{self.card.where}: the model takes no clicks; train one with qpkit train --prompts, or leave out "
                "--prompts"
            )

    def answer(
        self, images: Sequence[NDArray[np.uint8]], clicks: Sequence[Sequence[Click]]
    ) -> list[NDArray[np.float32]]:
        """See `PromptModel`."""
        samples = [
            clicked_image(image, own, radius_px=self.card.click_px) for image, own in zip(images, clicks, strict=True)
        ]
        levels = self._model.levels(np.stack(samples))
        return [np.asarray(own[1] / np.float32(LEVELS)) for own in levels]


def open_prompt_model(name: Path, settings: PromptSettings) -> PromptModel:
    """Open a model that answers clicks.

    Args:
        name: Run folder, .onnx file, or "sam:FOLDER".
        settings: Say at which um/px a SAM sees slides.

    Raises:
        ConfigError: It takes no clicks.
        FormatError: It is not there, or damaged.
        MissingExtraError: What runs it is not installed.
    """
    if is_sam(name):
        from qpkit_train.inference.prompts.sam import Sam

        return Sam(Path(str(name).removeprefix(SAM_PREFIX)), mpp=settings.sam_mpp)
    return ClickedNetwork(open_one(name, None, 0))


def is_sam(name: Path) -> bool:
    """Whether a model is named as a SAM in a folder."""
    return str(name).startswith(SAM_PREFIX)
