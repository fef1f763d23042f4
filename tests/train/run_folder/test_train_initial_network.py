"""What a network starts from: another run's encoder, another run's weights, and encoders that do not learn."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_tiles import MakeTiles, tiny_recipe

from qpkit.dataset import read_tile_set
from qpkit.errors import ConfigError
from qpkit_train.data.training_tiles import training_tiles_of
from qpkit_train.loop import Training, fit, make_fabric
from qpkit_train.recipe.load import load_recipe
from qpkit_train.recipe.settings import Recipe
from qpkit_train.run_folder.initial_network import initial_network
from qpkit_train.run_folder.records import BEST_NAME, read_state
from qpkit_train.run_folder.run import load_run
from qpkit_train.run_folder.start import run_file


class Killed(Exception):
    """What a killed process looks like from inside."""


def training(tiles: Path, root: Path, recipe: Recipe) -> Training:
    tile_set = read_tile_set(tiles)
    data = training_tiles_of(tile_set, recipe)
    fabric = make_fabric(recipe)
    return Training(root, recipe, data, fabric, run_file(tile_set, recipe, data, fabric.device))


def best(root: Path) -> dict[str, torch.Tensor]:
    return load_file(root / BEST_NAME)


FREEZE = "model.freeze_encoder=true"


def test_a_frozen_encoder_keeps_every_bit_and_everything_else_learns(make_tiles: MakeTiles, tmp_path: Path) -> None:
    """MiniBatch norms' running statistics and counters included."""
    tiles, recipe = make_tiles(), tiny_recipe(FREEZE)
    before = {k: v.cpu().clone() for k, v in training(tiles, tmp_path / "x", recipe).network.state_dict().items()}
    fit(tiles, tmp_path / "run", recipe)
    after = load_file(tmp_path / "run" / "last-0002.safetensors")
    encoder = [name for name in before if name.startswith("encoder.")]
    assert any(name.endswith("running_mean") for name in encoder)
    assert all(torch.equal(before[name], after[name]) for name in encoder)
    others = [name for name in before if name not in encoder]
    assert all(not torch.equal(before[name], after[name]) for name in others)
    fit(tiles, tmp_path / "free", tiny_recipe())
    free = load_file(tmp_path / "free" / "last-0002.safetensors")
    assert any(not torch.equal(before[n], free[n]) for n in encoder if n.endswith("running_mean"))


def test_the_optimizer_holds_only_what_learns_and_the_run_says_how_much(make_tiles: MakeTiles, tmp_path: Path) -> None:
    tiles, recipe = make_tiles(), tiny_recipe(FREEZE)
    trained = training(tiles, tmp_path / "x", recipe)
    held = [p for group in trained.optimizer.param_groups for p in group["params"]]
    learning = [p for name, p in trained.network.named_parameters() if not name.startswith("encoder.")]
    assert {id(p) for p in held} == {id(p) for p in learning} and all(p.requires_grad for p in held)
    report = fit(tiles, tmp_path / "run", recipe)
    assert report.parameters["learning"] == sum(p.numel() for p in learning) < report.parameters["all"]
    assert load_run(tmp_path / "run").file.parameters == report.parameters
    assert any("random weights" in note for note in report.notes)


def test_a_frozen_training_resumes_bit_for_bit(make_tiles: MakeTiles, tmp_path: Path) -> None:
    tiles, recipe = make_tiles(), tiny_recipe(FREEZE, "optim.epochs=3", "optim.ema=0.9")

    def dies(done: int, total: int, text: str) -> None:
        if done == 12:
            raise Killed

    fit(tiles, tmp_path / "whole", recipe)
    with pytest.raises(Killed):
        fit(tiles, tmp_path / "cut", recipe, on_progress=dies)
    report = fit(tiles, tmp_path / "cut", recipe, resume=True)
    assert report.resumed_from == 2
    assert any("random weights" in note for note in report.notes)
    for root in ("whole", "cut"):
        state = read_state(tmp_path / root, run=report.run)
        assert state is not None
    for name in ("best.safetensors", "last-0003.safetensors", "last-0003.optimizer.safetensors"):
        whole, cut = load_file(tmp_path / "whole" / name), load_file(tmp_path / "cut" / name)
        assert whole.keys() == cut.keys() and all(torch.equal(whole[key], cut[key]) for key in whole)


def test_an_encoder_of_another_run_is_taken_tensor_by_tensor_and_named(make_tiles: MakeTiles, tmp_path: Path) -> None:
    tiles = make_tiles()
    first = fit(tiles, tmp_path / "first", tiny_recipe("optim.epochs=1"))
    wanted = f"model.encoder_weights=run:{tmp_path / 'first'}"
    recipe = tiny_recipe(wanted, FREEZE, "optim.epochs=1", "model.architecture=fpn", "model.encoder_depth=3",
                         "model.options={upsampling = 1}")  # fmt: skip
    started = initial_network(recipe, ("background", "Lesion", "Other"))
    source = {name: value for name, value in best(tmp_path / "first").items() if name.startswith("encoder.")}
    assert source and all(torch.equal(started.network.state_dict()[name], value) for name, value in source.items())
    fit(tiles, tmp_path / "second", recipe)
    assert all(torch.equal(best(tmp_path / "second")[name], value) for name, value in source.items())
    origin = load_run(tmp_path / "second").file.origins["encoder_weights"]
    assert (origin["run"], origin["best_epoch"]) == (first.run, 1)


