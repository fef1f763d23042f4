"""qpkit rounds: what is labelled, what is counted, when it ends, and that a killed one goes on."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
import torch
from part_labelled import UNKNOWN, part_labelled
from tiny_tiles import LABELS, TINY

from command_line import run
from qpkit.dataset import read_tile_set
from qpkit.errors import ConfigError
from qpkit.progress import no_progress
from qpkit.rounds.pseudo_labels import play
from qpkit.rounds.pseudo_labels.play import pseudo_label_rounds, table_rows
from qpkit.rounds.pseudo_labels.selection import Rule
from qpkit.rounds.pseudo_labels.settings import RoundsFile, RoundsSettings, read_rounds, resolved, shipped_text
from qpkit.rounds.pseudo_labels.tiles import label_tiles
from qpkit.rounds.pseudo_labels.verdict import Scores, judged
from qpkit_train.loop import fit
from qpkit_train.recipe.load import load_recipe

HOW = [*TINY, "optim.epochs=1", "optim.steps_per_epoch=2", "optim.lr=3e-3", "optim.ema=0.5"]

TOML = """
tiles = "tiles"
truth = "truth"
out = "out"
accept = "always"

[[round]]
recipe = "unet-resnet18"

[[round]]
recipe = "unet-resnet18"
quantile = 0.5
agreement = true
max_px_per_class = 500
start = "teacher"
"""

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Tiles, truth, and a network that has seen the labelled ones."""
    root = tmp_path_factory.mktemp("rounds")
    tiles, truth = part_labelled(root)
    fit(tiles, root / "run", load_recipe("unet-resnet18", HOW))
    return tiles, truth, root / "run"


def schedule(folder: Path, **changed: object) -> RoundsSettings:
    tables = {**tomllib.loads(TOML), **changed}
    return resolved(msgspec.convert(tables, RoundsFile), folder, HOW, source="rounds.toml")


