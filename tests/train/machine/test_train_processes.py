"""Several processes train as one does. They are real processes that talk over gloo."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from qpkit.dataset import read_tile_set
from qpkit.errors import INTERRUPTED
from qpkit_train.data.training_tiles import training_tiles_of
from qpkit_train.inference.thresholds import validated
from qpkit_train.loop import Training, fit
from qpkit_train.machine.devices import make_fabric
from qpkit_train.run_folder.run import load_run
from qpkit_train.run_folder.start import run_file
from qpkit_train.run_folder.weights import load_weights
from tests.train.tiny_tiles import TINY, MakeTiles, square_mask, tiny_recipe, write_tiles

# --devices 2 takes two GPUs where there is one.
pytestmark = pytest.mark.usefixtures("module_on_cpu")

NO_BATCH_NORM = ('model.encoder="vgg11"', "model.options.decoder_use_norm=false")
"""MiniBatch norms of few pixels make more of the order in which floats are added up, step by step."""
AUGMENTED = (
    "augment.stain=0.1",
    "augment.rotate=20",
    "augment.elastic_px=4",
    "augment.blur_px=1",
    "augment.noise=0.02",
    "augment.gamma=0.2",
)
SETTINGS = (
    *AUGMENTED,
    *NO_BATCH_NORM,
    'loss.terms="ce+dice+0.5*lovasz"',
    'loss.class_weights="dynamic"',
    "sampler.hard_negatives=0.5",
    "data.batch_size=3",
    "data.crop_px=32",
    'optim.name="sgd"',
    "optim.lr=0.001",
    "optim.epochs=3",
    "optim.ema=0.9",
    "optim.accumulate=2",
)


class Killed(BaseException):
    """Stands for SIGKILL."""


def train_in_two(
    tiles: Path, run: Path, settings: Sequence[str] = SETTINGS, *options: str
) -> subprocess.CompletedProcess[str]:
    """`qpkit train --devices 2` as a user runs it, one thread each."""
    sets = [part for setting in (*TINY, *settings) for part in ("--set", setting)]
    command = [sys.executable, "-m", "qpkit", "train", str(tiles), "-o", str(run), "--recipe", "unet-resnet18"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command += [*sets, "--devices", "2", *options]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def assert_same_training(run: Path, other: Path) -> None:
    """Equal but for the order in which floats are added up."""
    rows, others = curves(run), curves(other)
    assert len(rows) == len(others) == 3
    for row, twin in zip(rows, others, strict=True):
        for name in ("train_loss", "val_loss", "lr"):
            assert float(row[name]) == pytest.approx(float(twin[name]), rel=1e-5)
    weights, twins = (load_file(root / "best.safetensors") for root in (run, other))
    assert all(np.allclose(weights[name].numpy(), twins[name].numpy(), atol=2e-5) for name in weights)


def curves(run: Path) -> list[dict[str, str]]:
    with (run / "curves.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """13 training tiles (no batch size divides them) and 5 to measure on."""
    rng = np.random.default_rng(5)
    masks = [("train", square_mask(rng, value)) for value in [1] * 4 + [3] * 3 + [0] * 6]
    masks += [("val", square_mask(rng, value)) for value in [1, 3, 1, 0, 0]]
    return write_tiles(tmp_path_factory.mktemp("processes") / "tiles", masks)


@pytest.fixture(scope="module")
def alone(tiles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a single process."""
    root = tmp_path_factory.mktemp("alone") / "run"
    fit(tiles, root, tiny_recipe(*SETTINGS))
    return root


