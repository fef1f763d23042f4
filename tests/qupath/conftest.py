from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def project_copy(shared: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Copy a fixture project to a place where it may be changed."""

    def copy(version: str) -> Path:
        target = tmp_path / version
        shutil.copytree(shared / "fixtures/qupath" / version / "project", target, copy_function=shutil.copyfile)
        for folder in [target, *(item for item in target.rglob("*") if item.is_dir())]:
            folder.chmod(0o755)
        return target

    return copy
