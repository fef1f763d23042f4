from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpkit.errors import OutputError
from qpkit.files import new_folder, one_at_a_time, quick_hash, replace_file, safe_names, sha256


@given(st.lists(st.text(min_size=1), max_size=8))
def test_safe_names_are_plain_and_all_different(texts: list[str]) -> None:
    names = safe_names(texts)
    assert len({name.lower() for name in names}) == len(texts)
    assert all(
        name and set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") for name in names
    )
    assert not any(name.startswith(".") for name in names)


def test_names_that_would_be_one_file_get_numbers() -> None:
    assert safe_names(["P1 (a).svs", "P1 [a].svs", "p1_a_.svs", "b"]) == [
        "P1_a_.svs",
        "P1_a_.svs_2",
        "p1_a_.svs_3",
        "b",
    ]


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with new_folder(out, marker="a") as root:
        (root / "a").write_text("1")
        assert not out.exists()
    assert (out / "a").read_text() == "1"
    with pytest.raises(RuntimeError), new_folder(out, marker="a", overwrite=True) as root:
        raise RuntimeError
    assert (out / "a").read_text() == "1"
    with new_folder(out, marker="a", overwrite=True) as root:
        (root / "b").write_text("2")
    assert [p.name for p in out.iterdir()] == ["b"]
    with pytest.raises(OutputError, match="not of this kind"), new_folder(out, marker="c", overwrite=True):
        pass
    with pytest.raises(OutputError, match="--overwrite"), new_folder(out, marker="b"):
        pass
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["out"]


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with new_folder(tmp_path / "out", marker="a") as root:
        (root / "a").write_text("1")
    assert (tmp_path / "out/a").exists()


def test_a_file_is_replaced_whole_or_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    replace_file(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="it is as it was"):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_hashes_tell_files_apart(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 3_000_000)
    (tmp_path / "b").write_bytes(b"x" * 2_999_999 + b"y")
    assert quick_hash(tmp_path / "a") != quick_hash(tmp_path / "b")
    assert sha256(tmp_path / "a") != sha256(tmp_path / "b")
    assert quick_hash(tmp_path) == quick_hash(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_a_file_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    (tmp_path / "f").chmod(0o664)
    replace_file(tmp_path / "f", b"new")
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o664


@pytest.mark.skipif(os.name != "posix", reason="folders are locked on POSIX")
def test_two_do_not_go_into_a_folder_at_the_same_time(tmp_path: Path) -> None:
    seen: list[str] = []
    inside = threading.Event()

    def second() -> None:
        inside.wait()
        with one_at_a_time(tmp_path):
            seen.append("second")

    other = threading.Thread(target=second)
    other.start()
    with one_at_a_time(tmp_path):
        inside.set()
        time.sleep(0.1)
        seen.append("first")
    other.join()
    assert seen == ["first", "second"] and not list(tmp_path.iterdir())
    with one_at_a_time(tmp_path / "gone"):
        seen.append("no such folder")
