"""A run folder at its start: what its name depends on, who may have it, and what a failure leaves."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import torch
from tiny_tiles import MakeTiles, tiny_recipe

from qpkit.dataset import read_tile_set
from qpkit.errors import ConfigError, FormatError, OutputError
from qpkit.files import RUN_NAME, sha256
from qpkit_train.appearance import Appearance
from qpkit_train.data.normalization import Normalization
from qpkit_train.data.training_tiles import training_tiles_of
from qpkit_train.run_folder.initial_network import InitialNetwork
from qpkit_train.run_folder.records import BEST_NAME, STATE_NAME, RunFile, write_run_file
from qpkit_train.run_folder.start import claim_folder, cleared_on_failure, resumed_run_file, run_file, with_network
from qpkit_train.run_folder.tensorboard import EVENTS_FOLDER

LOOKS = Appearance(slides={"a": [0.5] * 9}, within=[[0.0] * 9] * 9)
FED = Normalization(mean=(0.1, 0.2, 0.3), deviation=(1.0, 1.0, 0.5))


def described(tiles: Path, *overrides: str) -> RunFile:
    tile_set, recipe = read_tile_set(tiles), tiny_recipe(*overrides)
    return run_file(tile_set, recipe, training_tiles_of(tile_set, recipe), torch.device("cpu"))


def small_network() -> InitialNetwork:
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 2))
    network[0].requires_grad_(False)
    return InitialNetwork(network, {"weights": {"run": "r"}}, ("a note",))


def test_a_run_is_described_before_its_first_epoch(make_tiles: MakeTiles) -> None:
    tiles = make_tiles()
    file = described(tiles)
    assert (file.status, file.epochs, file.best_epoch) == ("running", 0, 0)
    assert (file.mpp, file.downsample, file.tile_size_px, file.precision) == (0.5, 2.0, 64, "32-true")
    assert file.tiles == {
        "path": str(tiles.resolve()), "sha256": sha256(tiles / "tiles.parquet"), "train": 11, "val": 4,
        "validated_on": "val",
    }  # fmt: skip
    assert msgspec.json.decode(msgspec.json.encode(file), type=RunFile) == file


def test_the_id_follows_recipe_and_tiles_and_nothing_else(make_tiles: MakeTiles) -> None:
    tiles, twin, other = make_tiles(), make_tiles(name="twin"), make_tiles({1: 2}, name="other")
    assert described(tiles).id == described(tiles).id == described(twin).id
    names = {described(tiles).id, described(other).id, described(tiles, "seed=1").id, described(tiles, "optim.lr=1").id}
    assert len(names) == 4


def test_a_network_adds_its_size_its_origins_and_its_notes(make_tiles: MakeTiles) -> None:
    file = msgspec.structs.replace(described(make_tiles()), notes=["before"])
    made = with_network(file, small_network(), FED, LOOKS)
    assert made.parameters == {"all": 8 + 6, "learning": 6}
    assert (made.notes, made.origins, made.normalization) == (["before", "a note"], {"weights": {"run": "r"}}, FED)
    assert made.appearance == LOOKS


def test_a_run_that_goes_on_keeps_what_its_start_measured(make_tiles: MakeTiles, tmp_path: Path) -> None:
    file = described(make_tiles())
    write_run_file(tmp_path, with_network(file, small_network(), FED, LOOKS))
    again = resumed_run_file(tmp_path, msgspec.structs.replace(file, device="another"))
    assert (again.normalization, again.notes, again.device) == (FED, [*file.notes, "a note"], "another")
    assert again.appearance == LOOKS
    assert again.origins == {"weights": {"run": "r"}}


def test_who_may_have_a_folder(make_tiles: MakeTiles, tmp_path: Path) -> None:
    tiles, root = make_tiles(), tmp_path / "some/where"
    file = described(tiles)
    claim_folder(root, file, resume=False)
    claim_folder(root, file, resume=False)  # empty, still
    write_run_file(root, file)
    with pytest.raises(OutputError, match="holds a run already"):
        claim_folder(root, file, resume=False)
    claim_folder(root, file, resume=True)
    for resume in (False, True):
        with pytest.raises(OutputError, match=f"holds run {file.id}; this recipe"):
            claim_folder(root, described(tiles, "seed=1"), resume=resume)
    (root / RUN_NAME).write_text("{}")
    with pytest.raises(FormatError, match="damaged"):
        claim_folder(root, file, resume=True)
    (root / RUN_NAME).rename(root / "notes.txt")
    for there in (root, root / "notes.txt"):
        with pytest.raises(OutputError, match="something already that is no run"):
            claim_folder(there, file, resume=True)
    with pytest.raises(OutputError, match="cannot be made"):
        claim_folder(root / "notes.txt/below", file, resume=False)


def filled(root: Path, *names: str) -> Path:
    (root / EVENTS_FOLDER).mkdir(parents=True)
    for name in (*names, f"{EVENTS_FOLDER}/events"):
        (root / name).touch()
    return root


def test_a_failure_before_the_first_whole_epoch_leaves_nothing_but_what_is_not_ours(tmp_path: Path) -> None:
    own = (RUN_NAME, BEST_NAME, "last-0001.safetensors", "last-0001.optimizer.safetensors")
    with pytest.raises(ConfigError), cleared_on_failure(filled(tmp_path / "own", *own)):
        raise ConfigError("no")
    assert not (tmp_path / "own").exists()
    with pytest.raises(ConfigError), cleared_on_failure(filled(tmp_path / "shared", *own, "notes.txt")):
        raise ConfigError("no")
    assert [path.name for path in (tmp_path / "shared").iterdir()] == ["notes.txt"]


def test_whole_epochs_and_killed_processes_keep_their_files(tmp_path: Path) -> None:
    own = (RUN_NAME, BEST_NAME, STATE_NAME)
    with pytest.raises(ConfigError), cleared_on_failure(filled(tmp_path / "later", *own)):
        raise ConfigError("no")
    with pytest.raises(KeyboardInterrupt), cleared_on_failure(filled(tmp_path / "killed", *own[:2])):
        raise KeyboardInterrupt
    with cleared_on_failure(filled(tmp_path / "well", *own[:2])):
        pass
    left = {root: len(list((tmp_path / root).iterdir())) for root in ("later", "killed", "well")}
    assert left == {"later": 4, "killed": 3, "well": 3}
    (tmp_path / "empty").mkdir()
    with cleared_on_failure(tmp_path / "empty"):
        pass
    assert not (tmp_path / "empty").exists()
