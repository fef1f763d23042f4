"""What only the surroundings tell is learned by networks that see them, and by no other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_tiles import HOOKNET, LABELS, record, tiny_recipe

from qpkit.core.labels import label_map_to_builtins
from qpkit.dataset import write_tile_set
from qpkit_train.loop import fit

STEPS = ("optim.epochs=2", "optim.steps_per_epoch=20", "optim.lr=1e-2", "sampler.ratio=[1,1]", "data.batch_size=6",
         "augment.rotate=45", "data.crop_px=32", "loss.branch_weights=[]")  # fmt: skip


def noise(rng: np.random.Generator, mean: float) -> np.ndarray:
    pixels: np.ndarray = rng.normal(mean, 20, (64, 64, 3)).clip(0, 255).astype(np.uint8)
    return pixels


@pytest.fixture
def alike(tmp_path: Path) -> Path:
    """Tiles of one kind of noise, which are lesions where it is bright around them."""
    root, rng, tiles = tmp_path / "alike", np.random.default_rng(0), []
    root.mkdir()
    for number in range(36):
        is_lesion = number % 2 == 1
        mask = np.full((64, 64), int(is_lesion), np.uint8)
        tile = record(number, "train" if number < 24 else "val", mask, (4,))
        wide = noise(rng, 200 if is_lesion else 60)
        wide[24:40, 24:40] = noise(rng, 120)[24:40, 24:40]
        for path, pixels in ((tile.image, noise(rng, 120)), (tile.mask, mask), (tile.others["image_x4"], wide)):
            Image.fromarray(pixels).save(root / path)
        tiles.append(tile)
    layers = ["image", "mask", "image_x4"]
    info = {"labels": label_map_to_builtins(LABELS), "mpp": 0.5, "tile_size_px": 64, "layers": layers}
    write_tile_set(root, tiles, info)
    return root


@pytest.mark.parametrize(
    ("changes", "learns"),
    [
        (HOOKNET, True),
        (("model.architecture=multires", "model.options={}", "model.context=[4]"), True),
        (("model.architecture=context-stack", "model.context=[4]"), True),
        ((), False),
    ],
)
def test_lesions_that_only_their_surroundings_tell_are_found(
    alike: Path, tmp_path: Path, changes: tuple[str, ...], learns: bool
) -> None:
    report = fit(alike, tmp_path / "run", tiny_recipe(*changes, *STEPS))
    dice = {score.name: score.dice or 0.0 for score in report.scores}["Lesion"]
    assert dice > 0.9 if learns else dice < 0.75
