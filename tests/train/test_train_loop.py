"""Training itself, on tiny tiles."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_tiles import MakeTiles, paint, square_mask, tiny_recipe, write_tiles

from qpkit.dataset import read_tile_set
from qpkit.errors import ConfigError, FormatError, LabelError, OutputError
from qpkit.ops.scores.confusion import accuracy
from qpkit_train.data.normalization import named_normalization, normalize
from qpkit_train.data.training_tiles import training_tiles_of
from qpkit_train.loop import Training, fit
from qpkit_train.losses.loss import make_loss
from qpkit_train.machine.devices import choose_precision, make_fabric
from qpkit_train.models.averaging import WeightAverage
from qpkit_train.models.registry import build_model
from qpkit_train.recipe.settings import LossConfig, Recipe
from qpkit_train.run_folder.records import read_state
from qpkit_train.run_folder.run import load_run
from qpkit_train.run_folder.start import run_file


class Killed(Exception):
    """What a killed process looks like from inside."""


def killer(step: int, error: type[BaseException] = Killed) -> Callable[[int, int, str], None]:
    def on_progress(done: int, total: int, text: str) -> None:
        if done == step:
            raise error

    return on_progress


def last_weights(root: Path) -> dict[str, torch.Tensor]:
    state = read_state(root, run=load_run(root).id)
    assert state is not None
    return load_file(root / state.model) | {f"optimizer/{k}": v for k, v in load_file(root / state.optimizer).items()}


def losses(root: Path) -> list[tuple[str, str]]:
    with (root / "curves.csv").open() as file:
        return [(row["train_loss"], row["val_loss"]) for row in csv.DictReader(file)]


def test_a_network_overfits_one_batch() -> None:
    rng = np.random.default_rng(0)
    masks = [square_mask(rng, value) for value in (1, 3, 1, 3)]
    pixels = torch.from_numpy(np.stack([paint(mask, rng) for mask in masks])).movedim(-1, 1).float() / 255
    images = normalize(pixels, named_normalization("imagenet"))
    target = torch.from_numpy(np.stack(masks)).long().clamp(max=2)
    torch.manual_seed(0)
    model = build_model(tiny_recipe().model, 3).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    loss = make_loss(LossConfig(), background=0)
    for _ in range(80):
        optimizer.zero_grad()
        value = loss(model(images), target)
        value.backward()
        optimizer.step()
    assert value.item() < 0.1


def test_training_leaves_a_run_folder_that_says_everything(make_tiles: MakeTiles, tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    report = fit(make_tiles(), tmp_path / "run", tiny_recipe(), on_progress=lambda *a: seen.append(a))
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {
        "run.json",
        "state.json",
        "best.safetensors",
        "last-0002.safetensors",
        "last-0002.optimizer.safetensors",
        "curves.csv",
        "curves.png",
        "confusion.csv",
        "confusion.png",
        "tensorboard",
    }
    run = load_run(tmp_path / "run")
    assert (run.id, run.mpp, run.file.status, run.file.epochs) == (report.run, 0.5, "finished", 2)
    assert run.recipe == tiny_recipe()
    assert run.file.sampler["groups"][0]["tiles"] == 5
    assert [score.name for score in report.scores] == ["background", "Lesion", "Other"]
    assert sum(score.support for score in report.scores) == 4 * 64 * 64
    assert (report.train_tiles, report.val_tiles, report.validated_on, report.steps) == (11, 4, "val", 10)
    assert seen[-1][:2] == (10, 10)
    assert 0 <= report.waiting_fraction <= 1
    assert not report.notes


@pytest.mark.usefixtures("same_bits_each_time")
def test_a_fixed_seed_gives_fixed_losses(make_tiles: MakeTiles, tmp_path: Path) -> None:
    tiles = make_tiles()
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        fit(tiles, tmp_path / name, tiny_recipe(f"seed={seed}", "data.crop_px=48"))
    assert losses(tmp_path / "a") == losses(tmp_path / "b") != losses(tmp_path / "c")


@pytest.mark.parametrize("error", [Killed, KeyboardInterrupt])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_resuming_equals_never_having_stopped_bit_for_bit(
    make_tiles: MakeTiles, tmp_path: Path, error: type[BaseException], optimizer: str
) -> None:
    tiles = make_tiles()
    styled = "augment.style=1", "augment.style_p=0.5"
    recipe = tiny_recipe("optim.epochs=3", f"optim.name={optimizer}", "data.workers=1", "data.crop_px=32", *styled)
    fit(tiles, tmp_path / "whole", recipe)
    with pytest.raises(error):
        fit(tiles, tmp_path / "cut", recipe, on_progress=killer(12, error))
    assert load_run(tmp_path / "cut").file.status == ("interrupted" if error is KeyboardInterrupt else "running")
    report = fit(tiles, tmp_path / "cut", recipe, resume=True)
    assert report.resumed_from == 2
    assert losses(tmp_path / "whole") == losses(tmp_path / "cut")
    whole, cut = last_weights(tmp_path / "whole"), last_weights(tmp_path / "cut")
    assert whole.keys() == cut.keys()
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    best, best_cut = (load_file(tmp_path / name / "best.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(best[name], best_cut[name]) for name in best)


@pytest.mark.usefixtures("same_bits_each_time")
def test_what_the_best_epoch_came_to_survives_a_resume_after_it(make_tiles: MakeTiles, tmp_path: Path) -> None:
    tiles, recipe = make_tiles(), tiny_recipe("optim.epochs=2", "early_stopping.min_delta=2.0")
    fit(tiles, tmp_path / "whole", recipe)
    with pytest.raises(Killed):
        fit(tiles, tmp_path / "cut", recipe, on_progress=killer(7))
    assert fit(tiles, tmp_path / "cut", recipe, resume=True).resumed_from == 1
    whole, cut = (load_run(tmp_path / name).file for name in ("whole", "cut"))
    assert whole.best_epoch == cut.best_epoch == 1
    assert whole.thresholds == cut.thresholds != {}
    assert whole.metrics == cut.metrics


def test_a_run_killed_before_its_first_epoch_starts_anew(make_tiles: MakeTiles, tmp_path: Path) -> None:
    tiles = make_tiles()
    with pytest.raises(Killed):
        fit(tiles, tmp_path / "run", tiny_recipe(), on_progress=killer(2))
    with pytest.raises(FormatError, match="has not finished an epoch"):
        load_run(tmp_path / "run")
    assert fit(tiles, tmp_path / "run", tiny_recipe(), resume=True).epochs == 2


@pytest.mark.usefixtures("same_bits_each_time")
def test_a_run_killed_between_two_files_resumes_from_the_epoch_before(
    make_tiles: MakeTiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiles, root = make_tiles(), tmp_path / "run"
    fit(tiles, tmp_path / "whole", tiny_recipe())
    with monkeypatch.context() as patch:
        from qpkit_train.run_folder import records

        real = records.write_state

        def dies_in_the_second_epoch(folder: Path, state: records.State) -> None:
            if state.epoch == 2:
                raise Killed
            real(folder, state)

        patch.setattr(records, "write_state", dies_in_the_second_epoch)
        with pytest.raises(Killed):
            fit(tiles, root, tiny_recipe())
    assert (root / "last-0002.safetensors").is_file()
    assert fit(tiles, root, tiny_recipe(), resume=True).resumed_from == 1
    assert losses(root) == losses(tmp_path / "whole")


def test_resuming_a_finished_run_reports_and_trains_nothing(make_tiles: MakeTiles, tmp_path: Path) -> None:
    tiles = make_tiles()
    first = fit(tiles, tmp_path / "run", tiny_recipe())
    again = fit(tiles, tmp_path / "run", tiny_recipe(), resume=True, on_progress=killer(1))
    assert (again.scores, again.steps, again.resumed_from) == (first.scores, first.steps, 2)
    assert again.thresholds == first.thresholds != {}


def test_a_folder_with_something_in_it_is_not_taken(make_tiles: MakeTiles, tmp_path: Path) -> None:
    tiles, root = make_tiles(), tmp_path / "run"
    fit(tiles, root, tiny_recipe("optim.epochs=1"))
    with pytest.raises(OutputError, match="go on with --resume"):
        fit(tiles, root, tiny_recipe("optim.epochs=1"))
    for resume, why in ((False, "; this recipe and these tiles make"), (True, ", which differs in seed; choose")):
        with pytest.raises(OutputError, match=rf"holds run unet-resnet18-\w{{6}}{why}"):
            fit(tiles, root, tiny_recipe("optim.epochs=1", "seed=5"), resume=resume)
    with pytest.raises(OutputError, match="no run"):
        fit(tiles, tiles, tiny_recipe(), resume=True)


def test_damaged_and_mixed_up_run_folders_are_refused(make_tiles: MakeTiles, tmp_path: Path) -> None:
    tiles = make_tiles()
    for name, seed in (("a", 0), ("b", 1)):
        fit(tiles, tmp_path / name, tiny_recipe("optim.epochs=1", f"seed={seed}"))
    a, b = tmp_path / "a", tmp_path / "b"
    mine = (a / "best.safetensors").read_bytes()
    (a / "best.safetensors").write_bytes((b / "best.safetensors").read_bytes())
    with pytest.raises(FormatError, match="holds weights of run"):
        load_run(a).load_model()
    (a / "best.safetensors").write_bytes(mine[: len(mine) // 2])
    with pytest.raises(FormatError, match="damaged"):
        load_run(a).load_model()
    save_file({"conv.weight": torch.zeros(2)}, a / "best.safetensors", metadata={"run": load_run(a).id})
    with pytest.raises(FormatError, match="of another network"):
        load_run(a).load_model()
    (b / "last-0001.safetensors").unlink()
    with pytest.raises(FormatError, match=r"last-0001\.safetensors named by state\.json is gone"):
        fit(tiles, b, tiny_recipe("optim.epochs=1", "seed=1"), resume=True)
    (b / "run.json").write_text("{")
    with pytest.raises(FormatError, match=r"run\.json: damaged"):
        load_run(b)
    with pytest.raises(FormatError, match=r"no run\.json there"):
        load_run(tiles)


def test_a_run_of_another_format_is_refused(make_tiles: MakeTiles, tmp_path: Path) -> None:
    fit(make_tiles(), tmp_path / "run", tiny_recipe("optim.epochs=1"))
    path = tmp_path / "run" / "run.json"
    path.write_bytes(path.read_bytes().replace(b"qpkit run 1", b"qpkit run 9"))
    with pytest.raises(FormatError, match="format is 'qpkit run 9', this qpkit reads 'qpkit run 1'"):
        load_run(tmp_path / "run")


def test_a_loss_that_is_no_number_stops_with_advice(make_tiles: MakeTiles, tmp_path: Path) -> None:
    recipe = tiny_recipe("optim.lr=1e30", "optim.name=sgd", "optim.epochs=5")
    with pytest.raises(ConfigError, match=r"the loss became nan in epoch \d at step \d+; lower optim\.lr"):
        fit(make_tiles(), tmp_path / "run", recipe)


@pytest.mark.parametrize("fault", ["optim.lr=1e30", "model.encoder_weights=run:nowhere"])
def test_a_training_that_fails_before_its_first_whole_epoch_leaves_room_for_the_mended_one(
    make_tiles: MakeTiles, tmp_path: Path, fault: str
) -> None:
    tiles = make_tiles()
    with pytest.raises(ConfigError):
        fit(tiles, tmp_path / "run", tiny_recipe(fault))
    assert not (tmp_path / "run").exists()
    assert fit(tiles, tmp_path / "run", tiny_recipe("optim.epochs=1")).epochs == 1


def test_a_training_that_fails_later_keeps_its_whole_epochs(
    make_tiles: MakeTiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Training) -> None:
        if self.epoch == 1:
            raise ConfigError("stop")

    monkeypatch.setattr(Training, "_update", fail)
    with pytest.raises(ConfigError, match="stop"):
        fit(make_tiles(), tmp_path / "run", tiny_recipe())
    assert load_run(tmp_path / "run").file.epochs == 1


def test_without_validation_tiles_training_tiles_are_measured_and_the_report_says_so(
    make_tiles: MakeTiles, tmp_path: Path
) -> None:
    report = fit(make_tiles(val={}), tmp_path / "run", tiny_recipe("optim.epochs=1"))
    assert report.validated_on == "train"
    assert "better than the model is" in report.notes[0]
    assert load_run(tmp_path / "run").file.notes == list(report.notes)


def test_validation_tiles_without_a_class_choose_by_loss(make_tiles: MakeTiles, tmp_path: Path) -> None:
    report = fit(make_tiles(val={0: 2}), tmp_path / "run", tiny_recipe("optim.epochs=1"))
    assert "chosen by loss" in report.notes[0]


def test_training_without_a_class_or_without_tiles_is_an_error(make_tiles: MakeTiles, tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="shows a class"):
        fit(make_tiles(train={0: 3}, name="empty"), tmp_path / "run", tiny_recipe())
    with pytest.raises(LabelError, match="no tile is in the train split"):
        fit(make_tiles(train={}, name="none"), tmp_path / "run", tiny_recipe())
    with pytest.raises(ConfigError, match="no class Lesoin"):
        fit(make_tiles(name="full"), tmp_path / "run", tiny_recipe("loss.class_weights={Lesoin=2}"))


def test_damaged_tiles_stop_training_with_their_name(make_tiles: MakeTiles, tmp_path: Path) -> None:
    root = make_tiles()
    tile_set = read_tile_set(root)
    Image.fromarray(np.full((64, 64), 9, np.uint8)).save(root / tile_set.tiles[-1].mask)
    with pytest.raises(LabelError, match="has value 9"):
        fit(root, tmp_path / "a", tiny_recipe("data.workers=2"))
    (root / tile_set.tiles[0].image).unlink()
    with pytest.raises(FormatError, match=r"0\.png"):
        fit(root, tmp_path / "b", tiny_recipe())


@pytest.mark.parametrize(
    "overrides",
    [
        ["loss.terms=bce", "loss.class_weights=balanced", "optim.schedule=plateau"],
        ["loss.terms=ce", "loss.class_weights={Lesion=3}", "optim.clip_norm=1", "augment.stain=0.2"],
        ["loss.terms=dice", "sampler.ratio={Lesion=2,Other=1,background=1}", "early_stopping.metric=loss"],
        ["precision=bf16-mixed", "optim.steps_per_epoch=2", "data.normalization=signed"],
    ],
)
def test_every_setting_trains(make_tiles: MakeTiles, tmp_path: Path, overrides: list[str]) -> None:
    report = fit(make_tiles(size=56), tmp_path / "run", tiny_recipe(*overrides))
    assert report.epochs == 2
    assert np.isfinite([float(value) for row in losses(tmp_path / "run") for value in row]).all()


def test_patience_ends_a_training_that_learns_nothing(make_tiles: MakeTiles, tmp_path: Path) -> None:
    recipe = tiny_recipe("optim.lr=1e-12", "optim.epochs=9", "early_stopping.patience=2", "early_stopping.metric=loss")
    recipe = msgspec.structs.replace(
        recipe, early_stopping=msgspec.structs.replace(recipe.early_stopping, min_delta=1.0)
    )
    report = fit(make_tiles(), tmp_path / "run", recipe)
    assert (report.epochs, report.best_epoch, report.stopped_early) == (3, 1, True)


def test_auto_takes_a_precision_that_the_device_is_fast_at() -> None:
    assert choose_precision("32-true", "cpu") == "32-true"
    assert choose_precision("auto", "mps") == "32-true"
    assert choose_precision("auto", "cpu") in ("32-true", "bf16-mixed")


@pytest.mark.slow
def test_the_loop_finds_sparse_bright_squares(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    masks = [("train", square_mask(rng, value)) for value in [1] * 12 + [0] * 120]
    masks += [("val", square_mask(rng, value)) for value in [1] * 4 + [0] * 20]
    tiles = write_tiles(tmp_path / "tiles", masks)
    recipe: Recipe = tiny_recipe("optim.epochs=12", "data.batch_size=8", "optim.lr=2e-3")
    report = fit(tiles, tmp_path / "run", recipe)
    dice = {score.name: score.dice for score in report.scores}["Lesion"]
    assert dice is not None
    assert dice > 0.8


@pytest.mark.usefixtures("same_bits_each_time")
def test_hard_negatives_change_the_training_and_survive_a_resume(make_tiles: MakeTiles, tmp_path: Path) -> None:
    """Resume is exact with the errors of the epoch before, and they make a difference."""
    tiles = make_tiles()
    recipe = tiny_recipe("optim.epochs=3", "sampler.hard_negatives=0.5", "sampler.ratio=[1, 2]")
    fit(tiles, tmp_path / "whole", recipe)
    steps = load_run(tmp_path / "whole").file.sampler["batches"]
    with pytest.raises(Killed):
        fit(tiles, tmp_path / "cut", recipe, on_progress=killer(2 * steps + 1))
    fit(tiles, tmp_path / "cut", recipe, resume=True)
    whole, cut = last_weights(tmp_path / "whole"), last_weights(tmp_path / "cut")
    assert whole.keys() == cut.keys() and all(torch.equal(whole[name], cut[name]) for name in whole)
    errors = whole["optimizer/tile_errors"]
    assert ((errors >= 0) & (errors <= 1)).any() and len(errors) == len(read_tile_set(tiles).of_split("train"))
    fit(tiles, tmp_path / "plain", tiny_recipe("optim.epochs=3", "sampler.ratio=[1, 2]"))
    plain = last_weights(tmp_path / "plain")
    assert not all(torch.equal(plain[name], whole[name]) for name in plain)


def test_multi_label_masks_are_refused_in_one_line(make_tiles: MakeTiles, tmp_path: Path) -> None:
    tiles = make_tiles()
    file = tiles / "export.json"
    file.write_text(file.read_text().replace('"labels": {', '"labels": {"masks": "multi-label",', 1))
    with pytest.raises(LabelError, match="one class a pixel"):
        fit(tiles, tmp_path / "run", tiny_recipe())
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("same_bits_each_time")
def test_averaged_weights_and_added_gradients_survive_a_resume(make_tiles: MakeTiles, tmp_path: Path) -> None:
    tiles = make_tiles()
    recipe = tiny_recipe("optim.epochs=3", "optim.ema=0.9", "optim.accumulate=2", 'loss.terms="ce+lovasz"')
    fit(tiles, tmp_path / "whole", recipe)
    steps = load_run(tmp_path / "whole").file.sampler["batches"]
    with pytest.raises(Killed):
        fit(tiles, tmp_path / "cut", recipe, on_progress=killer(2 * steps + 1))
    fit(tiles, tmp_path / "cut", recipe, resume=True)
    whole, cut = last_weights(tmp_path / "whole"), last_weights(tmp_path / "cut")
    assert whole.keys() == cut.keys() and all(torch.equal(whole[name], cut[name]) for name in whole)
    best = load_file(tmp_path / "whole/best.safetensors")
    assert all(torch.equal(best[name], load_file(tmp_path / "cut/best.safetensors")[name]) for name in best)
    averaged = [name for name in whole if name.startswith("optimizer/ema/") and name != "optimizer/ema/"]
    assert len(averaged) == len(best)
    assert any(not torch.equal(whole[name], whole[name.removeprefix("optimizer/ema/")]) for name in averaged)


def test_two_added_batches_are_one_large_batch() -> None:
    """Of equal numbers of known pixels, for a network without batch normalisation."""
    pixels = torch.randn(4, 3, 8, 8, generator=torch.manual_seed(0))
    target = torch.randint(0, 2, (4, 8, 8), generator=torch.manual_seed(1))
    loss = make_loss(LossConfig(terms="ce"), background=0)
    weights = []
    for parts in ((slice(0, 4),), (slice(0, 2), slice(2, 4))):
        torch.manual_seed(3)
        network = torch.nn.Conv2d(3, 2, 3, padding=1)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        for part in parts:
            (loss(network(pixels[part]), target[part]) / len(parts)).backward()
        optimizer.step()
        weights.append(network.weight.detach())
    assert torch.allclose(*weights, atol=1e-7)


def test_the_average_is_what_is_measured_and_kept(make_tiles: MakeTiles, tmp_path: Path) -> None:
    recipe = tiny_recipe("optim.epochs=1", "optim.ema=0.9", "optim.lr=0.01")
    tiles = make_tiles()
    report = fit(tiles, tmp_path / "run", recipe)
    last, best = last_weights(tmp_path / "run"), load_file(tmp_path / "run" / "best.safetensors")
    assert all(torch.equal(value, last[f"optimizer/ema/{name}"]) for name, value in best.items())
    tile_set = read_tile_set(tiles)
    data, fabric = training_tiles_of(tile_set, recipe), make_fabric(recipe)
    training = Training(tmp_path, recipe, data, fabric, run_file(tile_set, recipe, data, fabric.device))
    training.network.load_state_dict(best)
    measured = training._measure()
    assert load_run(tmp_path / "run").file.metrics["accuracy"] == accuracy(measured.confusion) == report.accuracy
    state = read_state(tmp_path / "run", run=report.run)
    assert state is not None and state.history[0]["val_loss"] == measured.loss


def test_a_training_reads_as_much_around_its_crops_as_it_may_move(make_tiles: MakeTiles, tmp_path: Path) -> None:
    """And what the network sees is of the size of the crop, and known."""
    tile_set = read_tile_set(make_tiles(size=128))
    recipe = tiny_recipe("data.crop_px=32", "augment.rotate=45", "augment.affine_p=1.0")
    data, fabric = training_tiles_of(tile_set, recipe), make_fabric(recipe)
    training = Training(tmp_path, recipe, data, fabric, run_file(tile_set, recipe, data, fabric.device))
    seen: list[torch.Tensor] = []
    training.augment, real = (lambda *a, **k: seen.append(real(*a, **k)[1]) or real(*a, **k)), training.augment  # type: ignore[assignment, func-returns-value]
    batch = training.batches_of(0)[0]
    assert batch.margin == 7 and batch.images.shape[-2:] == (46, 46)  # 16 (sqrt 2 - 1), rounded up
    training.step(batch, 0)
    assert seen[0].shape[-2:] == (32, 32) and (seen[0] == 255).float().mean() < 0.05


def test_the_average_follows_the_weights_and_is_only_lent() -> None:
    network = torch.nn.Linear(2, 2)
    average = WeightAverage(network, keep=0.5)
    first = network.weight.detach().clone()
    with torch.no_grad():
        network.weight += 4
    average.update()
    keep = min(0.5, 2 / 11)
    with average.applied():
        assert torch.allclose(network.weight, first + 4 * (1 - keep))
    assert torch.equal(network.weight, first + 4)
    nothing = WeightAverage(network, keep=0.0)
    nothing.update()
    assert nothing.tensors() == {}
