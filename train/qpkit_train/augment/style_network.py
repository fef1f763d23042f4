"""A small network that gives tissue another staining, RGB to RGB of the same size; `qpkit train-style` makes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from qpkit.errors import ConfigError
from qpkit.files import replace_file

WEIGHTS_NAME: Final = "style.safetensors"
_EDGE: Final = 0.01
"""Black and white are this far from where the logarithm of their odds ends."""


class StyleNetwork(nn.Module):
    """Adds to the log odds of every channel what convolutions make of 13 x 13 px around.

    Args:
        width: Channels inside.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.width = width
        layers: list[nn.Module] = []
        for before, after in ((3, width), (width, width), (width, width), (width, width), (width, width)):
            layers += [nn.Conv2d(before, after, 3, padding=1, padding_mode="reflect"), nn.ReLU(inplace=True)]
        layers.append(nn.Conv2d(width, 3, 3, padding=1, padding_mode="reflect"))
        # It begins as a network that changes nothing.
        nn.init.zeros_(layers[-1].weight)  # type: ignore[arg-type] # of a convolution
        nn.init.zeros_(layers[-1].bias)  # type: ignore[arg-type]
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Restain (n, 3, h, w) in 0..1."""
        return torch.sigmoid(torch.logit(images.clamp(_EDGE, 1 - _EDGE)) + self.layers(2 * images - 1))


StyleSource = Tensor | StyleNetwork
"""Where stainings come from: (k, 3, h, w) uint8 pictures, or a network."""


def save_style(network: StyleNetwork, path: Path, facts: dict[str, Any]) -> None:
    """Write a network with what it was made of, atomically."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    replace_file(path, save(tensors, metadata={"qpkit_style": json.dumps({**facts, "width": network.width})}))


def load_style(path: Path) -> StyleNetwork:
    """Read a network that `qpkit train-style` wrote, from its folder or its file.

    Raises:
        ConfigError: There is none, or it is damaged.
    """
    file = path / WEIGHTS_NAME if path.is_dir() else path
    try:
        with safe_open(file, framework="pt") as opened:
            facts = json.loads((opened.metadata() or {})["qpkit_style"])
        network = StyleNetwork(facts["width"])
        network.load_state_dict(load_file(file))
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as err:
        raise ConfigError(f"{file}: no network that qpkit train-style wrote ({err})") from err
    return network.eval().requires_grad_(False)
