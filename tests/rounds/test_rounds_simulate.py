"""The loop played with a project's own annotations: what a round knows, what it costs, and what a kill leaves."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely
from small_project import CLASSES, small_project

from command_line import run
from qpkit.core.annotation import Annotation, PathClass
from qpkit.core.label_map import LabelClass, LabelMap
from qpkit.dataset import read_tile_set
from qpkit.dataset.splits import SplitRule
from qpkit.errors import ConfigError, OutputError, ProjectError
from qpkit.qupath import read_geojson
from qpkit.rounds.simulate.result import Score, baselines_of, points_of, verdicts
from qpkit.rounds.simulate.settings import SimulateSettings, Strategy
from qpkit.rounds.simulate.study import Study, study_of
from qpkit.workflows.export.settings import ExportSettings
from qpkit.workflows.export.tiles import export_tiles
from qpkit.workflows.inputs.tissue_rule import TissueRule
from qpkit.workflows.suggest.candidates import TextureLook

pytestmark = [
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
    pytest.mark.usefixtures("one_torch_thread"),
]

SIDE = 64
"""Of a square, px: 32 um."""

SETTINGS = SimulateSettings(region_um=32.0, min_tissue=0.0, n=3, rounds=2, steps=2, strategies=("suggest", "random"))
LABELS = LabelMap(
    classes=(LabelClass("Stroma", 1, ("Stroma",)), LabelClass("Tumor", 2, ("Tumor",))),
    unannotated="ignore",
    regions=("Region*",),
    ignored=("Ignore*",),
)
EXPORT = ExportSettings(
    downsample=1, tile_size=64, tissue=TissueRule(by="none"), split=SplitRule("metadata", "Split"), labels=LABELS
)
NETWORK = (
    "data.batch_size=2", "data.crop_px=0", "data.workers=0", "model.encoder_depth=3", "model.encoder_weights=none",
    "model.options.decoder_channels=[16,8,8]", "optim.epochs=2", "precision=32-true",
)  # fmt: skip


def region(left: float, top: float, right: float, bottom: float, name: str = "Region*") -> Annotation:
    return Annotation(geometry=shapely.box(left, top, right, bottom), path_class=PathClass((name,)))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training, a validation and a test slide: a region that is no multiple of squares, objects across squares."""
    tumor = [
        Annotation(geometry=shapely.box(x, y, x + 40, y + 30), path_class=CLASSES[(x + y) % 2])
        for x in range(10, 250, 60)
        for y in range(7, 240, 51)
    ]
    hole = Annotation(geometry=shapely.Point(150, 130).buffer(50).difference(shapely.Point(150, 130).buffer(20)),
                      path_class=CLASSES[0])  # fmt: skip
    ignored = region(100, 30, 130, 77, "Ignore*")
    own = [region(5, 5, 290, 230), *tumor, hole, ignored]
    return small_project(tmp_path_factory.mktemp("study"), [own, own, own]).path


def study(project: Path, settings: SimulateSettings = SETTINGS, export: ExportSettings = EXPORT) -> Study:
    return study_of(project, settings, export, TextureLook())


def masks(root: Path) -> dict[tuple[str, float, float], np.ndarray]:  # type: ignore[type-arg]
    tiles = read_tile_set(root)
    return {(tile.slide, tile.x, tile.y): tiles.read(tile, "mask") for tile in tiles.tiles}


@pytest.mark.parametrize("unannotated", ["ignore", "background"])
def test_a_round_knows_the_truth_in_its_squares_and_nothing_else(
    project: Path, tmp_path: Path, unannotated: str
) -> None:
    labels = replace(LABELS, unannotated=unannotated, regions=LABELS.regions if unannotated == "ignore" else ())
    made = study(project, export=replace(EXPORT, labels=labels))
    chosen = list(made.pool[1:12:3])
    items, export = made.annotated(chosen)
    export_tiles(made.items, tmp_path / "all", made.export)
    export_tiles(items, tmp_path / "round", export)
    whole, part = masks(tmp_path / "all"), masks(tmp_path / "round")
    training = [item.source.name for item in made.of_split("train")]
    inside = {(s.slide, s.region.x, s.region.y) for s in chosen}
    assert len(inside) == len(chosen) > 2
    for place, mask in whole.items():
        there = part.get(place)
        if made.splits[place[0]] == "val" or place in inside:
            assert there is not None and np.array_equal(there, mask)
        else:
            assert there is None or (there == LABELS.ignore).all()
    known = sum(int((part[place] != LABELS.ignore).sum()) for place in inside)
    assert sum(s.mm2 for s in chosen) == pytest.approx(known * 0.0005**2)
    every = sum(int((mask != LABELS.ignore).sum()) for place, mask in whole.items() if place[0] in training)
    assert sum(s.mm2 for s in made.everything) == pytest.approx(every * 0.0005**2)


