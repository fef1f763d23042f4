"""Long exports: several workers, a broken slide in the middle, kill -9 and run again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from command_line import run
from qpkit.dataset import read_tile_set
from qpkit.errors import ConfigError, FormatError
from qpkit.workflows.export import shard
from qpkit.workflows.export.jobs import SlideJob, SlideResult
from qpkit.workflows.export.settings import ExportSettings
from qpkit.workflows.export.shard import ShardReport, export_shard
from qpkit.workflows.export.tiles import export_tiles
from qpkit.workflows.inputs.slides import project_classes, slide_inputs

SETTINGS = ExportSettings(tile_size=512)
ARGUMENTS = ["--tile-size", "512"]


def content(folder: Path) -> dict[str, bytes]:
    """Every file but export.json, which holds the time that it took."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "export.json"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def export(project: Path, out: Path, **more: int) -> None:
    export_tiles(slide_inputs([project]), out, SETTINGS, classes=project_classes([project]), **more)  # type: ignore[arg-type]


def test_several_workers_write_what_one_writes(study: Path, tmp_path: Path) -> None:
    export(study, tmp_path / "one")
    export(study, tmp_path / "two", workers=2)
    assert content(tmp_path / "one") == content(tmp_path / "two")
    with pytest.raises(ConfigError, match="--workers"):
        export(study, tmp_path / "none", workers=0)


