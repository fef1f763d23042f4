"""Several recipes side by side."""

from __future__ import annotations

import csv
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image
from tiny_tiles import TINY, MakeTiles, tiny_recipe

import command_line
from qpkit.cli import main
from qpkit.errors import ConfigError, OutputError
from qpkit.report.figures import curves
from qpkit_train.compare import compare
from qpkit_train.recipe.load import load_recipe
from qpkit_train.recipe.settings import Recipe
from qpkit_train.run_folder.run import load_run


class Killed(Exception):
    """What a killed process looks like from inside."""


def named(name: str, *overrides: str) -> Recipe:
    return msgspec.structs.replace(tiny_recipe(*overrides), name=name)


def rows(root: Path) -> list[dict[str, str]]:
    with (root / "compare.csv").open() as file:
        return list(csv.DictReader(file))


def test_every_recipe_has_its_run_and_its_row(make_tiles: MakeTiles, tmp_path: Path) -> None:
    recipes = [named("free"), named("frozen", "model.freeze_encoder=true", "optim.epochs=3")]
    report = compare(make_tiles(), tmp_path / "c", recipes)
    assert [model.fit.recipe for model in report.models] == ["free", "frozen"] and not report.failed
    for row, recipe in zip(rows(tmp_path / "c"), recipes, strict=True):
        run = load_run(tmp_path / "c" / recipe.name)
        assert (row["recipe"], row["run"], row["encoder"]) == (recipe.name, run.id, "resnet18")
        assert float(row["mean_dice"]) == run.file.metrics["mean_dice"]
        assert float(row["mean_iou"]) == run.file.metrics["mean_iou"]
        assert int(row["parameters"]) == run.file.parameters["all"]
        assert int(row["learning"]) == run.file.parameters["learning"]
        assert float(row["seconds"]) == run.file.seconds > 0
        assert {int(row["epochs"]), len(report.models[recipes.index(recipe)].history)} == {recipe.optim.epochs}
        by_class = {item["name"]: item["dice"] for item in run.file.metrics["classes"]}
        assert float(row["dice_background"]) == by_class["background"]
    with Image.open(tmp_path / "c" / "compare.png") as picture:
        assert picture.width > 1500 and len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 50


def test_a_killed_comparison_takes_over_what_is_finished_and_goes_on(make_tiles: MakeTiles, tmp_path: Path) -> None:
    tiles, recipes = make_tiles(), [named("a"), named("b", "optim.lr=1e-4")]
    whole = compare(tiles, tmp_path / "whole", recipes)

    def dies(done: int, total: int, text: str) -> None:
        if "2/2 b" in text and done == 7:
            raise Killed

    with pytest.raises(Killed):
        compare(tiles, tmp_path / "cut", recipes, on_progress=dies)
    assert [row["recipe"] for row in rows(tmp_path / "cut")] == ["a"]
    seen: list[str] = []
    cut = compare(tiles, tmp_path / "cut", recipes, on_progress=lambda done, total, text: seen.append(text[:5]))
    assert [(model.taken_over, model.fit.resumed_from) for model in cut.models] == [(True, 2), (False, 1)]
    assert set(seen) == {"2/2 b"}
    assert [model.fit.scores for model in cut.models] == [model.fit.scores for model in whole.models]
    curves = [[(row["train_loss"], row["val_loss"]) for row in model.history] for model in cut.models]
    assert curves == [[(row["train_loss"], row["val_loss"]) for row in model.history] for model in whole.models]


def test_a_recipe_that_cannot_be_trained_is_named_and_the_others_go_on(
    make_tiles: MakeTiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the command line with exit code 2; without network the default recipe's weights cannot be had."""
    settings = [part for text in (*TINY, "optim.epochs=1") for part in ("--set", text)]
    arguments = ["train", make_tiles(), "--compare", "unet-resnet34, unet-resnet18", "-o", tmp_path / "c", *settings]
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    shown = capsys.readouterr()
    assert end.value.code == 2
    assert "not trained: unet-resnet34: model.encoder_weights" in shown.err
    assert "unet-resnet18" in shown.out and [row["recipe"] for row in rows(tmp_path / "c")] == ["unet-resnet18"]


def test_every_run_of_a_comparison_has_its_page_in_the_end(make_tiles: MakeTiles, tmp_path: Path) -> None:
    """Pages come after all trainings, so a comparison that was killed has finished runs without one."""
    changes = (*TINY, "optim.epochs=1", "model.encoder=resnet18", "model.encoder_weights=none")
    settings = [part for text in changes for part in ("--set", text)]
    recipes = "unet-resnet18,unet-resnet34"
    arguments = ["train", make_tiles(), "--compare", recipes, "-o", tmp_path / "c", *settings]
    assert command_line.run(*arguments) == 0
    pages = sorted((tmp_path / "c").glob("*/report.html"))
    assert len(pages) == 2
    written = pages[0].stat().st_mtime_ns
    pages[1].unlink()
    assert command_line.run(*arguments) == 0
    assert pages[1].is_file() and pages[0].stat().st_mtime_ns == written


def test_comparisons_that_cannot_work_are_refused_before_anything_is_trained(
    make_tiles: MakeTiles, tmp_path: Path
) -> None:
    tiles, one = make_tiles(), named("a")
    with pytest.raises(ConfigError, match="a is there 2 times"):
        compare(tiles, tmp_path / "c", [one, one])
    with pytest.raises(ConfigError, match="at least two"):
        compare(tiles, tmp_path / "c", [one])
    with pytest.raises(ConfigError, match="bracs-classifier classifies tiles"):
        compare(tiles, tmp_path / "c", [one, load_recipe("bracs-classifier")])
    with pytest.raises(ConfigError, match="no recipe could be trained"):
        compare(tiles, tmp_path / "c", [named(name, "model.architecture=unett") for name in "ab"])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").touch()
    with pytest.raises(OutputError, match="a comparison takes a folder of its own"):
        compare(tiles, tmp_path / "run", [one, named("b")])


def test_a_loss_that_ran_away_leaves_the_other_curves_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(curves, "png_of", lambda figure: drawn.append(figure.axes[0].get_yscale()) or b"")
    for first in (2.0, 200_000.0):
        rows = [
            {"epoch": i + 1, "train_loss": 1.0, "val_loss": loss, "mean_dice": 0.5}
            for i, loss in enumerate((first, 1.2))
        ]
        curves.comparison_png({"a": rows}, {"a": (0.5, 0.4)}, sizes={"a": "small"}, where="val")
    assert drawn == ["linear", "log"]