def test_minutes_are_those_of_drawing_what_is_there(project: Path) -> None:
    dear = study(project, replace(SETTINGS, outline_s_per_mm=20.0, decision_s=6.0))
    plain = study(project)
    assert [s.minutes for s in dear.pool] == pytest.approx([2 * s.minutes for s in plain.pool])
    assert len({round(s.minutes, 6) for s in plain.pool}) > 3


@pytest.mark.parametrize("budget", [{"n": 3}, {"n": None, "area": "9%"}, {"n": None, "minutes": 0.4}])
def test_every_budget_is_used_up_to_less_than_a_region(project: Path, budget: dict[str, object]) -> None:
    made = study(project, replace(SETTINGS, **budget, rounds=3))
    price = dict(zip(made.pool, made.prices, strict=True))
    order = [made.pool[place] for place in np.random.default_rng(3).permutation(len(made.pool))]
    before: list[object] = []
    for number in (1, 2, 3):
        chosen = made.taken(order, before, number)  # type: ignore[arg-type]
        spent = sum(price[square] for square in chosen)
        left = [price[square] for square in made.pool if square not in chosen]
        assert chosen[: len(before)] == before and len(chosen) > len(before)
        assert 0 <= made.budget * number - spent + 1e-9 < min(left) + 1e-6
        before = list(chosen)


def command(project: Path, out: Path, *more: object) -> int:
    how = [part for text in NETWORK for part in ("--set", text)]
    labels = out.parent / "labels.toml"
    labels.write_text(
        'unannotated = "ignore"\nregions = ["Region*"]\nignored = ["Ignore*"]\n'
        '[[class]]\nname = "Stroma"\nvalue = 1\nfrom = ["Stroma"]\n'
        '[[class]]\nname = "Tumor"\nvalue = 2\nfrom = ["Tumor"]\n'
    )
    return run(
        "simulate", project, "-o", out, "--recipe", "unet-resnet18", "--labels", labels, "--downsample", 1,
        "--tile-size", 64, "--tissue", "none", "--split", "metadata:Split", "--region-um", 32, "--min-tissue", 0,
        "--n", 3, "--steps", 2, *how, *more,
    )  # fmt: skip


def scores(out: Path) -> list[Score]:
    import msgspec

    return msgspec.convert(json.loads((out / "simulate.json").read_text())["scores"], list[Score])


@pytest.mark.slow
def test_a_killed_simulation_goes_on_and_ends_as_one_that_was_not(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in project.parent.rglob("*") if path.is_file()}
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    asked = ("--strategy", "suggest", "--rounds")
    assert command(project, tmp_path / "a/out", *asked, 2) == 0
    assert {path: path.read_bytes() for path in project.parent.rglob("*") if path.is_file()} == before
    # The other one asks for less at first, and is killed at every step.
    for step in ("suggest", "export_tiles", "train", "evaluate"):
        with monkeypatch.context() as patched:

            def killed(*args: object, **kwargs: object) -> None:
                raise KeyboardInterrupt

            patched.setattr(f"qpkit.rounds.simulate.play.{step}", killed)
            assert command(project, tmp_path / "b/out", *asked, 1) != 0
    assert command(project, tmp_path / "b/out", *asked, 1) == 0
    assert command(project, tmp_path / "b/out", *asked, 2) == 0
    whole = scores(tmp_path / "a/out")
    assert whole == scores(tmp_path / "b/out") and [score.regions for score in whole] == [3, 6]
    rounds = [tmp_path / f"a/out/seed-0/suggest/round-{number}" for number in (1, 2)]
    first, second = (json.loads((folder / "regions.json").read_text()) for folder in rounds)
    assert second[:3] == first and len(second) == 6
    drawn = read_geojson(next(rounds[1].glob("*.geojson")))
    assert [o.geometry.bounds[0] for o in drawn] == [s["region"]["x"] for s in second]
    # Other settings are another simulation.
    capsys.readouterr()
    assert command(project, tmp_path / "b/out", "--steps", 4) == 1
    said = capsys.readouterr().err
    assert "of other settings (settings, recipe)" in said and "Traceback" not in said


