"""qpkit init and qpkit run: what is found, what is proposed, and that only what has changed is done again."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from command_line import run
from qpkit.cli.shared.study import study_of
from qpkit.errors import ConfigError, FormatError
from qpkit.qupath.project.opening import open_project
from qpkit.workflows.study.draft import draft
from qpkit.workflows.study.look import Found
from qpkit.workflows.study.source import changed, state_of

PROJECT = """
[study]
source = "project.qpproj"
out = "made"
[export]
mpp = 0.5
[train]
recipe = "unet-resnet18"
set = ["optim.epochs=1", "seed=3"]
[evaluate]
only-tissue = true
[predict]
only-tissue = false
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    (tmp_path / "project.qpproj").touch()
    (tmp_path / "study.toml").write_text(PROJECT)
    return tmp_path / "study.toml"


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], list[list[str]]]]:
    """Give a function that runs a study whose verbs only make their markers, and says which were called."""
    called: list[list[str]] = []
    codes: dict[str, int] = {}

    def fake(command: list[str], cwd: Path, check: bool) -> Any:
        verb, *arguments = command[3:]
        called.append([verb, *arguments])
        if not codes.get(verb):
            made = {kind.verb: kind for kind in kinds}[verb]
            if made.makes:
                (cwd / "made" / made.makes).mkdir(parents=True, exist_ok=True)
                (cwd / "made" / made.makes / (made.marker or "x")).touch()
        return subprocess.CompletedProcess(command, codes.get(verb, 0))

    from qpkit.workflows.study.steps import KINDS

    kinds = list(KINDS.values())
    monkeypatch.setattr("qpkit.cli.shared.study.subprocess.run", fake)

    def play(file: Path, **failing: int) -> list[list[str]]:
        called.clear()
        codes.clear()
        codes.update(failing)
        assert run("run", file) == next(iter(failing.values()), 0)
        return list(called)

    yield play


def test_sections_are_commands(study: Path) -> None:
    assert [str(step) for step in study_of(study).steps] == [
        "qpkit export project.qpproj -o made/tiles --mpp 0.5",
        "qpkit train made/tiles -o made/run --recipe unet-resnet18 --set optim.epochs=1 --set seed=3",
        "qpkit evaluate made/run project.qpproj -o made/evaluation --only-tissue",
        "qpkit predict made/run project.qpproj -o made/predictions --everything",
    ]


def test_a_step_is_done_once_and_again_with_what_follows_from_it(study: Path, played: Any) -> None:
    assert [call[0] for call in played(study)] == ["export", "train", "evaluate", "predict"]
    assert played(study) == []
    study.write_text(PROJECT.replace("only-tissue = true", "min-lesion-um2 = 50"))
    assert [(call[0], call[-1]) for call in played(study)] == [("evaluate", "--overwrite")]  # nothing needs it
    study.write_text(PROJECT.replace("mpp = 0.5", "mpp = 1"))
    assert [call[0] for call in played(study)] == ["export", "train", "evaluate", "predict"]
    (study.parent / "made/predictions/predictions.json").unlink()
    assert [call[0] for call in played(study)] == ["predict"]


def test_it_goes_on_at_the_step_that_failed(study: Path, played: Any) -> None:
    assert [call[0] for call in played(study, train=1)] == ["export", "train"]
    (study.parent / "made/run").mkdir()
    assert [call[0] for call in played(study, train=1)] == ["train"]
    calls = played(study)
    assert [call[0] for call in calls] == ["train", "evaluate", "predict"] and calls[0][-1] == "--resume"


def test_a_step_that_is_made_anew_is_not_done_until_it_is(study: Path, played: Any) -> None:
    """Tiles of other settings, and a stop before the training: the run that is there does not count."""
    played(study)
    study.write_text(PROJECT.replace("mpp = 0.5", "mpp = 1"))
    assert [call[0] for call in played(study, train=1)] == ["export", "train"]
    assert [call[0] for call in played(study)] == ["train", "evaluate", "predict"]


