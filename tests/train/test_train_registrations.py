"""One file adds a loss term, an augmentation or a network: recipes, their validation, pages and training know it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TERM = '''
from __future__ import annotations
from typing import Annotated, ClassVar
from qpkit.settings import Range
from qpkit_train.losses.terms import Scored, Term

class Sharp(Term, frozen=True, kw_only=True):
    """Mean absolute logit.

    Args:
        sharp_weight: How much it counts.
    """

    sharp_weight: Annotated[float, Range(above=0, at_most=9)] = 2.0
    name: ClassVar = "sharp"

    def value(self, scored: Scored):
        return self.sharp_weight * scored.logits.abs().mean()
'''
USE_TERM = """
from qpkit_train.recipe.load import load_recipe
from qpkit_train.losses.loss import make_loss
import torch
recipe = load_recipe("unet-resnet18", ["loss.terms=sharp", "loss.sharp_weight=3"])
assert float(make_loss(recipe.loss, background=0)(torch.ones(1, 2, 4, 4), torch.zeros(1, 4, 4).long())) == 3
bad = ["loss.sharp_weight=10", "loss.sharp_weight = 10.0 has to be in 0..9, not 0"]
"""
TRANSFORM = '''
from __future__ import annotations
from typing import Annotated, ClassVar
from qpkit.settings import FRACTION
from qpkit_train.augment.transforms import Recolor

class Dim(Recolor, frozen=True, kw_only=True):
    """Darker images.

    Args:
        dim: How much darker.
    """

    dim: Annotated[float, FRACTION] = 0.0
    place: ClassVar = 200
    stream: ClassVar = ("dim", 200)
    shown: ClassVar = (("dim", "darker by {:g}", ""),)

    def apply(self, images, stream):
        return images * (1 - self.dim)
'''
USE_TRANSFORM = """
from qpkit_train.recipe.load import load_recipe
from qpkit_train.augment.augmenter import Augmenter
from qpkit_train.augment.transforms import settings_shown
import torch
off = ["augment.brightness=0", "augment.contrast=0", "augment.saturation=0", "augment.hue=0"]
recipe = load_recipe("unet-resnet18", [*off, "augment.dim=0.5"])
white = torch.full((2, 3, 8, 8), 255, dtype=torch.uint8)
changed, _ = Augmenter(recipe.augment, seed=0)(white, torch.zeros(2, 8, 8, dtype=torch.uint8), epoch=0, step=0)
assert (changed == 0.5).all()
assert ("dim", "darker by 0.5", "100%") in settings_shown(recipe.augment)[0]
bad = ["augment.dim=2", "augment.dim = 2.0 has to be in 0..1"]
"""
NETWORK = """
from torch import nn
from qpkit_train.models.own import architecture

@architecture("pixelwise", has_encoder=False)
def build(classes, *, width=4):
    return nn.Sequential(nn.Conv2d(3, width, 1), nn.Conv2d(width, classes, 1))
"""
USE_NETWORK = """
from qpkit_train.models.registry import build_untrained
from qpkit_train.recipe.load import load_recipe
import torch
settings = ["model.architecture=pixelwise", "model.encoder=none", "model.encoder_weights=none"]
settings.append("model.options={width=8}")
network = build_untrained(load_recipe("unet-resnet18", settings).model, 3)
assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 3, 32, 32)
bad = ["optim.lr=0", "optim.lr = 0.0 has to be a positive number"]
"""
CHECK = """
from qpkit.errors import ConfigError
try:
    load_recipe("unet-resnet18", [bad[0]])
except ConfigError as err:
    assert bad[1] in str(err), err
else:
    raise AssertionError("not refused")
"""


@pytest.mark.parametrize(
    ("package", "file", "use"),
    [
        ("qpkit_train.losses.terms", TERM, USE_TERM),
        ("qpkit_train.augment.transforms", TRANSFORM, USE_TRANSFORM),
        ("qpkit_train.models.own", NETWORK, USE_NETWORK),
    ],
)
def test_one_file_is_all_that_an_addition_takes(package: str, file: str, use: str, tmp_path: Path) -> None:
    (tmp_path / "added.py").write_text(file)
    code = f"import {package}\n{package}.__path__.append({str(tmp_path)!r})\n{use}{CHECK}"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
