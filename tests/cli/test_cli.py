from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from predictions_made_up import predict_truth

from qpkit.cli import app, main
from qpkit.errors import INTERRUPTED
from qpkit.qupath import open_project
from qpkit.workflows.inputs.label_maps import read_label_map
from shared_data import ROOT


def run(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(arg) for arg in args])
    shown = capsys.readouterr()
    code = ended.value.code
    return (0 if code is None else int(code)), shown.out, shown.err


def test_help_imports_neither_numpy_nor_torch() -> None:
    code = "import sys, qpkit.cli; print([m for m in ('numpy', 'torch', 'shapely') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_version_and_help_end_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--version")[0] == 0
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert all(verb in out for verb in ("export", "train", "predict", "import-predictions", "evaluate", "info"))


@pytest.mark.parametrize("name", ["shapely", None])
def test_a_package_that_cannot_be_imported_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str | None
) -> None:
    def broken(*_: object) -> None:
        raise ImportError("DLL load failed " * 30, name=name)

    monkeypatch.setattr("qpkit.cli.app", broken)
    code, _, err = run(capsys, "info", "x")
    assert code == 1 and err.count("\n") == 1 and len(err) < 200
    assert (name or "a package") in err and "qpkit doctor" in err


def test_shells_can_complete_commands(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_QPKIT_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "qpkit imp")
    monkeypatch.setenv("COMP_CWORD", "1")
    with pytest.raises(SystemExit):
        app([], prog_name="qpkit")
    assert sorted(capsys.readouterr().out.split()) == ["import-predictions", "import-tiles"]


def test_wrong_usage_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "export")[0] == 2
    assert run(capsys, "export", "x", "-o", "y", "--tile-sise", "3")[0] == 2


def bad_labels(study: Path, text: str) -> Path:
    path = study / "bad.toml"
    path.write_text(text)
    return path


