from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import make_samples
from shared_data import ROOT


def test_every_room_imports_only_what_stands_below_it() -> None:
    linter = shutil.which("lint-imports", path=Path(sys.executable).parent)
    if linter is None:
        pytest.skip("import-linter is not installed")
    found = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


def test_the_samples_are_the_same_every_time_and_small(made_study: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    make_samples.make(again)
    slides = sorted(path.relative_to(again) for path in again.rglob("*.tif"))
    assert len(slides) == 4
    for name in [*slides, Path("labels.toml"), Path("classifiers/classes.json")]:
        assert (again / name).read_bytes() == (made_study / name).read_bytes()
    assert sum(path.stat().st_size for path in again.rglob("*") if path.is_file()) < 5_000_000