def test_a_run_goes_on_when_the_run_that_it_started_from_is_gone(make_tiles: MakeTiles, tmp_path: Path) -> None:
    tiles = make_tiles()
    fit(tiles, tmp_path / "first", tiny_recipe("optim.epochs=1"))
    recipe = tiny_recipe(f"model.encoder_weights=run:{tmp_path / 'first'}")

    def dies(done: int, total: int, text: str) -> None:
        if done == 7:
            raise Killed

    with pytest.raises(Killed):
        fit(tiles, tmp_path / "second", recipe, on_progress=dies)
    shutil.rmtree(tmp_path / "first")
    report = fit(tiles, tmp_path / "second", recipe, resume=True)
    assert (report.resumed_from, report.epochs) == (1, 2)
    assert "encoder_weights" in load_run(tmp_path / "second").file.origins


def test_another_encoder_or_depth_is_refused_with_both_names(make_tiles: MakeTiles, tmp_path: Path) -> None:
    fit(make_tiles(), tmp_path / "first", tiny_recipe("optim.epochs=1"))
    wanted = f"model.encoder_weights=run:{tmp_path / 'first'}"
    other = load_recipe("unet-resnet18", [wanted, "model.encoder=resnet34", "model.encoder_depth=3"])
    with pytest.raises(ConfigError, match="has encoder resnet18 of depth 3, this recipe resnet34 of depth 3"):
        initial_network(other, ("background", "Lesion"))
    with pytest.raises(ConfigError, match="has encoder resnet18 of depth 3, this recipe resnet18 of depth 5"):
        initial_network(load_recipe("unet-resnet18", [wanted]), ("background", "Lesion"))
    for setting in ("model.encoder_weights", "model.weights"):
        with pytest.raises(ConfigError, match=rf"{setting} = 'run:nowhere' is not .*: nowhere: no run\.json there"):
            initial_network(tiny_recipe(f"{setting}=run:nowhere"), ("background", "Lesion"))
    with pytest.raises(ConfigError, match=r"model\.weights = 'first' has to be run:PATH"):
        tiny_recipe("model.weights=first")


def test_the_whole_model_of_another_run_is_taken_and_a_head_for_other_classes_made_anew(
    make_tiles: MakeTiles, tmp_path: Path
) -> None:
    tiles = make_tiles()
    first = fit(tiles, tmp_path / "first", tiny_recipe("optim.epochs=1"))
    source = best(tmp_path / "first")
    recipe = tiny_recipe(f"model.weights=run:{tmp_path / 'first'}", "optim.epochs=1")
    same = initial_network(recipe, ("background", "Lesion", "Other"))
    assert all(torch.equal(value, source[name]) for name, value in same.network.state_dict().items())
    assert not same.notes
    for names in (("background", "Gland"), ("background", "Lesion", "Gland")):
        other = initial_network(recipe, names)
        state = other.network.state_dict()
        renewed = {name for name, value in source.items()
                   if state[name].shape != value.shape or not torch.equal(state[name], value)}  # fmt: skip
        assert renewed == {"segmentation_head.0.weight", "segmentation_head.0.bias"}
        assert "the head was made anew" in other.notes[0] and first.run in other.notes[0]
    fit(tiles, tmp_path / "second", recipe)
    assert load_run(tmp_path / "second").file.origins["weights"]["run"] == first.run
    with pytest.raises(ConfigError, match=r"is unet with encoder resnet18 of depth 3 .* this recipe fpn with"):
        initial_network(tiny_recipe(f"model.weights=run:{tmp_path / 'first'}", "model.architecture=fpn"), ("a", "b"))


def test_other_pixels_than_the_source_saw_are_reported(make_tiles: MakeTiles, tmp_path: Path) -> None:
    tiles = make_tiles()
    fit(tiles, tmp_path / "first", tiny_recipe("optim.epochs=1"))
    wanted = f"model.encoder_weights=run:{tmp_path / 'first'}"
    report = fit(tiles, tmp_path / "second", tiny_recipe("optim.epochs=1", wanted, "data.normalization=signed"))
    assert any("normalization=imagenet" in note and "this run feeds data.normalization=signed" in note
               for note in report.notes)  # fmt: skip


def test_an_answer_of_another_size_than_the_tile_is_refused(make_tiles: MakeTiles, tmp_path: Path) -> None:
    recipe = tiny_recipe("model.architecture=fpn", "model.options={upsampling = 2}")
    with pytest.raises(ConfigError, match="fpn answers with 128 x 128 px for tiles of 64 x 64"):
        fit(make_tiles(), tmp_path / "run", recipe)


def test_a_network_that_cannot_take_the_tiles_is_refused_before_it_trains(
    make_tiles: MakeTiles, tmp_path: Path
) -> None:
    """Also where only the whole tiles of the validation do not fit."""
    vit = ("model.architecture=dpt", "model.encoder=tu-vit_tiny_patch16_224", "model.encoder_depth=0",
           "model.options={}", "data.batch_size=2")  # fmt: skip
    with pytest.raises(ConfigError, match=r"dpt with encoder tu-vit_tiny_patch16_224 cannot take tiles of 64 x 64 px"):
        fit(make_tiles(), tmp_path / "small", tiny_recipe(*vit))
    with pytest.raises(ConfigError, match="cannot take tiles of 256 x 256 px"):
        fit(make_tiles(size=256, name="large"), tmp_path / "whole", tiny_recipe(*vit, "data.crop_px=224"))
