"""The Python of README.md and docs/*.md runs on the sample study, a page's blocks one after the other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from documented_commands import PAGES
from how_commands_run import SHORT, TINY

from command_line import run
from qpkit.dataset import read_tile_set
from shared_data import DOCS

pytest.importorskip("torch", reason="torch is not installed (extra: train)")

_BLOCK: Final = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)

_ONLY_COMPILED: Final = {
    "cluster.md": "needs Slurm and dask-jobqueue",
    "training.md": "shows where a network of one's own is registered; tests/train/models registers some",
}

_STANDS_FOR: Final = {
    '"project.qpproj"': '"study/project.qpproj"',
    "P4 test.svs": "patient_D.tif",
    "mpp=0.5, tile_size=512": "mpp=2, tile_size=128",
    "tile_size=256": "mpp=2, tile_size=128",
    '["optim.epochs=60"]': "SHORT",
    '["optim.epochs=6"]': "SHORT",
}
"""What is run for the names and sizes of the pages."""


def blocks_of(page: Path) -> list[str]:
    """The Python of a page."""
    return _BLOCK.findall(page.read_text(encoding="utf-8"))


WITH_PYTHON: Final = [page for page in PAGES if page.name != "api.md" and blocks_of(page)]
"""Without the page of signatures."""


def adapted(block: str) -> str:
    """The block for the sample study."""
    for old, new in _STANDS_FOR.items():
        block = block.replace(old, new)
    return block


@pytest.mark.slow
@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in WITH_PYTHON])
def test_the_python_of_a_page_runs(
    page: Path, one_torch_thread: None, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = [compile(adapted(block), f"{page.name}, block {n}", "exec") for n, block in enumerate(blocks_of(page), 1)]
    if page.name in _ONLY_COMPILED:
        pytest.skip(f"only compiled: {_ONLY_COMPILED[page.name]}")
    monkeypatch.chdir(study.parent)
    put_pannuke()
    names: dict[str, Any] = {"SHORT": [*SHORT, *TINY, "model.encoder_weights=none"]}
    for block in blocks:
        exec(block, names)
    if page.name == "folders.md":
        check_folders()


def test_what_stands_for_something_is_on_a_page() -> None:
    texts = [block for page in WITH_PYTHON for block in blocks_of(page)]
    assert not [old for old in _STANDS_FOR if not any(old in text for text in texts)]
    assert set(_ONLY_COMPILED) <= {page.name for page in WITH_PYTHON}


def put_pannuke() -> None:
    """Two pictures as PanNuke has them: a channel of numbered nuclei for each class, the last one their background."""
    rng = np.random.default_rng(7)
    masks = np.zeros((2, 64, 64, 6))
    for number, (channel, x) in enumerate([(0, 4), (0, 20), (2, 40)], start=1):
        masks[:, 10:20, x : x + 8, channel] = number
    masks[..., 5] = masks.max(axis=-1) == 0
    Path("fold1").mkdir()
    np.save("fold1/images.npy", rng.integers(60, 250, (2, 64, 64, 3)).astype(np.float64))
    np.save("fold1/masks.npy", masks)


def check_folders() -> None:
    """The sentence above that block is a command: three nuclei of two classes are drawn."""
    words = "pannuke -o tiles --instances pannuke/classes --mpp 0.25 --group-pattern ^(fold[0-9])"
    assert words.replace(" ^(fold[0-9])", ' "^(fold[0-9])"') in (DOCS / "folders.md").read_text(encoding="utf-8")
    assert run("import-tiles", *words.split()) == 0
    tiles = read_tile_set(Path("tiles"))
    counted = {name for tile in tiles.tiles for name in np.unique(tiles.read_mask(tile)).tolist()}
    assert len(counted) == 3