def test_what_was_saved_since_the_tiles_were_made_is_named(
    tmp_path: Path, made_study: Path, played: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not what the study itself imports; and what somebody saved before that import stays named."""
    shutil.copytree(made_study, tmp_path / "project")
    (tmp_path / "study.toml").write_text(
        '[study]\nsource = "project"\nout = "made"\n[export]\n[predict]\n[import-predictions]\n'
    )

    def draw(*numbers: int) -> list[str]:
        entries = [open_project(tmp_path / "project").entries[number] for number in numbers]
        for entry in entries:
            entry.replace_objects(remove=[str(entry.objects()[0].id)], add=())
        return [f"{entry.name} (entry {entry.id})" for entry in entries]

    def told() -> str:
        capsys.readouterr()  # what earlier calls said
        assert played(tmp_path / "study.toml") == []
        return "".join(line for line in capsys.readouterr().err.splitlines() if line.startswith("note: "))

    faked = subprocess.run

    def importing(command: list[str], **options: Any) -> Any:
        if command[3] == "import-predictions":
            draw(0, 1)
        return faked(command, **options)

    monkeypatch.setattr("qpkit.cli.shared.study.subprocess.run", importing)
    assert [call[0] for call in played(tmp_path / "study.toml", predict=1)] == ["export", "predict"]
    (drawn,) = draw(1)
    assert len(played(tmp_path / "study.toml")) == 2
    assert f"were made: {drawn};" in told()
    (tmp_path / "made/source.json").write_text("{}")  # a study of before
    assert told() == ""


def test_new_files_of_a_folder_are_named_but_not_what_the_study_makes_in_it(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"1")
    (tmp_path / "made").mkdir()
    before = state_of(tmp_path, out=tmp_path / "made")
    (tmp_path / "made/tile.png").touch()
    assert state_of(tmp_path, out=tmp_path / "made") == before and list(before) == ["a.png"]
    (tmp_path / "b.png").touch()
    (tmp_path / "a.png").write_bytes(b"12")
    assert changed(before, state_of(tmp_path, out=tmp_path / "made")) == ["a.png", "b.png"]
    assert state_of(tmp_path / "none.qpproj", out=tmp_path) == {}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("mpp = 0.5", "mmp = 0.5", "did you mean 'mpp'"),
        ("[export]", "[exprot]", "did you mean 'export'"),
        ("only-tissue = true", 'only-tissue = "yes"', "true or false"),
        ("mpp = 0.5", "mpp = true", "a value"),
        ('out = "made"', "", "has to say source"),
        ("mpp = 0.5", "mpp = {a = 1}", "text, a number"),
        ("mpp = 0.5", "overwrite = true", "no such option"),
    ],
)
def test_what_a_study_cannot_say_is_one_line(study: Path, old: str, new: str, said: str) -> None:
    study.write_text(PROJECT.replace(old, new))
    with pytest.raises(ConfigError, match=said) as caught:
        study_of(study)
    assert "study.toml" in str(caught.value)


def test_a_source_that_is_not_there_leaves_nothing(
    study: Path, played: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    source = study_of(study).source
    source.rename(source.with_name("elsewhere.qpproj"))
    assert run("run", study) == 1
    assert "there is no such file or folder" in capsys.readouterr().err
    assert not (study.parent / "made").exists()


def test_a_study_that_is_not_there_or_no_toml(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="qpkit init"):
        study_of(tmp_path)
    (tmp_path / "study.toml").write_text("[study")
    with pytest.raises(FormatError, match="no TOML"):
        study_of(tmp_path)


def found(**changes: Any) -> Found:
    plain: dict[str, Any] = {
        "place": Path("p.qpproj"), "kind": "project", "images": 12, "annotated": 12, "classes": {"Tumor": 5},
        "mpps": (0.25,), "metadata": {}, "broken": {}, "notes": (),
    }  # fmt: skip
    return Found(**{**plain, **changes})


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({}, ["mpp = 0.5", 'split = "slide"', 'unannotated = "background"', "[evaluate]"]),
        ({"mpps": (0.25, 1.007)}, ["mpp = 1.007"]),
        ({"mpps": (None,)}, ["downsample = 1", "# slide-mpp = 0.25"]),
        ({"mpps": (0.25, None)}, ["mpp = 0.5", "# slide-mpp = 0.25"]),
        ({"metadata": {"patient": {"a": 6, "b": 6}}}, ['split = "patient:patient"', "# [evaluate]"]),
        ({"metadata": {"Split": {"Train": 9, "Test": 3}}}, ['split = "metadata:Split"', "[evaluate]"]),
        ({"metadata": {"Patient": dict.fromkeys("abcd", 3)}}, ["# [cross-validate]", '# by = "patient:Patient"']),
        ({"classes": {"Region*": 1, "Tumor": 2}}, ["# Inside Region*"]),
    ],
)
def test_a_draft_says_what_fits_what_was_found(changes: dict[str, Any], lines: list[str], tmp_path: Path) -> None:
    text = draft(found(**changes), name="study.toml", source="p.qpproj", out="study", gpu=False)
    starts = text.splitlines()
    for line in lines:
        assert any(each.startswith(line) for each in starts), (line, text)
    (tmp_path / "study.toml").write_text(text)
    uncommented = "\n".join(
        line.removeprefix("# ") if " = " in line or line.startswith("# [") else line for line in starts
    )
    (tmp_path / "all.toml").write_text(uncommented)
    assert study_of(tmp_path / "study.toml").steps
    assert study_of(tmp_path / "all.toml").steps  # what stands there as a comment is an option, too


def test_init_and_run_on_images_and_masks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The real thing: tiles, a training, an evaluation, ONNX; every command that init prints can be typed."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra: onnx)")
    rng = np.random.default_rng(0)
    for number in range(4):
        for kind, pixels in (("images", rng.integers(90, 230, (64, 64, 3), dtype=np.uint8)),
                             ("masks", np.pad(np.full((30, 30), 255, np.uint8), 17))):  # fmt: skip
            (tmp_path / "set" / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "set" / kind / f"p{number}.png")
    file = tmp_path / "study.toml"
    assert run("init", tmp_path / "set", "-o", file) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [shlex.split(line)[1] for line in printed] == ["import-tiles", "train", "evaluate", "export-model"]
    settings = ["optim.epochs=1", "optim.steps_per_epoch=1", "model.encoder_depth=3", "data.workers=0",
                "model.options.decoder_channels=[16,8,8]", "data.batch_size=2"]  # fmt: skip
    file.write_text(file.read_text().replace('# set = ["optim.epochs=20"]', f"set = {settings}".replace("'", '"')))
    child = subprocess.run([sys.executable, "-m", "qpkit", "run", file], capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr
    assert (tmp_path / "study/evaluation/evaluation.json").is_file() and (tmp_path / "study/model.onnx").is_file()
    assert run("run", file) == 0
    assert capsys.readouterr().err.count("(done before)") == 4


def test_init_says_what_comes_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "a.png")
    assert run("init", tmp_path, "-o", tmp_path / "study.toml") == 1
    assert "qpkit project create" in capsys.readouterr().err
    assert run("init", tmp_path / "nothing") == 1
    assert not (tmp_path / "study.toml").exists()
    (tmp_path / "study.toml").write_text("mine")
    assert run("init", tmp_path, "-o", tmp_path / "study.toml") == 1
    assert (tmp_path / "study.toml").read_text() == "mine"
