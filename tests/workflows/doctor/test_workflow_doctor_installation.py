"""qpkit doctor without a path: what the installation has and lacks, told without torch where there is none."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import typer

from qpkit.cli.shared.installation import doctor_installation
from qpkit.cli.verbs.doctor import command
from qpkit.report.values.checks import Check
from qpkit.workflows.doctor.installation import machine, packages
from qpkit.workflows.doctor.installation.machine import driver_check, machine_checks, memory_bytes
from qpkit.workflows.doctor.installation.packages import package_checks, requirements
from qpkit.workflows.doctor.project import DoctorSettings
from shared_data import ROOT

Caught = pytest.CaptureFixture[str]


def by_name(checks: Any) -> dict[str, Check]:
    return {check.name: check for check in checks}


@pytest.fixture
def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


@pytest.mark.parametrize("there", ["onnxruntime-gpu", "onnxruntime"])
def test_a_package_with_the_same_module_is_as_good(monkeypatch: pytest.MonkeyPatch, there: str) -> None:
    def version(package: str) -> str:
        if package not in (there, "onnx"):
            raise metadata.PackageNotFoundError(package)
        return "1"

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(packages, "requirements", lambda: {"onnx": ("onnx", "onnxruntime"), "tsne": ("scikit-learn",)})
    found = by_name(package_checks())
    assert (found["extras"].found, found["other extras"].found) == ("onnx", "tsne")


def test_the_packages_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = requirements()
    assert len(found[""]) == len(project["dependencies"])
    assert "openslide-python" in found[""] and "torch" in found["train"] and "paquo" in found["paquo"]
    assert set(found) == {"", *project["optional-dependencies"]}


def test_an_installation_that_works_is_healthy(capsys: Caught, no_torch: None) -> None:
    doctor_installation(as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["is_healthy"]
    names = [check["name"] for check in found["checks"]]
    assert names[:4] == ["qpkit", "Python", "packages", "OpenSlide"]
    assert {"cores", "memory", "this folder", "temporary", "GPU driver"} <= set(names)
    assert "torch" not in names


def test_the_table_fits_80_columns_and_has_every_check(capsys: Caught, no_torch: None) -> None:
    doctor_installation(as_json=False)
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert all(check.name in out for check in (*package_checks(), *machine_checks()))


def test_what_the_core_needs_and_cannot_import_is_broken(
    capsys: Caught, monkeypatch: pytest.MonkeyPatch, no_torch: None
) -> None:
    monkeypatch.setattr(metadata, "requires", lambda name: ["numpy>=2", "nowhere-at-all>=1", 'paquo; extra == "paquo"'])
    with pytest.raises(typer.Exit) as end:
        doctor_installation(as_json=True)
    assert end.value.exit_code == 1
    found = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert found["nowhere-at-all"]["state"] == "broken"
    assert found["nowhere-at-all"]["advice"] == "pip install --force-reinstall nowhere-at-all"
    assert "packages" not in found


def test_a_broken_openslide_is_said_whatever_it_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openslide", None)
    found = by_name(package_checks())
    assert found["OpenSlide"].state == "broken" and "openslide-bin" in found["OpenSlide"].advice


def test_sources_that_were_never_installed_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "requirements", dict)
    assert by_name(package_checks())["packages"].state == "warning"


def test_looking_does_not_import_torch() -> None:
    code = (
        "import sys; from qpkit.workflows.doctor.installation import machine, packages;"
        "list(packages.package_checks()), list(machine.machine_checks()); print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_a_container_has_the_memory_that_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit, none = tmp_path / "limit", tmp_path / "none"
    none.write_text("max\n")
    monkeypatch.setattr(machine, "_GROUP_LIMITS", (str(none), str(tmp_path / "missing")))
    whole = memory_bytes()
    if whole is None:
        pytest.skip("this system does not say how much memory it has")
    limit.write_text(f"{1 << 30}\n")
    monkeypatch.setattr(machine, "_GROUP_LIMITS", (str(none), str(limit)))
    assert memory_bytes() == 1 << 30 < whole
    assert by_name(machine_checks())["memory"].state == "warning"


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    here = by_name(machine_checks(tmp_path))["this folder"]
    assert str(tmp_path) in here.found
    gone = by_name(machine_checks(tmp_path / "gone"))["this folder"]
    assert (gone.state, "-o" in gone.advice) == ("warning", True)


@pytest.mark.parametrize(
    ("said", "state", "found"),
    [
        ("A100, 550.1, 81920 MiB\nA100, 550.1, 81920 MiB\n", "ok", "550.1: A100, 81920 MiB and 1 more"),
        ("No devices were found\n", "warning", "no GPU"),
        (FileNotFoundError(), "missing", "no NVIDIA driver"),
        (subprocess.CalledProcessError(9, "nvidia-smi"), "warning", "nvidia-smi fails"),
        (subprocess.TimeoutExpired("nvidia-smi", 10), "warning", "nvidia-smi fails"),
    ],
)
def test_the_driver(said: str | Exception, state: str, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(asked: Any, **_: Any) -> Any:
        if isinstance(said, Exception):
            raise said
        return subprocess.CompletedProcess(asked, 0, said, "")

    monkeypatch.setattr(subprocess, "run", answer)
    monkeypatch.setattr(sys, "platform", "linux")
    check = driver_check()
    assert check.state == state and found in check.found
    assert check.state == "ok" or check.advice


def test_options_of_a_project_need_one() -> None:
    for options in ({"fix": True}, {"out": Path("copy")}, {"overwrite": True}):
        with pytest.raises(typer.BadParameter, match="name the project"):
            command(None, settings=DoctorSettings(), **{"fix": False, "out": None, "overwrite": False, **options})  # type: ignore[arg-type]
    with pytest.raises(typer.BadParameter):
        command(None, fix=False, settings=DoctorSettings(only=("orphan",)), out=None, overwrite=False, as_json=False)
