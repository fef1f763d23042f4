"""What goes wrong while slides are predicted: a broken tile, a slide that vanishes, a full disk, too little memory."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile
from numpy.typing import NDArray
from test_train_predict_resumed import BLENDED, COLUMNS, ROWS, SETTINGS, Mortal, folder, rasters, run
from test_train_slide_predictor import PixelModel

from command_line import run as qpkit
from qpkit.errors import ConfigError, OutputError
from shared_data import ROOT

__all__ = ["folder"]

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def break_tiles(path: Path, *places: tuple[int, int]) -> None:
    """Write nonsense over blocks of a TIFF, which are tiles of 32 px."""
    tifffile.imwrite(path, tifffile.imread(path), tile=(32, 32), photometric="rgb", compression="zlib")
    with tifffile.TiffFile(path) as tiff:
        offsets = tiff.pages[0].dataoffsets
    with path.open("r+b") as file:
        for col, row in places:
            file.seek(offsets[row * COLUMNS + col])
            file.write(b"\xff" * 40)


def band(root: Path, name: str) -> NDArray[np.uint8]:
    with rasterio.open(root / name) as dataset:
        return np.asarray(dataset.read())


@pytest.mark.parametrize("background", [0, 7])
def test_a_broken_tile_is_background_and_named_and_all_else_is_as_before(folder: Path, background: int) -> None:
    model = PixelModel()
    model.card = replace(model.card, labels=replace(model.card.labels, background=background))
    run(folder, model, out="whole")
    break_tiles(folder / "b.tif", (1, 2))
    report = run(folder, model)
    assert report.is_partial and not report.skipped
    (broken,) = [slide for slide in report.slides if slide.broken]
    assert (broken.name, list(broken.broken)) == ("b", ["32, 64"])
    inside = np.zeros((ROWS * 32, COLUMNS * 32), bool)
    inside[64:96, 32:64] = True
    for name, value in (("b.labels.tif", background), ("b.probabilities.tif", 0)):
        before, now = band(folder / "whole", name), band(folder / "out", name)
        assert (now[:, inside] == value).all() and np.array_equal(now[:, ~inside], before[:, ~inside])
    assert rasters(folder / "out").keys() == rasters(folder / "whole").keys()


def test_a_broken_tile_says_nothing_about_its_neighbours(folder: Path) -> None:
    """Whatever the model made of white pixels there: blended with their other neighbours, all but it are predicted."""
    break_tiles(folder / "a.tif", (1, 1))
    report = run(folder, PixelModel(), settings=replace(BLENDED, halo_px=32))
    assert len(report.slides[0].broken) == 9  # each of whose halos shows the block
    labels = band(folder / "out", "a.labels.tif")[0]
    assert (labels[:96] == 0).all() and (labels[96:] != 0).any()


def test_a_slide_of_which_nothing_can_be_read_is_skipped(folder: Path) -> None:
    break_tiles(folder / "b.tif", *((col, row) for col in range(COLUMNS) for row in range(ROWS)))
    report = run(folder, PixelModel())
    assert [slide.name for slide in report.slides] == ["a", "c"]
    assert "none of its tiles can be read" in dict(report.skipped)["b"]


def test_a_slide_that_vanishes_is_skipped_and_the_others_are_predicted(folder: Path) -> None:
    def vanish() -> None:
        os.truncate(folder / "b.tif", 100)  # what is open would still be read if it was only unlinked

    report = run(folder, Mortal(3, then=vanish), settings=replace(SETTINGS, readers=1))
    assert [slide.name for slide in report.slides] == ["a", "c"]
    assert "can no longer be opened" in dict(report.skipped)["b"]
    assert report.is_partial
    assert not [name for name in rasters(folder / "out") if name.startswith("b")]


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As a disk that is full from there on."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


@pytest.mark.skipif(os.name != "posix", reason="file sizes are limited as posix does")
@pytest.mark.parametrize("size", [3_000, 20_000])
def test_a_full_disk_is_said_and_the_same_command_goes_on(folder: Path, size: int) -> None:
    """Where the journal, or a raster, does not fit."""
    run(folder, PixelModel(), out="whole")
    with files_of_at_most(size), pytest.raises(OutputError, match=r"full.* the same command goes on"):
        run(folder, PixelModel())
    assert not (folder / "out").exists()
    assert not list(folder.glob("out.shared-*/**/*.tif"))
    run(folder, PixelModel())
    assert rasters(folder / "out") == rasters(folder / "whole")
    assert not list(folder.glob("*shared*"))


def test_too_little_memory_for_a_tile_ends_it_and_leaves_nothing(folder: Path) -> None:
    def fail() -> None:
        raise ConfigError("the device's memory is not enough for one tile")

    with pytest.raises(ConfigError, match="not enough"):
        run(folder, Mortal(1, slide=1, then=fail))
    assert not list(folder.glob("*out*"))


def test_the_command_names_what_is_broken_and_ends_with_2(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra: onnx)")
    shutil.copy(ROOT / "tests/kept/model.onnx", folder / "model.onnx")
    break_tiles(folder / "a.tif", (0, 0))
    command = [
        "predict",
        folder / "model.onnx",
        folder,
        "-o",
        folder / "out",
        "--slide-mpp",
        "0.5",
        "--tile-size",
        "32",
    ]
    assert qpkit(*command, "--halo", "0", "--everything") == 2
    said = capsys.readouterr().err
    assert "note: a.tif: BROKEN: 1 tile(s) cannot be read and are background: at 0, 0 (" in said
    assert "b.tif: BROKEN" not in said


def test_a_killed_process_of_several_is_said(folder: Path) -> None:
    """By its parent, in one line."""
    code = f"""
import sys; sys.path[:0] = {sys.path!r}
import dying
from qpkit_train.inference.sharing import crew

crew._member = dying.member
crew.work_on_devices(None, None, [], ("cpu", "cpu"), print)
"""
    (folder / "dying.py").write_text("import os, signal\ndef member(*given): os.kill(os.getpid(), signal.SIGKILL)\n")
    (folder / "main.py").write_text(code)
    done = subprocess.run(
        [sys.executable, folder / "main.py"], capture_output=True, text=True, check=False, timeout=120
    )
    assert "a process was killed" in done.stderr
