"""Past one machine: array jobs that share a folder, and a Dask cluster that loses a worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from command_line import run
from qpkit.cluster import parse_shard
from qpkit.dataset import read_tile_set
from qpkit.errors import ConfigError
from qpkit.workflows.export.settings import ExportSettings
from qpkit.workflows.export.shard import ShardReport, export_shard
from qpkit.workflows.export.tiles import export_tiles
from qpkit.workflows.inputs.slides import project_classes, slide_inputs
from qpkit.workflows.inputs.tissue_rule import TissueRule

SETTINGS = ExportSettings(tile_size=512, mpp=1.0, tissue=TissueRule.parse("otsu"))


def content(folder: Path) -> dict[str, bytes]:
    """Every file but export.json, which holds the time that it took."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "export.json"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def shard(project: Path, out: Path, text: str) -> ShardReport:
    return export_shard(slide_inputs([project]), out, SETTINGS, parse_shard(text), classes=project_classes([project]))


@pytest.fixture(scope="module")
def whole(made_study: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process makes of the study."""
    out = tmp_path_factory.mktemp("whole") / "out"
    export_tiles(slide_inputs([made_study]), out, SETTINGS, classes=project_classes([made_study]))
    return content(out)


def test_shards_in_any_order_make_what_one_run_makes(made_study: Path, tmp_path: Path, whole: dict[str, bytes]) -> None:
    out = tmp_path / "out"
    first = shard(made_study, out, "3/3")
    assert (first.slides, first.done, first.total, first.whole) == (("patient_C.tif",), 1, 4, None)
    assert not out.exists()
    again = shard(made_study, out, "3/3")
    assert again.done == 1
    assert shard(made_study, out, "1/3").done == 3
    last = shard(made_study, out, "2/3")
    assert last.whole is not None and last.whole.tiles_kept == len(read_tile_set(out).tiles)
    assert content(out) == whole
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    late = shard(made_study, out, "2/3")
    assert (late.done, late.whole) == (4, None)
    assert content(out) == whole


def test_shards_side_by_side_make_what_one_run_makes(made_study: Path, tmp_path: Path, whole: dict[str, bytes]) -> None:
    code = "from qpkit.cli import main; main()"
    options = ["--tile-size", "512", "--mpp", "1.0", "--tissue", "otsu"]
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, "export", made_study, "-o", tmp_path / "out", "--shard", f"{n}/3", *options],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for n in (1, 2, 3, 2)
    ]  # fmt: skip
    assert [child.wait() for child in children] == [0, 0, 0, 0]
    assert content(tmp_path / "out") == whole


def test_a_broken_slide_is_reported_by_its_shard_and_by_the_last(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slide = study / "slides/patient_B.tif"
    raw = bytearray(slide.read_bytes())
    raw[len(raw) // 3 : len(raw) // 3 + 60_000] = os.urandom(60_000)
    slide.write_bytes(raw)
    options = ["--tile-size", "512", "--tissue", "otsu"]
    assert run("export", study, "-o", tmp_path / "out", "--shard", "2/2", *options) == 2
    assert "LEFT OUT, cannot be read: patient_B.tif" in capsys.readouterr().err
    assert run("export", study, "-o", tmp_path / "out", "--shard", "1/2", *options) == 0
    assert list(read_tile_set(tmp_path / "out").info["report"]["failed"]) == ["patient_B.tif"]


def test_another_export_of_the_same_name_does_not_share(made_study: Path, tmp_path: Path) -> None:
    shard(made_study, tmp_path / "out", "1/2")
    other = ExportSettings(tile_size=256, mpp=1.0, tissue=TissueRule.parse("otsu"))
    done = export_shard(slide_inputs([made_study]), tmp_path / "out", other, (1, 2))
    assert done.done == 2
    assert len(list(tmp_path.glob("out.shared-*"))) == 2


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "x/3", "1/0", "-1/3", "1/3/4"])
def test_other_shards_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--shard"):
        parse_shard(text)


@pytest.fixture
def cluster() -> Iterator[object]:
    """Two workers, each a process."""
    distributed = pytest.importorskip("distributed", reason="Dask is not installed (extra: cluster)")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as made:
        yield made


@pytest.mark.filterwarnings("default")
def test_a_cluster_that_loses_a_worker_in_mid_run_makes_what_one_run_makes(
    cluster: object, made_study: Path, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    killed: list[int] = []

    def kill() -> None:
        """As soon as the first slide is being written."""
        while not list(tmp_path.glob("out.partial-*/.trials/*/images/*/*.png")):
            time.sleep(0.005)
        worker = next(iter(cluster.workers.values()))  # type: ignore[attr-defined]
        killed.append(worker.pid)
        os.kill(worker.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    address = cluster.scheduler_address  # type: ignore[attr-defined]
    out = tmp_path / "out"
    export_tiles(slide_inputs([made_study]), out, SETTINGS, classes=project_classes([made_study]), scheduler=address)
    killer.join()
    assert len(killed) == 1
    assert content(out) == whole


@pytest.mark.filterwarnings("default")
def test_a_scheduler_that_is_not_there_is_named(
    made_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed", reason="Dask is not installed (extra: cluster)")
    monkeypatch.setattr("qpkit.cluster._PATIENCE", 1)
    for address in ("tcp://127.0.0.1:9", "no address"):
        with pytest.raises(ConfigError, match="--scheduler"):
            export_tiles(slide_inputs([made_study]), tmp_path / "out", SETTINGS, scheduler=address)
    assert list(tmp_path.iterdir()) == []


def test_shard_and_scheduler_exclude_each_other(made_study: Path, tmp_path: Path) -> None:
    common = ["export", made_study, "-o", tmp_path / "out", "--scheduler", "tcp://127.0.0.1:9"]
    assert run(*common, "--shard", "1/2") == 1
    assert run(*common, "--workers", "2") == 1