@pytest.mark.slow
def test_everything_annotated_is_an_ordinary_training_on_an_ordinary_export(project: Path, tmp_path: Path) -> None:
    assert command(project, tmp_path / "out", "--strategy", "all") == 0
    labels = tmp_path / "labels.toml"
    assert run(
        "export", project, "-o", tmp_path / "tiles", "--labels", labels, "--downsample", 1, "--tile-size", 64,
        "--tissue", "none", "--split", "metadata:Split", "--only-annotated",
    ) == 0  # fmt: skip
    how = [*NETWORK, "optim.steps_per_epoch=1", "early_stopping.patience=0"]
    sets = [part for text in how for part in ("--set", text)]
    assert run("train", tmp_path / "tiles", "-o", tmp_path / "run", "--recipe", "unet-resnet18", *sets) == 0
    ours = tmp_path / "out/seed-0/all"
    assert (ours / "tiles/tiles.parquet").read_bytes() == (tmp_path / "tiles/tiles.parquet").read_bytes()
    torch, load_file = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch").load_file
    ours_best, plain_best = (load_file(folder / "run/best.safetensors") for folder in (ours, tmp_path))
    assert all(torch.equal(value, plain_best[name]) for name, value in ours_best.items())
    assert run("predict", tmp_path / "run", project, "-o", tmp_path / "p", "--where", "Split=test", "--everything") == 0
    assert run("evaluate", tmp_path / "p", project, "-o", tmp_path / "e", "--where", "Split=test") == 0
    found = json.loads((tmp_path / "e/evaluation.json").read_text())["pooled"]
    (score,) = scores(tmp_path / "out")
    assert score.fraction == 1
    assert score.mean_dice == pytest.approx(found["mean_dice"], abs=0.02)
    assert score.baselines == {name: found["baselines"][name]["all this class"]["dice"] for name in score.dice}


def test_without_torch_it_is_said_before_a_folder_is_made(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "qpkit_train.loop", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert command(project, tmp_path / "out") == 1
    assert "pip install 'qpkit[train]'" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_what_is_said_of_the_curves_follows_from_the_means() -> None:
    def score(strategy: Strategy, number: int, seed: int, dice: float) -> Score:
        return Score(
            seed=seed, strategy=strategy, round=number, regions=number, mm2=number / 10, fraction=number / 10,
            minutes=float(number), dice={"Tumor": dice}, mean_dice=dice, baselines={"Tumor": 0.2, "Stroma": 0.8},
        )  # fmt: skip

    made = [score("all", 0, seed, 0.6) for seed in (0, 1)]
    made += [score("suggest", n, s, d) for n, s, d in ((1, 0, 0.3), (1, 1, 0.5), (2, 0, 0.5), (2, 1, 0.7))]
    made += [score("random", n, s, d) for n, s, d in ((1, 0, 0.5), (1, 1, 0.5), (2, 0, 0.5), (2, 1, 0.5))]
    points = points_of(made)
    assert [(p.strategy, p.round, p.seeds) for p in points] == [
        ("suggest", 1, 2), ("suggest", 2, 2), ("random", 1, 2), ("random", 2, 2), ("all", 0, 2),
    ]  # fmt: skip
    assert points[0].dice["mean"] == pytest.approx((0.4, 0.3, 0.5))
    assert baselines_of(made) == {"mean": 0.4, "Tumor": 0.2, "Stroma": 0.8}
    reaches, does_not, better = verdicts(points)
    assert reaches == "suggest reaches the Dice of everything annotated (0.600) with 20.0% of the area and 2.0 min"
    assert "random does not reach" in does_not and "in 1 of 2 rounds" in better


@pytest.mark.parametrize(
    ("settings", "export", "says"),
    [
        (replace(SETTINGS, rounds=500), EXPORT, "take at most --rounds"),
        (replace(SETTINGS, n=None, area="0.00001mm2"), EXPORT, "less than one region"),
        (replace(SETTINGS, region_um=1000.0), EXPORT, "no square of 1000 um"),
        (replace(SETTINGS, where={"Split": "t*"}), replace(EXPORT, split=SplitRule("patient", "Patient")), "held-out"),
        (SETTINGS, replace(EXPORT, split=SplitRule("tile")), "slides are held out, not tiles"),
        (SETTINGS, replace(EXPORT, store="nnunet"), "nnunet"),
    ],
)
def test_what_cannot_be_played_is_said_at_once(
    project: Path, settings: SimulateSettings, export: ExportSettings, says: str
) -> None:
    with pytest.raises((ConfigError, ProjectError), match=says) as told:
        study(project, settings, export)
    assert len(str(told.value)) < 220


def test_nothing_annotated_and_a_taken_folder_are_refused(project: Path, tmp_path: Path) -> None:
    empty = small_project(tmp_path / "empty", [[], [], []])
    with pytest.raises(ProjectError, match="none of 3 slides has an annotation"):
        study(empty.path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/mine.txt").write_text("mine")
    from qpkit.rounds.simulate.simulate import simulate

    with pytest.raises(OutputError, match="no simulation"):
        simulate(project, tmp_path / "taken", SETTINGS, EXPORT, recipe="unet-resnet18", overrides=NETWORK)
    with pytest.raises(ConfigError, match="exclude each other"):
        replace(SETTINGS, minutes=3.0)
    for text in ("suggest,best", "random,random"):
        with pytest.raises(ConfigError, match="--strategy"):
            SimulateSettings.of(strategies=text)
    with pytest.raises(ConfigError, match="--seeds"):
        SimulateSettings.of(seeds="1,1")