BAD = {
    "no such project": (lambda s: ["export", s / "gone.qpproj"], "gone.qpproj"),
    "foreign project": (lambda s: [("project.qpproj", b"{}"), "export", s], "project.qpproj"),
    "missing image": (lambda s: [("slides/patient_B.tif", None), "export", s], "patient_B.tif"),
    "truncated data": (lambda s: [("data/2/data.qpdata", 700), "export", s], "data.qpdata"),
    "foreign data": (lambda s: [("data/2/data.qpdata", b"PK\3\4zip"), "export", s], "data.qpdata"),
    "truncated slide": (
        lambda s: [("slides/patient_B.tif", 90_000), "export", s, "--entry", "patient_B.tif"],
        "patient_B.tif",
    ),
    "unknown label key": (lambda s: ["export", s, "--labels", bad_labels(s, "colour = 1")], "bad.toml"),
    "label class twice": (
        lambda s: ["export", s, "--labels", bad_labels(s, '[[class]]\nname="A"\nvalue=1\n' * 2)],
        "'A' is there 2 times",
    ),
    "no labels file": (lambda s: ["export", s, "--labels", s / "no.toml"], "no.toml"),
    "two resolutions": (lambda s: ["export", s, "--mpp", "0.5", "--downsample", "2"], "--downsample"),
    "unknown split key": (lambda s: ["export", s, "--split", "patient:Case"], "'Case'"),
    "two slides for one geojson": (lambda s: ["export", s, "--annotations", s / "labels.toml"], "--annotations"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_exit_1_and_nothing_written(
    case: str, study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, said = BAD[case]
    args = make(study)
    if isinstance(args[0], tuple):
        relative, change = args.pop(0)
        path = study / relative
        if change is None:
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:change] if isinstance(change, int) else change)
    code, _, err = run(capsys, *args, "-o", tmp_path / "out")
    lines = [line for line in err.splitlines() if line.startswith("qpkit:")]
    assert code == 1
    assert len(lines) == 1
    assert said in lines[0]
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_without_torch_training_says_what_to_install(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [m for m in sys.modules if m.startswith("qpkit_train")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in ("export.json", "tiles.parquet", "run.json"):
        (tmp_path / name).touch()
    for args in (["train", tmp_path, "-o", tmp_path / "r"], ["predict", tmp_path, study, "-o", tmp_path / "p"]):
        code, _, err = run(capsys, *args)
        assert code == 1
        assert "pip install 'qpkit[train]'" in err


def test_export_then_info_as_json(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "export", study, "-o", tmp_path / "t", "--tissue", "otsu", "--tile-size", "512")
    assert code == 0
    assert "Tumor" in out
    assert "counts as background" in err
    code, out, _ = run(capsys, "info", tmp_path / "t", "--json")
    assert json.loads(out)["kind"] == "tiles"
    code, _, err = run(capsys, "export", study, "-o", tmp_path / "t")
    assert (code, "something already" in err) == (1, True)
    assert run(capsys, "export", study, "-o", tmp_path / "t", "--overwrite", "--entry", "2")[0] == 0
    assert json.loads(run(capsys, "info", tmp_path / "t", "--json")[1])["rows"][0]["slide"] == "patient_B.tif"


@pytest.mark.parametrize("what", ["project.qpproj", "slides/patient_A.tif", "data/1/data.qpdata", "."])
def test_info_shows_a_table_and_json(study: Path, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "info", study / what)[0] == 0
    assert json.loads(run(capsys, "info", study / what, "--json")[1])["kind"]


def test_ctrl_c_is_one_line_exit_1_and_says_how_to_go_on(study: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from qpkit.cli import main; main()"]
    args = ["export", str(study), "-o", str(tmp_path / "out"), "--tile-size", "32", "--tissue", "none"]
    process = subprocess.Popen(
        command + args,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # shells ignore it in background jobs
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("out.partial-*/images/*/*.png")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in err and err.rstrip().endswith(INTERRUPTED)
    assert not (tmp_path / "out").exists()


def documented_commands() -> list[str]:
    """Every qpkit line in a code block of the README and the docs, continuation lines joined."""
    lines = []
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for block in re.findall(r"```[^\n]*\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.S):
            joined = re.sub(r"\\\n\s*", " ", block)
            lines += [line.strip() for line in joined.splitlines() if line.strip().startswith("qpkit ")]
    return lines


@pytest.mark.parametrize("line", documented_commands())
def test_every_documented_command_exists_with_its_options(line: str) -> None:
    _, verb, *words = shlex.split(line.split("#")[0])
    command = typer.main.get_command(app).get_command(None, verb)  # type: ignore[attr-defined]
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    assert command is not None
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= known


def test_masks_of_another_program_reach_the_project(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    square = np.zeros((100, 200), dtype=np.uint8)
    square[20:40, 50:90] = 1
    Image.fromarray(square).save(masks / "patient_D [d=2,x=400,y=200,w=400,h=200]-labelled.png")
    words = ["import-predictions", masks, study, "--from-masks", "--labels", study / "labels.toml"]
    assert run(capsys, *words, "--as", "detections")[0] == 0
    (found,) = [o for o in open_project(study).entry("patient_D.tif").objects() if o.kind == "detection"]
    assert found.geometry.bounds == (500, 240, 580, 280)
    assert found.class_name == "Tumor"
    assert "needs --labels" in run(capsys, "import-predictions", masks, study, "--from-masks")[2]
    assert "go with --from-masks" in run(capsys, *words[:3], "--labels", study / "labels.toml")[2]


def test_masks_of_another_program_are_evaluated(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = predict_truth(study, tmp_path / "pred", read_label_map(study / "labels.toml"))
    (tmp_path / "masks").mkdir()
    with Image.open(made.root / made.slides[0].labels) as raster:
        Image.fromarray(np.asarray(raster)).save(tmp_path / "masks/patient_D [d=2,x=0,y=0,w=2816,h=2048].png")
    words = ["evaluate", tmp_path / "masks", study, "--from-masks"]
    code, out, err = run(capsys, *words, "--labels", study / "labels.toml", "--json")
    assert code == 0
    assert json.loads(out)["pooled"]["scores"]["Tumor"]["dice"] == 1.0
    assert "no probabilities for patient_D.tif" in err
    assert "needs --labels" in run(capsys, *words)[2]
    assert "goes with --from-masks" in run(capsys, *words[:3], "--table", "x.csv")[2]
    slide = study / "slides/patient_D.tif"
    refused = run(capsys, *words[:2], slide, "--from-masks", "--labels", study / "labels.toml")[2]
    assert "exactly one QuPath project" in refused


def test_predictions_are_imported_written_and_evaluated(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = read_label_map(study / "labels.toml")
    made = predict_truth(study, tmp_path / "pred", labels)
    assert "Tumor 3" in run(capsys, "import-predictions", made.root, study, "--simplify-um", "1")[1]
    assert run(capsys, "import-predictions", made.root, study, "--geojson-only", tmp_path / "json")[0] == 0
    assert sorted(p.name for p in (tmp_path / "json").iterdir()) == ["import.json", "patient_D.tif.geojson"]
    code, out, _ = run(capsys, "evaluate", made.root, study, "-o", tmp_path / "eval", "--json")
    assert code == 0
    assert json.loads(out)["pooled"]["scores"]["Tumor"]["dice"] == 1.0
    assert "3 of 3" in run(capsys, "evaluate", made.root, study)[1]


def test_recipes_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "recipes")
    assert code == 0
    assert "unet-resnet34" in out


def test_a_dry_run_says_what_an_epoch_shows_and_writes_nothing(
    made_study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        run(capsys, "export", made_study, "-o", tmp_path / "tiles", "--mpp", "2", "--split", "metadata:Split")[0] == 0
    )
    before = sorted(tmp_path.rglob("*"))
    code, out, err = run(capsys, "train", tmp_path / "tiles", "--recipe", "unet-resnet18", "--dry-run")
    assert code == 0 and "patient_A.tif" in out + err and "batches" in out + err
    assert sorted(tmp_path.rglob("*")) == before
    assert run(capsys, "train", tmp_path / "tiles", "--recipe", "unet-resnet18")[0] == 1
