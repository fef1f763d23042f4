"""A backup is put back without losing a byte; what lies around is told apart by its name and its age."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from qpkit.core.annotation import Annotation
from qpkit.qupath.project.backups import (
    QUPATH_BACKUP,
    Backup,
    best_backup,
    data_backups,
    loose_record,
    project_backup,
    put_back,
)
from qpkit.qupath.project.entry_files import BACKUP
from qpkit.qupath.project.leftovers import OLD_SECONDS, find_leftovers, find_orphans
from qpkit.qupath.project.writer import create_project
from qpkit.qupath.qpdata.new_file import new_qpdata


def data(count: int) -> bytes:
    items = [Annotation(geometry=shapely.box(k, 0, k + 1, 1)) for k in range(count)]
    return new_qpdata(image_type="OTHER", objects=items).to_bytes()


backups = st.lists(st.none() | st.integers(0, 3), max_size=4).map(
    lambda counts: [Backup(Path(str(k)), count, "" if count is not None else "bad") for k, count in enumerate(counts)]
)


@given(backups)
def test_the_first_backup_with_objects_is_the_best(found: list[Backup]) -> None:
    best = best_backup(found)
    filled = [item for item in found if item.count]
    empty = [item for item in found if item.count == 0]
    assert best == (filled[0] if filled else empty[0] if empty else None)


def test_backups_of_a_data_file_are_read_qupaths_first(tmp_path: Path) -> None:
    assert data_backups(tmp_path) == []
    (tmp_path / BACKUP).write_bytes(data(3))
    (tmp_path / QUPATH_BACKUP).write_bytes(data(2)[:-40])
    broken, good = data_backups(tmp_path)
    assert (broken.path.name, broken.count) == (QUPATH_BACKUP, None) and "at byte" in broken.fault
    assert (good.path.name, good.count, good.fault) == (BACKUP, 3, "")
    assert (str(good), str(broken)) == (f"{BACKUP} reads, with 3", f"{QUPATH_BACKUP} fails")


def test_a_broken_file_is_kept_under_a_number_of_its_own(tmp_path: Path) -> None:
    target, backup = tmp_path / "data.qpdata", tmp_path / BACKUP
    backup.write_bytes(b"good")
    assert put_back(target, backup) is None and target.read_bytes() == b"good"
    for number, broken in enumerate((b"one", b"two", b"three"), 1):
        target.write_bytes(broken)
        aside = put_back(target, backup)
        assert aside == tmp_path / f"data.qpdata.broken-{number}" and aside.read_bytes() == broken
        assert target.read_bytes() == backup.read_bytes() == b"good"
    target.write_bytes(b"two")
    assert put_back(target, backup) == tmp_path / "data.qpdata.broken-2"
    assert len(list(tmp_path.iterdir())) == 5


def test_the_previous_project_is_read_and_a_broken_ones_json_too(tmp_path: Path) -> None:
    file = create_project(tmp_path).path
    assert project_backup(file) is None
    previous = file.with_name(file.name + ".backup")
    previous.write_bytes(file.read_bytes())
    found = project_backup(file)
    assert found is not None and (found.count, found.fault) == (0, "")
    previous.write_text("{")
    broken = project_backup(file)
    assert broken is not None and broken.count is None and "not a QuPath project" in broken.fault
    assert loose_record(file) is not None
    for text in ("{", "[]", '{"images": 5}', "\xff", "[" * 100_000):
        file.write_text(text, encoding="latin-1")
        assert loose_record(file) is None
    assert loose_record(tmp_path / "gone") is None


@pytest.mark.parametrize(
    ("name", "is_found", "is_ours"),
    [
        (".data.qpdata.123.tmp", True, True),
        (".project.qpproj.7.tmp", True, True),
        ("project.qpproj.tmp", True, False),
        ("project.qpproj.7.tmp", False, False),
        (".data.qpdata.x.tmp", False, False),
        ("notes.tmp", False, False),
    ],
)
@pytest.mark.parametrize("place", [".", "classifiers", "data/12", "data/other", "elsewhere"])
def test_temporary_files_are_told_by_their_names(
    tmp_path: Path, name: str, is_found: bool, is_ours: bool, place: str
) -> None:
    path = tmp_path / place / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    os.utime(path, (1000, 1000))
    for age, is_old in ((OLD_SECONDS - 1, False), (OLD_SECONDS + 1, True)):
        found = find_leftovers(tmp_path, now=1000 + age)
        assert [item.path for item in found] == (
            [path] if is_found and place not in ("data/other", "elsewhere") else []
        )
        assert all((item.is_ours, item.age, item.is_dead) == (is_ours, age, is_ours and is_old) for item in found)


@given(st.sets(st.integers(0, 30), max_size=6), st.sets(st.integers(0, 30), max_size=6))
def test_data_of_no_entry_are_orphans_in_the_order_of_their_numbers(
    tmp_path_factory: pytest.TempPathFactory, there: set[int], entries: set[int]
) -> None:
    folder = tmp_path_factory.mktemp("project")
    for number in there:
        (folder / "data" / str(number)).mkdir(parents=True)
        (folder / "data" / str(number) / "data.qpdata").write_bytes(b"")
    for name in ("100", "x", "1a"):
        (folder / "data" / name).mkdir(parents=True)
    assert find_orphans(folder, entries) == [folder / "data" / str(number) for number in sorted(there - entries)]
