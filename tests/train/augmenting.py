"""The changes of a recipe one by one, for their tests."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from qpkit_train.augment.augmenter import Augmenter
from qpkit_train.recipe.settings import AugmentConfig

MOVES: Final[dict[str, dict[str, Any]]] = {
    "flips and turns": {"hflip": 0.5, "vflip": 0.5, "rot90": True},
    "rotate": {"rotate": 30, "affine_p": 1},
    "scale": {"scale": 0.4, "affine_p": 1},
    "shear": {"shear": 20, "affine_p": 1},
    "shift": {"shift": 0.2, "affine_p": 1},
    "affine": {"rotate": 90, "scale": 0.3, "shear": 10, "shift": 0.1, "affine_p": 1},
    "grid": {"grid": 0.5, "grid_p": 1},
    "elastic": {"elastic_px": 4, "elastic_cell_px": 16, "elastic_p": 1},
    "optical": {"optical": 0.3, "optical_p": 1},
    "everything": {"hflip": 0.5, "rot90": True, "rotate": 20, "scale": 0.2, "shift": 0.1, "affine_p": 1, "grid": 0.3,
                   "grid_p": 1, "elastic_px": 2, "elastic_cell_px": 16, "elastic_p": 1},
}  # fmt: skip
"""Settings by name of the change."""

RECOLORINGS: Final[dict[str, dict[str, Any]]] = {
    "brightness": {"brightness": 0.3},
    "contrast": {"contrast": 0.3},
    "saturation": {"saturation": 0.3},
    "hue": {"hue": 0.3},
    "stain": {"stain": 0.3},
    "nuclei": {"nuclei": 0.3, "nuclei_p": 1},
    "gamma": {"gamma": 1, "gamma_p": 1},
    "clahe": {"clahe": 4, "clahe_p": 1},
    "blur": {"blur_px": 2, "blur_p": 1},
    "noise": {"noise": 0.1, "noise_p": 1},
    "motion": {"motion_px": 6, "motion_p": 1},
    "glass": {"glass_px": 2, "glass_p": 1},
    "emboss": {"emboss": 1, "emboss_p": 1},
    "pca": {"pca": 0.5, "pca_p": 1},
    "reinhard": {"style": 1, "style_p": 1},
    "macenko": {"style": 1, "style_p": 1, "style_way": "macenko"},
    "fourier": {"style": 1, "style_p": 1, "style_way": "fourier"},
    "randstain": {"style": 1, "style_p": 1, "style_way": "randstain"},
}


PICTURES: Final = torch.from_numpy(
    np.random.default_rng(9).integers([[[[90]], [[20]], [[60]]]], [[[[250]], [[180]], [[220]]]], (5, 3, 24, 24))
).to(torch.uint8)
"""Stainings that others get."""


def config_of(**changes: Any) -> AugmentConfig:
    """Nothing but these changes; probabilities are 1 where they are not said."""
    off = {"hflip": 0, "vflip": 0, "rot90": False, "brightness": 0, "contrast": 0, "saturation": 0, "hue": 0}
    probabilities = {name: 1.0 for name in AugmentConfig.__struct_fields__ if name.endswith("_p")}
    return AugmentConfig(**{**off, **probabilities, **changes})


def augmented(
    changes: dict[str, Any], images: Tensor, targets: Tensor, *, at: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Apply nothing but these changes at (epoch, step) of a training with seed 1."""
    return Augmenter(config_of(**changes), seed=1, source=PICTURES)(images, targets, epoch=at[0], step=at[1])