def test_two_processes_have_the_losses_of_one(tiles: Path, alone: Path, tmp_path: Path) -> None:
    done = train_in_two(tiles, tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("What an epoch shows") == 1
    assert_same_training(alone, tmp_path / "run")
    files = [json.loads((root / "run.json").read_text()) for root in (alone, tmp_path / "run")]
    assert files[0]["id"] == files[1]["id"] and files[1]["status"] == "finished"
    assert "2 processes" in files[1]["device"]


def test_batch_norms_see_the_whole_batch_in_two_processes(tiles: Path, tmp_path: Path) -> None:
    settings = ("optim.epochs=1", "data.batch_size=3", "data.crop_px=0")
    done = train_in_two(tiles, tmp_path / "run", settings)
    assert done.returncode == 0, done.stderr
    fit(tiles, tmp_path / "alone", tiny_recipe(*settings))
    ((row,), (twin,)) = curves(tmp_path / "run"), curves(tmp_path / "alone")
    assert float(row["train_loss"]) == pytest.approx(float(twin["train_loss"]), rel=1e-3)


def test_two_processes_measure_the_weights_that_are_kept(tiles: Path, tmp_path: Path) -> None:
    settings = ("optim.epochs=1", "optim.ema=0.5", "optim.lr=0.01")  # with batch norms
    done = train_in_two(tiles, tmp_path / "run", settings)
    assert done.returncode == 0, done.stderr
    assert "reducer" not in done.stderr
    recipe, tile_set = tiny_recipe(*settings), read_tile_set(tiles)
    data, fabric = training_tiles_of(tile_set, recipe), make_fabric(recipe)
    training = Training(tmp_path, recipe, data, fabric, run_file(tile_set, recipe, data, fabric.device))
    load_weights(training.network, tmp_path / "run" / "best.safetensors", run=training.file.id)
    (row,) = curves(tmp_path / "run")
    measured = training._measure()
    assert measured.loss == pytest.approx(float(row["val_loss"]), rel=1e-6)
    assert training.file.id == load_run(tmp_path / "run").id
    assert load_run(tmp_path / "run").file.thresholds == validated(measured.levels, data.labels)


def test_a_training_that_one_process_began_is_finished_by_two(tiles: Path, alone: Path, tmp_path: Path) -> None:
    steps = json.loads((alone / "run.json").read_text())["sampler"]["batches"]

    def kill(done: int, *_: object) -> None:
        if done == steps + 2:
            raise Killed

    with pytest.raises(Killed):
        fit(tiles, tmp_path / "run", tiny_recipe(*SETTINGS), on_progress=kill)
    done = train_in_two(tiles, tmp_path / "run", SETTINGS, "--resume")
    assert done.returncode == 0, done.stderr
    assert_same_training(alone, tmp_path / "run")


def test_resuming_after_sigkill_equals_never_having_been_killed_bit_for_bit(tiles: Path, tmp_path: Path) -> None:
    settings = ("optim.epochs=12", "data.workers=2", "optim.ema=0.9", "sampler.hard_negatives=0.5")
    run = tmp_path / "killed"
    command = [sys.executable, "-m", "qpkit", "train", str(tiles), "-o", str(run), "--recipe", "unet-resnet18"]
    command += [part for setting in (*TINY, *settings) for part in ("--set", setting)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)
    deadline = time.monotonic() + 120
    while not (run / "state.json").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    _, complaint = process.communicate()
    assert process.returncode == -signal.SIGKILL, complaint.decode()
    report = fit(tiles, run, tiny_recipe(*settings), resume=True)
    assert 0 < report.resumed_from < 12
    fit(tiles, tmp_path / "whole", tiny_recipe(*settings))
    assert (run / "curves.csv").read_bytes() == (tmp_path / "whole/curves.csv").read_bytes()
    killed, whole = (load_file(root / "best.safetensors") for root in (run, tmp_path / "whole"))
    assert all(torch.equal(killed[name], whole[name]) for name in whole)


THREADS_AT_THE_END = """
import atexit, os

def note():
    tasks = [f"/proc/self/task/{task}/comm" for task in os.listdir("/proc/self/task")]
    with open(os.path.join(os.path.dirname(__file__), "rank-" + os.environ.get("RANK", "none")), "w") as file:
        file.writelines(open(task).read() for task in tasks)

atexit.register(note)
"""
"""A sitecustomize: what is registered first is called last, right before Python takes itself down."""


def test_a_tile_classifier_trains_in_two_processes_and_is_judged_once(tiles: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "qpkit", "train-classifier", str(tiles), "-o", str(tmp_path / "run")]
    settings = ('model.encoder="resnet18"', 'model.encoder_weights="none"', "optim.epochs=1", "data.batch_size=4")
    command += [part for setting in settings for part in ("--set", setting)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if sys.platform == "linux":
        notes = tmp_path / "notes"
        notes.mkdir()
        (notes / "sitecustomize.py").write_text(THREADS_AT_THE_END)
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(notes), os.environ.get("PYTHONPATH"))))
    done = subprocess.run([*command, "--devices", "2"], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Does a tile show") == 1
    assert len((tmp_path / "run/tiles.csv").read_text().splitlines()) == 1 + 5
    if sys.platform == "linux":  # a thread of gloo that outlives Python aborts the process, once in a while
        for rank in "01":
            threads = (notes / f"rank-{rank}").read_text()
            assert threads and "gloo" not in threads, threads


def test_ctrl_c_ends_all_processes_and_is_said_once(tiles: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "qpkit", "train", str(tiles), "-o", str(tmp_path / "run"), "--devices", "2"]
    command += ["--recipe", "unet-resnet18"]
    command += [part for setting in (*TINY, "optim.epochs=500") for part in ("--set", setting)]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "run/state.json").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.splitlines()[-1] == f"qpkit: {INTERRUPTED}"
    assert said.count("qpkit: ") == 1 and "Traceback" not in said


def test_what_is_wrong_is_said_once_and_ends_all_processes(tiles: Path, tmp_path: Path, make_tiles: MakeTiles) -> None:
    refused = train_in_two(tiles, tmp_path / "run", ("data.batch_size=1",))
    assert (refused.returncode, refused.stderr.count("qpkit: ")) == (1, 1)
    assert "batch of all 2 processes" in refused.stderr
    assert "Traceback" not in refused.stderr
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "file").touch()
    refused = train_in_two(tiles, taken, ())
    assert (refused.returncode, refused.stderr.count("qpkit: ")) == (1, 1), refused.stderr
    assert "Traceback" not in refused.stderr
    damaged = make_tiles()
    for image in damaged.glob("*.png"):
        if "mask" in image.name:
            Image.fromarray(np.full((64, 64), 77, np.uint8)).save(image)
    refused = train_in_two(damaged, tmp_path / "damaged", ())
    assert refused.returncode == 1 and "has value 77" in refused.stderr and "Traceback" not in refused.stderr
