"""Training takes tiles from files, from shards and straight from the slides, and it makes no difference."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_tiles import tiny_recipe

from qpkit.dataset.splits import SplitRule
from qpkit.errors import FormatError
from qpkit.workflows.export import export_tiles
from qpkit.workflows.export_settings import ExportSettings
from qpkit.workflows.sources import project_classes, slide_inputs
from qpkit.workflows.tissue_rule import TissueRule
from qpkit_train.loop import fit

OTHERS = ("shards", "none")


def export(project: Path, out: Path, store: str) -> Path:
    settings = ExportSettings(
        mpp=4.0,
        tile_size=64,
        tissue=TissueRule.parse("otsu"),
        split=SplitRule.parse("metadata:Split"),
        store=store,  # type: ignore[arg-type]
    )
    export_tiles(slide_inputs([project]), out, settings, classes=project_classes([project]))
    return out


def train(tiles: Path, out: Path, *, workers: int = 0) -> dict[str, torch.Tensor]:
    fit(tiles, out, tiny_recipe("optim.epochs=1", "data.crop_px=32", f"data.workers={workers}"))
    return load_file(out / "best.safetensors")


def test_files_shards_and_slides_train_the_same_model(made_study: Path, tmp_path: Path) -> None:
    expected = train(export(made_study, tmp_path / "files", "files"), tmp_path / "run")
    for store in OTHERS:
        tiles = export(made_study, tmp_path / store, store)
        for workers in (0, 2):
            found = train(tiles, tmp_path / f"run-{store}-{workers}", workers=workers)
            assert found.keys() == expected.keys()
            assert all(torch.equal(found[name], expected[name]) for name in expected), (store, workers)


@pytest.mark.parametrize("store", OTHERS)
def test_training_on_tiles_that_are_gone_says_so_in_one_line(study: Path, tmp_path: Path, store: str) -> None:
    tiles = export(study, tmp_path / "tiles", store)
    (study / "slides" if store == "none" else tiles / "shards").rename(tmp_path / "gone")
    with pytest.raises(FormatError, match="patient"):
        train(tiles, tmp_path / "run")
