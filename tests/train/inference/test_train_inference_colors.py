"""A model that was trained on other colours than it predicts says so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from small_project import HEIGHT, WIDTH, small_project
from tiny_tiles import LABELS, tiny_recipe

from profiles_made_up import write_slide
from qpkit.dataset import read_tile_set
from qpkit.dataset.splits import SplitRule
from qpkit.qupath import Project
from qpkit.slides import EMBEDDED, Colors, SlideSource
from qpkit.workflows.export.settings import ExportSettings, TissueRule
from qpkit.workflows.export.tiles import export_tiles
from qpkit.workflows.inputs.settings import SlideSettings
from qpkit.workflows.inputs.slides import project_classes, slide_inputs
from qpkit_train.inference.colors import notes_on_colors
from qpkit_train.inference.predict import predict
from qpkit_train.inference.settings import PredictSettings
from qpkit_train.loop import fit
from qpkit_train.models.card import ModelCard

PLAIN = {"icc": "", "target": "", "background": [255, 255, 255]}
BY_ITS_OWN = PLAIN | {"icc": EMBEDDED}


def sources(*icc: str) -> list[SlideSource]:
    return [SlideSource(name=f"s{number}", path=Path("s"), colors=Colors(icc=name)) for number, name in enumerate(icc)]


@pytest.mark.parametrize(
    ("learned", "shown", "said"),
    [
        ([PLAIN], ["", ""], ""),
        ([PLAIN], ["", EMBEDDED], "colours as in the file, but shown in sRGB by ICC profiles here are s1: "),
        ([BY_ITS_OWN], ["", "/a.icc"], "colours in sRGB by ICC profiles, but shown as in the file here are s0: "),
        ([BY_ITS_OWN], [EMBEDDED], ""),
        ([PLAIN, BY_ITS_OWN], ["", EMBEDDED], ""),
        (None, [EMBEDDED], ""),
    ],
)
def test_slides_in_other_colors_than_the_training_tiles_are_named(
    learned: list[dict[str, object]] | None, shown: list[str], said: str
) -> None:
    trained = {"tiles": {} if learned is None else {"colors": learned}}
    card = ModelCard(
        run="r", name="n", where="w", labels=LABELS, mpp=0.5, downsample=None, trained=trained, versions={}
    )
    notes = notes_on_colors(card, sources(*shown))
    assert len(notes) == bool(said) and all(said in note for note in notes)


def test_runs_and_predictions_say_their_colors(tmp_path: Path) -> None:
    project = small_project(tmp_path)
    for name in ("a", "b"):
        pixels = np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        write_slide(tmp_path / f"slides/{name}.tif", pixels)
    runs = {}
    for icc in ("none", "embedded"):
        run = tmp_path / f"run-{icc}"
        fit(_tiles(project, tmp_path / f"tiles-{icc}", icc), run, tiny_recipe("optim.epochs=1"))
        runs[icc] = json.loads((run / "run.json").read_text(encoding="utf-8"))
    assert runs["none"]["tiles"]["colors"] == [PLAIN]
    assert runs["embedded"]["tiles"]["colors"] == [BY_ITS_OWN]
    assert runs["none"]["id"] != runs["embedded"]["id"]
    (plain, *_) = [item.source for item in slide_inputs([project.path])]
    settings = PredictSettings(tile_px=64, halo_px=32, only_tissue=False)
    report = predict(tmp_path / "run-embedded", [plain], tmp_path / "out", settings)
    assert any("learned from colours in sRGB by ICC profiles" in note for note in report.notes)
    (row,) = json.loads((tmp_path / "out/predictions.json").read_text(encoding="utf-8"))["info"]["slides"]
    assert row["colors"] == PLAIN


def _tiles(project: Project, out: Path, icc: str) -> Path:
    inputs = slide_inputs([project.path], SlideSettings(icc=icc))
    settings = ExportSettings(
        tile_size=64, mpp=0.5, split=SplitRule.parse("metadata:Split"), tissue=TissueRule.parse("none"), store="none"
    )
    export_tiles(inputs, out, settings, classes=project_classes([project.path]))
    assert len(read_tile_set(out).tiles) == 40
    return out
