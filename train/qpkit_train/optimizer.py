"""The optimizer of a recipe."""

from __future__ import annotations

import torch

from qpkit_train.recipe.settings import OptimConfig


def optimizer_of(optim: OptimConfig, network: torch.nn.Module) -> torch.optim.Optimizer:
    """Make it for the parameters that learn."""
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if optim.name == "sgd":
        return torch.optim.SGD(
            learning, lr=optim.lr, momentum=optim.momentum, nesterov=optim.nesterov, weight_decay=optim.weight_decay
        )
    kind = torch.optim.AdamW if optim.name == "adamw" else torch.optim.Adam
    return kind(learning, lr=optim.lr, weight_decay=optim.weight_decay)