def test_truth_wins_everywhere_and_the_ledger_counts_what_is_there(
    base: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    tiles, truth, teacher = base
    opened, true = read_tile_set(tiles), read_tile_set(truth)
    added = label_tiles(opened, teacher, tmp_path / "t", Rule(quantile=0.25), truth=true, on_progress=no_progress)
    made = read_tile_set(tmp_path / "t")
    px, right = Counter[str](), Counter[str]()
    for old, new, whole in zip(opened.tiles, made.tiles, true.tiles, strict=True):
        before, after = opened.read_mask(old), made.read_mask(new)
        known = before != UNKNOWN
        assert (after[known] == before[known]).all()
        assert (made.read_image(new) == opened.read_image(old)).all()
        values, counts = np.unique(after, return_counts=True)
        assert new.pixels == dict(zip(values.tolist(), counts.tolist(), strict=True))
        is_new = ~known & (after != UNKNOWN)
        assert old.split == "train" or not is_new.any()
        assert new.origins == {"human": int(known.sum()), "predicted": int(is_new.sum())}
        assert bool(new.predicted_by) == bool(is_new.any())
        for value in LABELS.trained_values:
            px[LABELS.name_of(value)] += int((is_new & (after == value)).sum())
            right[LABELS.name_of(value)] += int((is_new & (after == value) & (true.read_mask(whole) == value)).sum())
    assert {row.class_name: row.px for row in added} == {row.class_name: px[row.class_name] for row in added}
    assert sum(px.values()) == sum(row.px for row in added) > 0
    assert all(row.right_px == right[row.class_name] and row.true_px == row.px for row in added)
    assert all(row.px == row.candidates_px - int(0.25 * row.candidates_px) for row in added)
    assert all(row.mm2 == pytest.approx(row.px * 0.25e-6) for row in added)


def test_above_1_nothing_is_added_and_the_tiles_are_those_of_the_export(
    base: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    tiles, _, teacher = base
    opened = read_tile_set(tiles)
    added = label_tiles(opened, teacher, tmp_path / "t", Rule(threshold=1.01), on_progress=no_progress)
    made = read_tile_set(tmp_path / "t")
    assert not any(row.px for row in added)
    for old, new in zip(opened.tiles, made.tiles, strict=True):
        assert (new.pixels, new.origins, new.predicted_by) == (old.pixels, old.origins, "")
        assert (made.read_mask(new) == opened.read_mask(old)).all()
        assert (tmp_path / "t" / new.image).resolve() == (tiles / old.image).resolve()


def test_the_last_weights_have_their_say(base: tuple[Path, Path, Path], tmp_path: Path) -> None:
    tiles, _, teacher = base
    opened, rule = read_tile_set(tiles), Rule(quantile=0.0)
    plain = label_tiles(opened, teacher, tmp_path / "a", rule, on_progress=no_progress)
    both = label_tiles(opened, teacher, tmp_path / "b", rule, agreement=True, on_progress=no_progress)
    assert 0 < sum(row.candidates_px for row in both) < sum(row.candidates_px for row in plain)


def test_a_killed_one_goes_on_and_ends_as_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
        part_labelled(folder)
    report = pseudo_label_rounds(schedule(whole))
    assert [item.teacher for item in report.rounds] == [None, 0]

    class Killed(BaseException):
        pass

    def breaking(name: str) -> None:
        """Let the next call of a step end like a process: once before it, once after it."""
        step = getattr(play, name)

        def broken(*args: object, **kwargs: object) -> object:
            monkeypatch.setattr(play, name, step)
            step(*args, **kwargs)
            raise Killed

        monkeypatch.setattr(play, name, broken)

    for name in ("train", "label_tiles", "validation_scores"):
        breaking(name)
        with pytest.raises(Killed):
            pseudo_label_rounds(schedule(parts))
    again = pseudo_label_rounds(schedule(parts))
    for one, other in zip(report.rounds, again.rounds, strict=True):
        assert one.scores == other.scores
        assert one.added == other.added
        assert one.verdict == other.verdict
    best = [(folder / "out/round-1/run/best.safetensors") for folder in (whole, parts)]
    from safetensors.torch import load_file

    one, other = map(load_file, best)
    assert all(torch.equal(one[name], other[name]) for name in one)
    rows = table_rows(again)
    assert 0 < rows[1]["added_px"] == sum(row.px for row in again.rounds[1].added) <= 3 * 500
    for name in ("rounds.png", "round-1/pseudo-labels.png"):
        assert (parts / "out" / name).read_bytes().startswith(b"\x89PNG")
    # Once more, as a user types it: everything is there.
    monkeypatch.setattr(play, "train", None)
    (parts / "rounds.toml").write_text(TOML)
    how = [part for text in HOW for part in ("--set", text)]
    assert run("rounds", parts / "rounds.toml", *how) == 0
    shown = capsys.readouterr()
    assert "Rounds, on the validation tiles" in shown.out
    assert "best: round 1" in shown.out + shown.err
    assert run("rounds", parts / "rounds.toml", *how, "--json") == 0
    assert json.loads(capsys.readouterr().out)["best"] == again.best == 1
    with pytest.raises(OSError, match="holds rounds with other settings"):
        pseudo_label_rounds(schedule(parts, patience=0))


def test_it_ends_after_a_round_without_help_and_the_one_before_is_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part_labelled(tmp_path)
    dice = iter([0.5, 0.6, 0.4])

    def trained(_: Path, out: Path, *__: object, **___: object) -> SimpleNamespace:
        out.mkdir(parents=True)
        return SimpleNamespace(run="run")

    monkeypatch.setattr(play, "train", trained)
    monkeypatch.setattr(play, "label_tiles", lambda *_, **__: ())
    monkeypatch.setattr(play, "pseudo_label_sheet", lambda *_: None)

    def scored(*_: object, **__: object) -> Scores:
        value = next(dice)
        return Scores(unit="patients", confusions={}, dice={"a": value, "b": value + 0.01}, by_class={}, mean=value)

    monkeypatch.setattr(play, "validation_scores", scored)
    rounds = [{"recipe": "unet-resnet18"}, *({"recipe": "unet-resnet18", "threshold": t} for t in (0.9, 0.8, 0.7))]
    report = pseudo_label_rounds(schedule(tmp_path, round=rounds, accept="better"))
    assert [item.accepted for item in report.rounds] == [True, True, False]
    assert [item.teacher for item in report.rounds] == [None, 0, 1]
    assert report.best == 1
    assert any("ended after round 2 of 3" in note for note in report.notes)


def test_a_verdict_is_of_pairs() -> None:
    def of(*values: float | None) -> Scores:
        return Scores(unit="patients", confusions={}, dice=dict(zip("abcd", values, strict=True)), by_class={}, mean=0)

    old, new = of(0.2, 0.9, 0.5, None), of(0.3, 0.95, 0.45, 0.9)
    found = judged(new, old, accept="better")
    assert found.n == 3
    assert found.difference == pytest.approx(0.1 / 3)
    assert found.accepted
    assert found.low is not None
    assert found.low < 0
    assert not judged(new, old, accept="surely").accepted
    assert judged(old, new, accept="always").accepted


@pytest.mark.parametrize("name", ["small", "published"])
def test_the_shipped_schedules_are_whole(name: str, tmp_path: Path) -> None:
    (tmp_path / "rounds.toml").write_text(shipped_text(name))
    settings = read_rounds(tmp_path / "rounds.toml")
    assert settings.tiles == tmp_path / "tiles"
    if name == "published":
        assert [item.threshold for item in settings.file.rounds] == [None, 0.8, 0.7, 0.6, 0.5, 0.4]
        assert [r.optim.epochs for r in settings.recipes] == [20, 5, 5, 5, 5, 10]
        assert [r.optim.lr for r in settings.recipes] == [0.01, 5e-3, 1e-3, 7e-4, 5e-4, 1e-4]
        assert [r.model.encoder[-2:] for r in settings.recipes] == ["b0", *["b4"] * 5]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"round": [{"recipe": "unet-resnet18"}]}, "at least two"),
        ({"round": [{"recipe": "unet-resnet18"}, {"recipe": "unet-resnet18"}]}, "a threshold or a quantile"),
        ({"round": [{"recipe": "x"}, {"recipe": "unet-resnet18", "quantile": 1.5}]}, "in 0..1.*no such recipe"),
        (
            {"set": {"optim": {"ema": 0.0}}, "round": [
                {"recipe": "unet-resnet18", "set": {"optim": {"lr": -1.0}}},
                {"recipe": "unet-resnet18", "threshold": 0.9},
            ]},
            "round 0: .*optim.lr",
        ),
    ],
)  # fmt: skip
def test_faults_are_named_before_anything_is_trained(changed: dict[str, object], said: str, tmp_path: Path) -> None:
    tables = {"tiles": "tiles", "out": "out", **changed}
    with pytest.raises(ConfigError, match=said):
        resolved(msgspec.convert(tables, RoundsFile), tmp_path, source="rounds.toml")


def test_what_rounds_cannot_work_with_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiles, truth = part_labelled(tmp_path)
    (tmp_path / "rounds.toml").write_text(shipped_text("small"))
    shutil.rmtree(tiles)
    shutil.copytree(truth, tiles)
    assert run("rounds", tmp_path / "rounds.toml") == 1
    assert "no training pixel is unlabelled" in capsys.readouterr().err
    info = json.loads((tiles / "export.json").read_text())
    (tiles / "export.json").write_text(json.dumps({**info, "store": "shards"}))
    assert run("rounds", tmp_path / "rounds.toml") == 1
    assert "--store files" in capsys.readouterr().err.replace("\n", " ")
    assert run("rounds", tmp_path / "none.toml") == 1
    assert "qpkit rounds --example small" in capsys.readouterr().err.replace("\n", " ")
    (tmp_path / "bad.toml").write_text("tiles = 3")
    assert run("rounds", tmp_path / "bad.toml") == 1
    assert "Traceback" not in capsys.readouterr().err
    assert not (tmp_path / "rounds").exists()
