"""Plans in the manner of nnU-Net: what is measured, what follows from it, what was said wins, and what is kept."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_tiles import MakeTiles, tiny_recipe

import command_line
from qpkit.dataset import read_tile_set
from qpkit.errors import ConfigError, LabelError, QpkitError
from qpkit_train.compare import compare
from qpkit_train.data.batches import TileReader
from qpkit_train.loop import fit
from qpkit_train.losses.loss import make_loss
from qpkit_train.models.own.nnunet import build_nnunet
from qpkit_train.optimizer import optimizer_of
from qpkit_train.planning.fingerprint import Colors, Fingerprint, fingerprint
from qpkit_train.planning.memory import step_bytes
from qpkit_train.planning.plan import Plan, check_memory, make_plan, planned
from qpkit_train.recipe.load import load_recipe
from qpkit_train.recipe.settings import PLANNED, LossConfig, OptimConfig, Recipe
from qpkit_train.run_folder.resuming import tiles_and_recipe
from qpkit_train.run_folder.run import load_run
from qpkit_train.schedule import learning_rate

GREY = (128.0, 128.0, 128.0)
LEVELS = (0, 128, 255)

QUICK = ("optim.epochs=1", "optim.steps_per_epoch=2", "data.workers=0", "precision=32-true", "plan.memory_gb=0.2")


def measured(tile_px: int = 224, labelled_px: int = 100_000_000, classes: int = 3) -> Fingerprint:
    return Fingerprint(
        tiles=100,
        slides=3,
        tile_px=tile_px,
        mpp=0.25,
        labelled_px=labelled_px,
        classes={str(number): 1 / classes for number in range(classes)},
        foreground=1 - 1 / classes,
        colors=Colors(mean=GREY, deviation=GREY, low=LEVELS, median=LEVELS, high=LEVELS),
    )


def plan_for(there: Fingerprint, *overrides: str) -> Plan:
    return make_plan(there, load_recipe("nnunet", overrides), root=Path("tiles"))


def bytes_of(plan: Plan, there: Fingerprint, batch: int) -> int:
    side = plan.crop_px or there.tile_px
    return step_bytes(plan.channels, classes=len(there.classes), side=side + -side % 32, batch=batch,
                      optimizer=OptimConfig(name="sgd"), coarser=max(len(plan.channels) - 3, 0))  # fmt: skip


@given(st.integers(32, 2048), st.integers(10_000, 10**10), st.integers(2, 8), st.floats(0.5, 80))
def test_a_plan_fits_its_memory_and_nothing_larger_would(tile_px: int, pixels: int, classes: int, gb: float) -> None:
    there = measured(tile_px, pixels, classes)
    plan = plan_for(there, f"plan.memory_gb={gb}")
    side = plan.crop_px or tile_px
    assert bytes_of(plan, there, plan.batch_size) <= gb * 1e9
    assert plan.step_gb == pytest.approx(bytes_of(plan, there, plan.batch_size) / 1e9, abs=1e-3)
    assert plan.batch_size >= 2 and (plan.batch_size == 2 or plan.batch_size * side**2 <= 0.05 * pixels)
    more = plan.batch_size + 1
    assert bytes_of(plan, there, more) > gb * 1e9 or more * side**2 > 0.05 * pixels
    assert side == tile_px or (side % 32 == 0 and side < tile_px)
    assert plan.channels[0] == 32 and all(
        b == min(2 * a, 512) for a, b in zip(plan.channels, plan.channels[1:], strict=False)
    )
    assert 2 <= len(plan.channels) <= 6 and (side + -side % 32) // 2 ** (len(plan.channels) - 1) >= 4


@given(st.integers(64, 1024), st.floats(0.5, 20), st.floats(1, 4))
def test_more_memory_never_makes_a_smaller_plan(tile_px: int, gb: float, factor: float) -> None:
    there = measured(tile_px)
    small, large = (plan_for(there, f"plan.memory_gb={value}") for value in (gb, gb * factor))
    small_px, large_px = (plan.crop_px or tile_px for plan in (small, large))
    assert large_px >= small_px
    assert large_px > small_px or large.batch_size >= small.batch_size


def test_the_tiles_of_the_comparison_get_whole_tiles_and_six_stages() -> None:
    plan = plan_for(measured(224))
    assert (plan.crop_px, plan.channels) == (0, (32, 64, 128, 256, 512, 512))
    assert plan.parameters == 20_619_116
    assert plan_for(measured(512), "plan.memory_gb=1").crop_px == 352


def test_what_is_said_is_taken_and_the_rest_planned_around_it() -> None:
    there = measured(512)
    plan = plan_for(there, "data.batch_size=3", "data.crop_px=96")
    assert (plan.batch_size, plan.crop_px, plan.limited_by) == (3, 96, "what was said")
    assert plan.decided == ("model.options.channels",) and len(plan.channels) == 5
    wide = plan_for(there, "model.options.channels=[8, 16]")
    assert wide.channels == (8, 16) and wide.decided == ("data.crop_px", "data.batch_size")
    tight = plan_for(there, "data.batch_size=16", "plan.memory_gb=2")
    assert tight.batch_size == 16 and 0 < tight.crop_px < 512


def test_a_recipe_of_ones_own_wins_with_what_it_names(tmp_path: Path) -> None:
    text = 'name = "own"\n[plan]\ndecides = ["data.crop_px", "data.batch_size", "model.options.channels"]\n'
    text += '[model]\narchitecture = "nnunet"\nencoder = "none"\nencoder_weights = "none"\n[data]\nbatch_size = 8\n'
    (tmp_path / "own.toml").write_text(text)
    assert load_recipe(str(tmp_path / "own.toml")).plan.decides == ["data.crop_px", "model.options.channels"]
    assert load_recipe("nnunet").plan.decides == list(PLANNED)
    assert load_recipe("nnunet", ["model.options.deep_supervision=false"]).plan.decides == list(PLANNED)


@settings(max_examples=8, deadline=None)
@given(
    st.sampled_from([(8, 16), (4, 8, 8), (6, 8, 10, 12, 14)]),
    st.integers(1, 3),
    st.sampled_from([64, 96]),
    st.booleans(),
)
def test_the_memory_of_a_step_is_what_autograd_keeps(
    channels: tuple[int, ...], batch: int, side: int, deep: bool
) -> None:
    """Tensors that the way back needs, each storage once, and three numbers a parameter; to 15 %."""
    network = build_nnunet(3, channels=channels, deep_supervision=deep)
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    loss = make_loss(LossConfig(terms="ce+dice"), background=0)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        found = network(torch.rand(batch, 3, side, side))
        answers = found if isinstance(found, tuple) else (found,)
        total = sum(loss(a, torch.ones(batch, *a.shape[-2:], dtype=torch.long)) for a in answers)
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    found_bytes = sum(size for place, size in kept.items() if place not in weights)
    learned = sum(p.numel() for p in network.parameters())
    expected = step_bytes(channels, classes=3, side=side, batch=batch, optimizer=OptimConfig(name="sgd"),
                          coarser=len(answers) - 1)  # fmt: skip
    assert expected == pytest.approx(found_bytes + 12 * learned, rel=0.15)
    assert total is not None


def test_a_fingerprint_says_what_the_training_tiles_are(make_tiles: MakeTiles) -> None:
    tile_set = read_tile_set(make_tiles(train={0: 2, 1: 3, 3: 1, 255: 2}))
    found, reader = fingerprint(tile_set), TileReader(tile_set)
    labelled = [t for t in tile_set.of_split("train") if set(t.pixels) != {255}]
    pixels = [reader.read(tile) for tile in labelled]
    targets = np.concatenate([target.ravel() for _, target in pixels])
    shown = np.concatenate([image[(target == 1) | (target == 2)] for image, target in pixels])
    assert (found.tiles, found.tile_px, found.mpp, found.slides) == (6, 64, 0.5, 1)
    assert found.labelled_px == len(targets)
    assert found.classes == {
        name: pytest.approx((targets == i).mean()) for i, name in enumerate(("background", "Lesion", "Other"))
    }
    assert found.foreground == pytest.approx((targets > 0).mean())
    np.testing.assert_allclose(found.colors.mean, shown.mean(axis=0), atol=0.01)
    np.testing.assert_allclose(found.colors.deviation, shown.std(axis=0), atol=0.01)
    for level, share in ((found.colors.low, 0.5), (found.colors.median, 50), (found.colors.high, 99.5)):
        np.testing.assert_allclose(level, np.percentile(shown, share, axis=0, method="inverted_cdf"))


def test_a_training_tells_its_plan_keeps_it_and_goes_on_with_it(make_tiles: MakeTiles, tmp_path: Path) -> None:
    tiles, recipe, said = make_tiles(), load_recipe("nnunet", QUICK), list[str]()
    report = fit(tiles, tmp_path / "run", recipe, on_note=said.append)
    assert said[0].startswith("fingerprint: 11 tiles of 64 px at 0.5 um/px (slides: 1); background ")
    assert said[1].startswith("plan: whole tiles, 2 a step (") and said[:2] == list(report.notes[:2])
    run = load_run(tmp_path / "run")
    plan = msgspec.convert(run.file.plan["plan"], Plan)
    assert msgspec.convert(run.file.plan["fingerprint"], Fingerprint) == fingerprint(read_tile_set(tiles))
    assert run.recipe.model.options == {"channels": list(plan.channels)} and run.recipe.plan.decides == []
    assert run.file.parameters["all"] == plan.parameters
    names = ["optim.epochs=2", *QUICK[1:]]
    longer = fit(tiles, tmp_path / "run", load_recipe("nnunet", names), resume=True)
    assert longer.run == report.run and load_run(tmp_path / "run").file.plan == run.file.plan
    # As --resume without a recipe does it: with that of run.json, which leaves nothing open.
    _, kept = tiles_and_recipe(tmp_path / "run", None, "", ["optim.epochs=3"], resume=True, default="")
    longest = fit(tiles, tmp_path / "run", kept, resume=True)
    assert (longest.run, longest.epochs) == (report.run, 3) and kept.plan.decides == []
    assert load_run(tmp_path / "run").file.plan == run.file.plan


def test_memory_that_makes_the_same_plan_makes_the_same_run(make_tiles: MakeTiles, tmp_path: Path) -> None:
    tiles = read_tile_set(make_tiles())
    one, other = (planned(tiles, load_recipe("nnunet", [f"plan.memory_gb={gb}"])).recipe for gb in (8, 9))
    plain = msgspec.structs.replace(other, plan=one.plan)
    assert one != other and one == plain
    a, b = (
        fit(tiles.root, tmp_path / str(gb), load_recipe("nnunet", [*QUICK[:4], f"plan.memory_gb={gb}"]))
        for gb in (0.2, 0.3)
    )
    assert a.run == b.run


def test_a_comparison_plans_for_those_that_ask_for_it(make_tiles: MakeTiles, tmp_path: Path) -> None:
    recipes = [load_recipe("bcss-nnunet", QUICK), msgspec.structs.replace(tiny_recipe("optim.epochs=1"), name="plain")]
    report = compare(make_tiles(), tmp_path / "c", recipes)
    assert any(note.startswith("plan: ") for note in report.models[0].fit.notes)
    assert not any(note.startswith("plan: ") for note in report.models[1].fit.notes)


def test_the_command_line_shows_the_plan_before_anything_is_trained(
    make_tiles: MakeTiles, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        command_line.run("train", make_tiles(), "--recipe", "nnunet", "--dry-run", "--set", "plan.memory_gb=0.2") == 0
    )
    shown = capsys.readouterr()
    assert "plan: whole tiles, 2 a step" in shown.out + shown.err
    assert "foreground" in shown.out and "any" in shown.out


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["plan.memory_gb=0.01"], "plan: 2 crops of 32 px take .* GB a step, plan.memory_gb is 0.01; raise it"),
        (["data.batch_size=500"], "plan: 500 crops of 32 px take .*lower data.batch_size"),
        (["data.batch_size=500", "data.crop_px=64"], "500 crops of 64 px .* lower data.crop_px, data.batch_size"),
    ],
)
def test_what_does_not_fit_is_one_line_before_the_first_step(
    overrides: list[str], message: str, make_tiles: MakeTiles, tmp_path: Path
) -> None:
    recipe = load_recipe("nnunet", ["plan.memory_gb=0.3", *overrides])
    with pytest.raises(ConfigError, match=message) as err:
        fit(make_tiles(), tmp_path / "run", recipe)
    own = str(err.value).replace(str(tmp_path), "")
    assert len(own) < 200 and "\n" not in own and not (tmp_path / "run").exists()


def test_a_device_that_has_less_is_told_before_the_first_step() -> None:
    plan = plan_for(measured())
    check_memory(plan, None, "mps")
    check_memory(plan, 64 * 10**9, "cuda")
    with pytest.raises(ConfigError, match=r"a step takes about .* GB, and cuda \(T4\) has 4; plan for it: --set plan"):
        check_memory(plan, 4 * 10**9, "cuda (T4)")


def test_tiles_without_a_class_are_nothing_to_plan_for(make_tiles: MakeTiles, tmp_path: Path) -> None:
    for train in ({0: 3}, {255: 3}):
        tiles = make_tiles(train=train, name=f"only-{min(train)}")
        with pytest.raises(LabelError, match="no training tile shows a class, so there is nothing to plan for") as err:
            fit(tiles, tmp_path / "run", load_recipe("nnunet", QUICK))
        assert len(str(err.value).replace(str(tiles), "")) < 200


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (['plan.decides=["optim.lr"]'], "plan.decides has optim.lr; a plan decides"),
        (["model.architecture=vanilla-unet"], "plan.decides is for model.architecture nnunet"),
        (["model.options.channels=[8]"], "model.options.channels = .* has to be 2 to 6"),
        (["model.options.channels=many"], "model.options.channels = many has to be 2 to 6"),
        (["plan.memory_gb=0"], "plan.memory_gb = 0"),
        (["optim.name=adam"], "optim.nesterov is for optim.name sgd"),
        (["sampler.hard_negatives=0.5"], "sampler.foreground does not go with sampler.hard_negatives"),
    ],
)
def test_settings_that_plan_nothing_are_named(overrides: list[str], message: str) -> None:
    with pytest.raises(QpkitError, match=message):
        load_recipe("nnunet", overrides)


def test_the_shipped_recipe_trains_as_nnunet_does() -> None:
    recipe = load_recipe("nnunet")
    optimizer = optimizer_of(recipe.optim, torch.nn.Linear(2, 2))
    assert isinstance(optimizer, torch.optim.SGD)
    told = {key: optimizer.defaults[key] for key in ("lr", "momentum", "nesterov", "weight_decay")}
    assert told == {"lr": 0.01, "momentum": 0.99, "nesterov": True, "weight_decay": 3e-5}
    assert optimizer_of(tiny_recipe("optim.name=sgd").optim, torch.nn.Linear(2, 2)).defaults["momentum"] == 0.9
    steps = recipe.optim.steps_per_epoch * recipe.optim.epochs
    halfway = learning_rate(recipe.optim, step=steps // 2, steps_per_epoch=recipe.optim.steps_per_epoch)
    assert (steps, halfway) == (250_000, pytest.approx(0.01 * 0.5**0.9))
    assert (recipe.sampler.foreground, recipe.optim.clip_norm, recipe.loss.terms) == (0.33, 12, "ce+dice")


def test_a_recipe_without_a_plan_stays_as_it_is(make_tiles: MakeTiles) -> None:
    recipe: Recipe = tiny_recipe()
    found = planned(read_tile_set(make_tiles()), recipe)
    assert found.recipe is recipe and found.record() == {} and found.notes == ()
