"""The report of a training: its figures are the run's, its tiles are the right ones, and it never costs the run."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_tiles import LABELS, TINY, MakeTiles, tiny_recipe

from browser import opened
from command_line import run
from qpkit.cli.shared.trainer import report_after_training
from qpkit.dataset import read_tile_set
from qpkit.errors import FormatError, OutputError
from qpkit.ops.scores.confusion import class_indices, class_scores, confusion_of, empty_confusion
from qpkit.report.figures.training import draw_curves, draw_scores_over_thresholds
from qpkit.report.values.tiles import RunEvaluation
from qpkit_train import evaluation as judging
from qpkit_train.evaluation import evaluate_run
from qpkit_train.inference.running.torch_model import Predictor
from qpkit_train.loop import fit
from qpkit_train.run_folder.records import State, read_run_file, read_state
from qpkit_train.run_folder.run import Run, load_run

OPTIONS = [part for text in TINY for part in ("--set", text)]


def trained(tiles: Path, root: Path, *overrides: str) -> tuple[Run, State]:
    fit(tiles, root, tiny_recipe("optim.epochs=1", *overrides))
    opened_run = load_run(root)
    state = read_state(root, run=opened_run.id)
    assert state is not None
    return opened_run, state


@pytest.mark.parametrize("override", ["seed=0", "loss.terms=bce", "optim.ema=0.5", "loss.class_weights=balanced"])
def test_the_judgement_finds_what_training_measured(make_tiles: MakeTiles, tmp_path: Path, override: str) -> None:
    """Tiles of 40 px, which are padded for the network, and a smoothed, weighted or independent loss."""
    tiles = make_tiles(train={0: 3, 1: 3, 3: 2, 255: 1}, val={0: 2, 1: 2, 3: 2}, size=40)
    opened_run, state = trained(tiles, tmp_path / "run", override)
    found = evaluate_run(opened_run)
    assert found.confusion.tolist() == state.confusion
    assert found.loss == pytest.approx(state.history[state.watch.best_epoch - 1]["val_loss"], rel=1e-4)
    assert (len(found.tiles), len(found.losses), found.validated_on) == (6, 6, "val")
    assert found.levels[:, 1].sum(axis=1).tolist() == found.confusion.sum(axis=1).tolist()
    assert found.confidence.sum() == found.confusion.sum()
    assert found.confidence[1].sum() == np.trace(found.confusion)


def test_the_tiles_shown_are_the_ones_with_the_highest_and_lowest_loss(make_tiles: MakeTiles, tmp_path: Path) -> None:
    tiles = make_tiles(val={0: 8, 1: 3, 3: 3})
    opened_run, _ = trained(tiles, tmp_path / "run")
    found = evaluate_run(opened_run)
    by_key = dict(zip([tile.key for tile in found.tiles], found.losses, strict=True))
    positive = [t.key for t in found.tiles if t.pixels.get(1) or t.pixels.get(3)]
    assert [t.loss for t in found.worst] == sorted(found.losses, reverse=True)[:7]
    assert [t.loss for t in found.best] == sorted(by_key[key] for key in positive)
    assert len(set(by_key.values())) > 7
    for item in (*found.worst, *found.best):
        assert by_key[item.tile.key] == item.loss


@pytest.mark.usefixtures("on_cpu")
def test_what_is_shown_of_a_tile_is_its_pixels_its_mask_and_what_the_model_says(
    make_tiles: MakeTiles, tmp_path: Path
) -> None:
    opened_run, _ = trained(make_tiles(), tmp_path / "run")
    tile_set = read_tile_set(Path(opened_run.file.tiles["path"]))
    predictor = Predictor(opened_run)
    for item in evaluate_run(opened_run).worst:
        assert np.array_equal(item.image, tile_set.read_image(item.tile))
        assert np.array_equal(item.truth, tile_set.read_mask(item.tile))
        said = predictor.answer(item.image[np.newaxis], halo=0, probabilities=False).indices
        own = class_indices(item.predicted, LABELS.trained_values)
        assert (own == said[0]).mean() > 0.999
        truth = class_indices(item.truth, LABELS.trained_values)
        scores = class_scores(confusion_of(truth, own, 3), ["background", "Lesion", "Other"])
        assert item.dice == {score.name: score.dice for score in scores}


def test_training_ends_with_a_report_that_a_browser_shows(make_tiles: MakeTiles, tmp_path: Path) -> None:
    assert run("train", make_tiles(), "-o", tmp_path / "run", "--recipe", "unet-resnet18", *OPTIONS) == 0
    text = (tmp_path / "run/report.html").read_text()
    file = read_run_file(tmp_path / "run")
    for row in file.metrics["classes"]:
        assert f'<td>{row["name"]}</td><td class="n">{row["support"]:,}</td><td class="n">{row["dice"]:.3f}' in text
    for words in (
        file.id,
        file.tiles["sha256"],
        file.versions["torch"],
        "decoder_channels",
        "Highest loss",
        "Training tiles shown",
    ):
        assert words in text
    assert "2 epoch(s)" in text and "not finished" not in text and "no tiles" not in text
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", text)
    found = opened(tmp_path / "run/report.html")
    assert found == {"images": 4 + 3 * 2 * 2, "broken": 0, "fetched": 0, "overflow": found["overflow"]}
    assert found["overflow"] <= 0
    assert run("report", tmp_path / "run", "--tiles", tmp_path / "nowhere") == 1
    assert (tmp_path / "run/report.html").read_text() == text
    assert run("report", tmp_path / "run", "-o", tmp_path / "again.html") == 0
    assert (tmp_path / "again.html").read_text() == text


def test_a_report_that_fails_does_not_lose_the_training(
    make_tiles: MakeTiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "run"
    trained(make_tiles(), root)
    for error in (OutputError("disk full"), MemoryError("no room"), ValueError("odd")):

        def fails(*_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr("qpkit_train.training_page.write_training_report", fails)
        report_after_training(root)
        assert f"no report.html: {error}" in capsys.readouterr().err
    others = tmp_path / "others"
    assert run("train", make_tiles(name="t"), "-o", others, "--recipe", "unet-resnet18", *OPTIONS) == 0
    assert "no report.html: odd; the run itself is complete" in capsys.readouterr().err
    assert load_run(others).file.status == "finished" and not (others / "report.html").exists()


def test_without_its_tiles_a_run_has_a_report_without_tiles_and_says_why(
    make_tiles: MakeTiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiles, root = make_tiles(), tmp_path / "run"
    opened_run, _ = trained(tiles, root)
    moved = tmp_path / "moved"
    shutil.move(tiles, moved)
    assert run("report", root) == 0
    said = "no tiles and no thresholds"
    assert said in capsys.readouterr().err and said in (root / "report.html").read_text()
    assert "Highest loss" not in (root / "report.html").read_text()
    assert run("report", root, "--tiles", moved) == 0
    assert said not in (root / "report.html").read_text() and "Highest loss" in (root / "report.html").read_text()
    with pytest.raises(FormatError, match="not the tiles that run"):
        evaluate_run(opened_run, tiles=make_tiles(train={1: 2}, name="others"))


def test_runs_that_were_cut_off_have_a_report_once_an_epoch_is_done(
    make_tiles: MakeTiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop_at(step: int) -> None:
        def on_progress(done: int, total: int, text: str) -> None:
            if done == step:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            fit(tiles, tmp_path / f"cut{step}", tiny_recipe(), on_progress=on_progress)

    tiles = make_tiles()
    stop_at(2)
    assert run("report", tmp_path / "cut2") == 1
    assert "has not finished an epoch" in capsys.readouterr().err
    stop_at(7)
    assert run("report", tmp_path / "cut7", "-o", tmp_path / "page.html") == 0
    assert "interrupted (not finished)" in (tmp_path / "page.html").read_text()
    assert run("report", tmp_path / "cut7", "-o", tmp_path / "page.pdf") == 1
    assert run("report", tmp_path / "nowhere") == 1


def test_figures_of_training_tiles_are_called_that(make_tiles: MakeTiles, tmp_path: Path) -> None:
    tiles = make_tiles(train={1: 4}, val={})
    trained(tiles, tmp_path / "run", "sampler.ratio=[1,0]")
    assert run("report", tmp_path / "run") == 0
    text = (tmp_path / "run/report.html").read_text()
    assert "on TRAINING tiles" in text and "the figures are better than the model is" in text
    assert "No measured pixel is Other." in text


def test_few_tiles_are_not_shown_twice(make_tiles: MakeTiles, tmp_path: Path) -> None:
    opened_run, _ = trained(make_tiles(val={1: 3}), tmp_path / "run")
    found: RunEvaluation = evaluate_run(opened_run)
    assert len(found.worst) == len(found.best) == 1 < judging.SHOWN
    assert found.worst[0].tile != found.best[0].tile


def test_letters_that_no_font_has_do_not_stop_the_report(make_tiles: MakeTiles, tmp_path: Path) -> None:
    tiles = make_tiles()
    info = tiles / "export.json"
    info.write_text(info.read_text().replace('"Lesion"', '"\u816b\u760d"'))
    trained(tiles, tmp_path / "run")
    assert run("report", tmp_path / "run") == 0
    assert "\u816b\u760d" in (tmp_path / "run/report.html").read_text()


def test_curves_are_drawn_of_one_epoch_with_gaps_and_odd_letters() -> None:
    name = "a_1 & <b>"
    row = {"epoch": 1, "lr": 0.1, "train_loss": 1.0, "val_loss": 2.0, "mean_dice": None, "dice": {name: None}}
    assert draw_curves([row], [name], best_epoch=1).startswith(b"\x89PNG")
    scores = class_scores(empty_confusion(1), [name])
    assert draw_scores_over_thresholds({name: scores * 256}).startswith(b"\x89PNG")
    assert draw_scores_over_thresholds({str(n): scores * 256 for n in range(4)}).startswith(b"\x89PNG")
