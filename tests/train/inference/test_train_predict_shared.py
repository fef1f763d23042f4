"""Several processes on one prediction: parts of array jobs, devices, a cluster, and the same command twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from command_line import run as qpkit
from qpkit.claims import claimed
from qpkit.errors import ConfigError
from qpkit.files import settle_shared
from qpkit.predictions import read_predictions
from qpkit.slides import SlideSource
from qpkit_train.inference.plan import plan_predictions
from qpkit_train.inference.predict import predict
from qpkit_train.inference.report import PredictReport
from qpkit_train.inference.settings import PredictSettings, parse_devices
from qpkit_train.inference.sharing.work import Worker
from shared_data import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
]

SETTINGS = PredictSettings(tile_px=32, halo_px=32, only_tissue=False, probabilities=True)


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> list[SlideSource]:
    root = tmp_path_factory.mktemp("slides")
    rng = np.random.default_rng(0)
    made = []
    for name in "abcd":
        path = root / f"{name}.tif"
        pixels = rng.integers(0, 240, (100, 150, 3), dtype=np.uint8)
        tifffile.imwrite(path, pixels, tile=(64, 64), photometric="rgb")
        made.append(SlideSource(name=name, path=path, mpp=0.5))
    return made


@pytest.fixture(scope="module", params=["run", "model.onnx"])
def model(request: pytest.FixtureRequest) -> Path:
    if request.param == "model.onnx":
        pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra: onnx)")
    return ROOT / "tests/kept" / str(request.param)


@pytest.fixture(scope="module")
def whole(model: Path, slides: list[SlideSource], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process makes."""
    out = tmp_path_factory.mktemp("whole") / "out"
    predict(model, slides, out, SETTINGS)
    return rasters(out)


def rasters(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != "predictions.json"}


def counts(report: PredictReport) -> tuple[list[str], int, int]:
    return [slide.name for slide in report.slides], report.missing, report.total


def test_shards_in_any_order_make_what_one_run_makes(
    model: Path, slides: list[SlideSource], tmp_path: Path, whole: dict[str, bytes]
) -> None:
    def shard(number: int) -> PredictReport:
        return predict(model, slides, tmp_path / "out", SETTINGS, shard=(number, 3))

    assert counts(shard(3)) == (["c"], 3, 4)
    assert counts(shard(3)) == (["c"], 3, 4)
    assert counts(shard(1)) == (["a", "d"], 1, 4)
    assert not (tmp_path / "out").exists()
    assert counts(shard(2)) == (["a", "b", "c", "d"], 0, 4)
    assert rasters(tmp_path / "out") == whole
    assert counts(shard(2)) == (["a", "b", "c", "d"], 0, 4)
    assert rasters(tmp_path / "out") == whole
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_several_devices_make_what_one_makes(model: Path, slides: list[SlideSource], tmp_path: Path) -> None:
    """One of the same kind: without --devices it is the best there is."""
    predict(model, slides, tmp_path / "one", SETTINGS, devices=parse_devices("cpu"))
    seen: list[tuple[Any, ...]] = []
    how: dict[str, Any] = {"devices": parse_devices("cpu,cpu"), "on_progress": lambda *told: seen.append(told)}
    report = predict(model, slides, tmp_path / "out", SETTINGS, **how)
    assert counts(report) == (["a", "b", "c", "d"], 0, 4)
    assert rasters(tmp_path / "out") == rasters(tmp_path / "one")
    assert [slide.name for slide in read_predictions(tmp_path / "out").slides] == ["a", "b", "c", "d"]
    assert seen[-1][0] == seen[-1][1] == 4 * 20