def test_a_script_is_not_run_again_in_its_workers(study: Path, tmp_path: Path) -> None:
    """One without `if __name__ == "__main__":`."""
    script = tmp_path / "script.py"
    script.write_text(
        "import qpkit\nprint('here')\n"
        f"how = qpkit.ExportSettings(mpp={SETTINGS.mpp}, tile_size={SETTINGS.tile_size})\n"
        f"print(qpkit.export({str(study)!r}, {str(tmp_path / 'out')!r}, how, workers=2).failed)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "here\n{}\n"), done.stderr


@pytest.mark.skipif(os.name != "posix", reason="kill -9 needs a POSIX system")
def test_a_killed_export_goes_on_where_it_was(study: Path, tmp_path: Path) -> None:
    export(study, tmp_path / "whole")
    out = tmp_path / "out"
    command = [sys.executable, "-c", "from qpkit.cli import main; main()", "export", study, "-o", out, *ARGUMENTS]
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (done := list(tmp_path.glob("out.partial-*/.done/*.msgpack"))):
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    (left,) = tmp_path.glob("out.partial-*")
    first = next(path for path in sorted((left / "masks").rglob("*.png")) if path.parent.name == done[0].stem)
    stamp = first.stat().st_mtime_ns
    assert run("export", study, "-o", out, *ARGUMENTS) == 0
    assert content(out) == content(tmp_path / "whole")
    assert (out / first.relative_to(left)).stat().st_mtime_ns == stamp  # it was not written again
    assert not list(tmp_path.glob("out.partial-*"))


@pytest.mark.skipif(os.name != "posix", reason="left-over folders are taken up on POSIX systems only")
def test_what_another_job_or_a_living_process_left_is_not_taken(study: Path, tmp_path: Path) -> None:
    for pid, note in ((os.getpid() + 0, "same"), (999_999_999, "another machine and job")):
        folder = tmp_path / f"out.partial-{pid}" if pid != os.getpid() else tmp_path / f"out.partial-{os.getppid()}"
        folder.mkdir()
        (folder / ".job").write_text(note)
    export(study, tmp_path / "out")
    assert len(list(tmp_path.glob("out.partial-*"))) == 2


def test_a_slide_that_breaks_off_is_left_out_and_named(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export(study, tmp_path / "whole")
    slide = study / "slides/patient_B.tif"
    raw = bytearray(slide.read_bytes())
    raw[len(raw) // 3 : len(raw) // 3 + 60_000] = os.urandom(60_000)
    slide.write_bytes(raw)
    code = run("export", study, "-o", tmp_path / "out", *ARGUMENTS)
    said = capsys.readouterr().err
    assert (code, "LEFT OUT, cannot be read: patient_B.tif" in said) == (2, True), said
    tiles = read_tile_set(tmp_path / "out")
    assert {tile.slide for tile in tiles.tiles} == {"patient_A.tif", "patient_C.tif", "patient_D.tif"}
    assert list(tiles.info["report"]["failed"]) == ["patient_B.tif"]
    whole = content(tmp_path / "whole")
    kept = {name: data for name, data in content(tmp_path / "out").items() if name.endswith(".png")}
    assert kept == {name: data for name, data in whole.items() if name.endswith(".png") and "patient_B" not in name}


def test_an_export_of_nothing_but_broken_slides_is_an_error(study: Path, tmp_path: Path) -> None:
    for slide in (study / "slides").glob("*.tif"):
        raw = bytearray(slide.read_bytes())
        raw[len(raw) // 3 : len(raw) // 3 + 60_000] = os.urandom(60_000)
        slide.write_bytes(raw)
    with pytest.raises(FormatError, match="no slide could be exported"):
        export(study, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_slide_that_does_not_open_is_left_out_and_named(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of 0 bytes, or cut in its header; by one run and by shards."""
    export(study, tmp_path / "whole")
    (study / "slides/patient_B.tif").write_bytes(b"")
    slide = study / "slides/patient_C.tif"
    slide.write_bytes(slide.read_bytes()[:60])
    code = run("export", study, "-o", tmp_path / "out", *ARGUMENTS)
    said = capsys.readouterr().err
    assert code == 2 and said.count("LEFT OUT, cannot be read: patient_") == 2, said
    tiles = read_tile_set(tmp_path / "out")
    assert {tile.slide for tile in tiles.tiles} == {"patient_A.tif", "patient_D.tif"}
    assert list(tiles.info["report"]["failed"]) == ["patient_B.tif", "patient_C.tif"]
    whole = content(tmp_path / "whole")
    kept = {name: data for name, data in content(tmp_path / "out").items() if name.endswith(".png")}
    assert kept == {
        n: d for n, d in whole.items() if n.endswith(".png") and "patient_B" not in n and "patient_C" not in n
    }
    assert run("export", study, "-o", tmp_path / "shards", "--shard", "2/2", *ARGUMENTS) == 2
    assert run("export", study, "-o", tmp_path / "shards", "--shard", "1/2", *ARGUMENTS) == 2
    assert content(tmp_path / "shards") == content(tmp_path / "out")


def test_an_export_of_slides_none_of_which_opens_is_an_error(study: Path, tmp_path: Path) -> None:
    for slide in (study / "slides").glob("*.tif"):
        slide.write_bytes(b"")
    assert run("export", study, "-o", tmp_path / "out", *ARGUMENTS) == 1
    assert not (tmp_path / "out").exists()
    with pytest.raises(FormatError, match=r"patient_A\.tif"):
        slide_inputs([study])


def test_a_job_that_another_overtakes_leaves_nothing_behind(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one finishes the folder while this one is about to write its first slide."""
    how = (slide_inputs([study]), tmp_path / "out", SETTINGS, (1, 1))
    true_run = shard.run_slides

    def overtaken(jobs: Sequence[SlideJob], root: Path, **more: Any) -> Iterator[SlideResult]:
        monkeypatch.setattr(shard, "run_slides", true_run)
        seen.append(export_shard(*how, classes=project_classes([study])))
        return true_run(jobs, root, **more)

    seen: list[ShardReport] = []
    monkeypatch.setattr(shard, "run_slides", overtaken)
    seen.append(export_shard(*how, classes=project_classes([study])))
    assert [(one.done, one.total, one.whole is None) for one in seen] == [(4, 4, False), (4, 4, True)]
    export(study, tmp_path / "whole")
    assert content(tmp_path / "out") == content(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "study", "whole"]
