"""Batches that the device's memory is not enough for: halved until they fit, and said once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

from qpkit.errors import ConfigError

_Part = TypeVar("_Part")


class InParts:
    """Runs batches whole, or in parts once one did not fit.

    Attributes:
        most: Tiles that fit at a time; None while everything did.
    """

    def __init__(self) -> None:
        self.most: int | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user has to know."""
        if self.most is None:
            return ()
        return (f"the device's memory was not enough for the batch: --batch-size {self.most} was used",)

    def __call__(self, predict: Callable[[Any], _Part], pixels: Any) -> list[_Part]:
        """Predict (n, h, w, 3) pixels, of numpy or on a device, in as many parts as it takes.

        Raises:
            ConfigError: Not even one tile fits.
        """
        while True:
            size = min(self.most or len(pixels), len(pixels))
            try:
                return [predict(pixels[i : i + size]) for i in range(0, len(pixels), size)]
            except RuntimeError as err:  # torch's OutOfMemoryError is one; that of CPUs has no name
                if not isinstance(err, torch.cuda.OutOfMemoryError) and "not enough memory" not in str(err):
                    raise
                if size == 1:
                    height, width = pixels.shape[1:3]
                    raise ConfigError(
                        f"the device's memory is not enough for one tile of {width} x {height} px, halo included; "
                        "use a smaller --tile-size"
                    ) from err
            # Out of the except block, which holds on to what was computed so far.
            self.most = size // 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
