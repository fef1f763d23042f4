"""A training goes on with the settings of its run folder, for longer if it is told so, and never as another one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import load_file
from tiny_tiles import MakeTiles, tiny_recipe

from command_line import run
from qpkit.errors import ConfigError, OutputError
from qpkit.workflows.info import describe
from qpkit_train.loop import fit
from qpkit_train.run_folder.records import read_run_file, status_of, write_run_file
from qpkit_train.run_folder.resuming import tiles_and_recipe

CONSTANT = ("optim.schedule=constant", "early_stopping.patience=0")


def test_a_training_goes_on_with_what_its_folder_says(make_tiles: MakeTiles, tmp_path: Path) -> None:
    tiles = make_tiles()
    recipe = tiny_recipe("optim.lr=0.002")
    fit(tiles, tmp_path / "run", recipe)
    place, again = tiles_and_recipe(tmp_path / "run", None, "", (), resume=True, default="unet-resnet18")
    assert (place, again) == (tiles.resolve(), recipe)
    assert run("train", "-o", tmp_path / "run", "--resume") == 0
    _, changed = tiles_and_recipe(tmp_path / "run", None, "", ["optim.epochs=9"], resume=True, default="")
    assert changed == tiny_recipe("optim.lr=0.002", "optim.epochs=9")
    with pytest.raises(ConfigError, match="TILES is missing"):
        tiles_and_recipe(tmp_path / "none", None, "", (), resume=True, default="unet-resnet18")


def test_a_finished_training_can_be_prolonged_and_is_one_of_that_length(make_tiles: MakeTiles, tmp_path: Path) -> None:
    """With a rate that does not hang on the length, bit for bit."""
    tiles, notes = make_tiles(), list[str]()
    fit(tiles, tmp_path / "whole", tiny_recipe("optim.epochs=3", *CONSTANT))
    short = fit(tiles, tmp_path / "run", tiny_recipe("optim.epochs=2", *CONSTANT))
    longer = tiny_recipe("optim.epochs=3", *CONSTANT)
    with pytest.raises(OutputError, match="holds run"):
        fit(tiles, tmp_path / "run", longer)
    report = fit(tiles, tmp_path / "run", longer, resume=True, on_note=notes.append)
    assert (report.run, report.resumed_from, report.epochs) == (short.run, 2, 3)
    assert any("optim.epochs 2 -> 3" in note and "schedule of 3 epochs" in note for note in notes)
    assert any("optim.epochs 2 -> 3" in note for note in report.notes)
    one, other = (load_file(tmp_path / name / "last-0003.safetensors") for name in ("whole", "run"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert fit(tiles, tmp_path / "run", longer, resume=True).resumed_from == 3  # it is the longer one from now on


def test_another_training_is_refused_by_what_differs(make_tiles: MakeTiles, tmp_path: Path) -> None:
    tiles = make_tiles()
    fit(tiles, tmp_path / "run", tiny_recipe())
    with pytest.raises(OutputError, match=r"differs in optim\.lr.*only optim\.epochs and early_stopping\.patience"):
        fit(tiles, tmp_path / "run", tiny_recipe("optim.lr=0.5"), resume=True)
    with pytest.raises(OutputError, match="differs in tiles"):
        fit(make_tiles({1: 9}, name="others"), tmp_path / "run", tiny_recipe(), resume=True)


def test_a_training_without_patience_left_says_what_to_raise(make_tiles: MakeTiles, tmp_path: Path) -> None:
    tiles, stop = make_tiles(), ("early_stopping.patience=1", "early_stopping.min_delta=2.0")
    fit(tiles, tmp_path / "run", tiny_recipe("optim.epochs=2", *stop))
    with pytest.raises(ConfigError, match=r"--set early_stopping\.patience="):
        fit(tiles, tmp_path / "run", tiny_recipe("optim.epochs=4", *stop), resume=True)


def test_a_run_whose_process_is_gone_is_shown_as_interrupted(make_tiles: MakeTiles, tmp_path: Path) -> None:
    root = tmp_path / "run"
    fit(make_tiles(), root, tiny_recipe())
    file = read_run_file(root)
    made = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    gone = int(made.stdout)
    for process, status in (
        (f"{socket.gethostname()} {gone}", "interrupted"),
        (f"{socket.gethostname()} {os.getpid()}", "running"),
        (f"elsewhere {gone}", "running"),
        ("", "running"),
    ):
        write_run_file(root, msgspec.structs.replace(file, status="running", process=process))
        assert status_of(read_run_file(root)) == status == describe(root).facts["status"]
