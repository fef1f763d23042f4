"""What all rooms' tests use: the shared data (skipped with a reason where it is missing) and the generated study."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

import make_samples
from shared_data import SHARED

settings.register_profile("qpkit", deadline=None, max_examples=60, derandomize=bool(os.environ.get("CI")))
settings.load_profile("qpkit")


@pytest.fixture(scope="session")
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip(f"the shared data are not at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def composed(shared: Path) -> Path:
    return shared / "data" / "projects" / "composed-train"


@pytest.fixture(scope="module")
def one_torch_thread() -> Iterator[None]:
    """Threads that wait for a busy core make tiny networks ten times slower; without torch the module is skipped."""
    torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def made_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study of samples/, drawn once and then moved, so that its image URIs are stale; do not write into it."""
    folder = tmp_path_factory.mktemp("samples")
    make_samples.make(folder / "drawn")
    return (folder / "drawn").rename(folder / "study")


@pytest.fixture
def study(made_study: Path, tmp_path: Path) -> Path:
    """A copy of the study that a test may write into."""
    folder = tmp_path / "study"
    shutil.copytree(made_study, folder)
    return folder


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