def test_a_script_is_not_run_again_in_the_processes_of_devices(
    model: Path, slides: list[SlideSource], tmp_path: Path
) -> None:
    """One without `if __name__ == "__main__":`."""
    script = tmp_path / "script.py"
    script.write_text(
        "import qpkit\nprint('here')\n"
        "how = qpkit.SlideSettings(slide_mpp=0.5)\n"
        f"report = qpkit.predict({str(model)!r}, {str(slides[0].path)!r}, 'out', devices=['cpu', 'cpu'], slides=how)\n"
        "print(len(report.slides))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "here\n1\n"), done.stderr


def test_a_device_that_is_not_there_is_named(model: Path, slides: list[SlideSource], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--devices 97"):
        predict(model, slides, tmp_path / "out", SETTINGS, devices=("97",))
    assert not list(tmp_path.iterdir())
    for text in ("", "0;1", "gpu", "0,,1", "-1"):
        with pytest.raises(ConfigError, match="numbers of GPUs"):
            parse_devices(text)


def test_a_slide_that_another_process_has_is_left_to_it(
    model: Path, slides: list[SlideSource], tmp_path: Path, whole: dict[str, bytes]
) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):  # the folder stays, so that the test knows its name
        predict(model, slides, out, SETTINGS, on_progress=interrupt_after_a_slide)
    (root,) = tmp_path.glob("out.shared-*")
    with claimed(root, "c"):
        assert counts(predict(model, slides, out, SETTINGS)) == (["a", "b", "d"], 1, 4)
        assert not out.exists()
    assert counts(predict(model, slides, out, SETTINGS)) == (["a", "b", "c", "d"], 0, 4)
    assert rasters(out) == whole


def interrupt_after_a_slide(done: int, total: int, text: str) -> None:
    if done > total / 3:
        raise KeyboardInterrupt


def test_the_same_command_side_by_side_shares_the_slides(slides: list[SlideSource], tmp_path: Path) -> None:
    """Whoever is last makes the folder; the others say so, or find it made."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra: onnx)")
    command = ["predict", ROOT / "tests/kept/model.onnx", slides[0].path.parent, "--slide-mpp", "0.5", "--everything"]
    command += ["--tile-size", "32", "--halo", "32", "--probabilities"]
    assert qpkit(*command, "-o", tmp_path / "whole") == 0
    start = [sys.executable, "-m", "qpkit", *command, "-o", tmp_path / "out"]
    children = [subprocess.Popen(start, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [child.communicate(timeout=120)[1] for child in children]
    for child, text in zip(children, said, strict=True):
        assert child.returncode == 0 or "there is something already" in text, text
    assert rasters(tmp_path / "out") == rasters(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "whole"]


def test_a_process_that_comes_late_leaves_nothing_behind(
    model: Path, slides: list[SlideSource], tmp_path: Path, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It claims a slide just before the folder gets its name, or looks for one just after."""
    late = Worker(plan_predictions(model, slides, SETTINGS), tmp_path, on_tiles=lambda *_: None)

    def settle_while_another_looks(root: Path, out: Path) -> None:
        late._root = root
        assert late.slide(0)
        with claimed(root, late._plan.stems[0]):
            settle_shared(root, out)
            with pytest.raises(FileNotFoundError):
                late.slide(1)
            with pytest.raises(FileNotFoundError):
                late._predicted(1, late._model, Claimed(), None).send(None)

    monkeypatch.setattr("qpkit_train.inference.predict.settle_shared", settle_while_another_looks)
    predict(model, slides, tmp_path / "out", SETTINGS)
    assert rasters(tmp_path / "out") == whole
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


class Claimed:
    """What a process that lost its folder still holds."""

    token = "late"


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Two workers, each a process."""
    distributed = pytest.importorskip("distributed", reason="Dask is not installed (extra: cluster)")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as made:
        yield made


@pytest.mark.filterwarnings("default")
def test_a_cluster_that_loses_a_worker_in_mid_run_makes_what_one_run_makes(
    cluster: Any, model: Path, slides: list[SlideSource], tmp_path: Path, whole: dict[str, bytes]
) -> None:
    def kill() -> None:
        """As soon as a slide is being predicted."""
        while not list(tmp_path.glob("out.shared-*/.trials/*/*/journal")):
            time.sleep(0.005)
        os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    report = predict(model, slides, tmp_path / "out", SETTINGS, scheduler=cluster.scheduler_address)
    killer.join()
    assert counts(report) == (["a", "b", "c", "d"], 0, 4)
    assert rasters(tmp_path / "out") == whole


def test_who_shares_out_the_slides_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["predict", ROOT / "tests/kept/run", ROOT / "tests/kept/slide.tif", "-o", tmp_path / "out"]
    for others in (["--shard", "1/2"], ["--devices", "cpu"]):
        assert qpkit(*common, "--scheduler", "tcp://127.0.0.1:9", *others) == 1
        assert "--scheduler shares out the slides" in capsys.readouterr().err
