"""What tissue looks like to the encoder of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_tiles import MakeTiles, paint, square_mask, tiny_recipe

from qpkit.errors import ConfigError
from qpkit_train.encoder_look import encoder_look
from qpkit_train.loop import fit


def test_the_encoder_of_a_run_tells_pictures_apart(make_tiles: MakeTiles, tmp_path: Path) -> None:
    fit(make_tiles(), tmp_path / "run", tiny_recipe("optim.epochs=1"))
    look = encoder_look(str(tmp_path / "run"))
    assert look.mpp == 0.5 and look.name.startswith("the encoder of run ")
    rng = np.random.default_rng(0)
    lesions, others = ([look(paint(square_mask(rng, value, 96), rng)) for _ in range(2)] for value in (1, 3))
    assert np.array_equal(look(np.zeros((70, 50, 3), np.uint8)), look(np.zeros((70, 50, 3), np.uint8)))
    near = np.linalg.norm(lesions[0] - lesions[1])
    assert near < np.linalg.norm(lesions[0] - look(np.full((96, 96, 3), 255, np.uint8)))
    assert lesions[0].shape == others[0].shape and lesions[0].ndim == 1 and np.isfinite(others).all()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nowhere", "neither a run folder nor ENCODER:WEIGHTS"),
        ("resnet18:", "neither a run folder nor ENCODER:WEIGHTS"),
        ("resnet18:none", "random weights see nothing"),
        ("nosuch:imagenet", "'nosuch' is unknown"),
        ("resnet18:there.pth", "there.pth"),
    ],
)
def test_what_is_no_encoder_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        encoder_look(text)
