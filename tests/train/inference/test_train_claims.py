"""Lock files: one process a slide, dead ones taken over; and the journal that a dead one leaves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from qpkit import claims
from qpkit.claims import LostClaimError, claimed, others_work
from qpkit.core.tiles import TileGrid
from qpkit.errors import OutputError
from qpkit_train.inference.sharing.journal import Entry, Journal
from qpkit_train.models.card import Answer

GRID = TileGrid(slide_width=100, slide_height=100, tile_size=10)


def lock_of(folder: Path, process: str, *, age: float = 0.0) -> Path:
    """A lock that somebody else made, and last touched so many seconds ago."""
    path = folder / "a.lock"
    path.write_text(f"{process}\ntoken\n", encoding="utf-8")
    now = path.stat().st_mtime
    os.utime(path, (now - age, now - age))
    return path


def gone() -> str:
    """A process of this machine that lives no more."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return f"{claims.this_process().rpartition(' ')[0]} {child.pid}"


def test_a_slide_is_one_process_s_until_it_is_released(tmp_path: Path) -> None:
    with claimed(tmp_path, "a") as first:
        with claimed(tmp_path, "a") as second, claimed(tmp_path, "b") as other:
            assert first is not None and second is None and other is not None
        first.require()
        assert others_work(tmp_path)
    assert not list(tmp_path.iterdir())
    with claimed(tmp_path, "a") as again:
        assert again is not None


@pytest.mark.skipif(os.name != "posix", reason="elsewhere no process is known to be gone")
def test_the_lock_of_a_process_that_is_gone_is_taken_over(tmp_path: Path) -> None:
    lock_of(tmp_path, gone())
    assert not others_work(tmp_path)
    with claimed(tmp_path, "a") as claim:
        assert claim is not None


@pytest.mark.parametrize("content", ["another-machine 1\ntoken\n", ""])
def test_another_machine_s_lock_is_dead_when_nobody_touches_it(tmp_path: Path, content: str) -> None:
    """So is one that was cut off while it was made."""
    path = lock_of(tmp_path, "another-machine 1", age=claims.STALE - 30)
    path.write_text(content)
    with claimed(tmp_path, "a") as claim:
        assert claim is None and path.read_text() == content
    lock_of(tmp_path, "another-machine 1", age=claims.STALE + 30)
    with claimed(tmp_path, "a") as claim:
        assert claim is not None


def test_who_works_touches_its_lock_and_notices_that_it_is_another_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "BEAT", 0.01)
    with claimed(tmp_path, "a") as claim:
        assert claim is not None
        os.utime(tmp_path / "a.lock", (0, 0))
        for _ in range(500):
            if (tmp_path / "a.lock").stat().st_mtime > 0:
                break
            claims.wait_a_little()
        assert (tmp_path / "a.lock").stat().st_mtime > 0
        lock_of(tmp_path, "another-machine 1")
        with pytest.raises(LostClaimError):
            claim.require()
    assert (tmp_path / "a.lock").is_file()  # it is another's, who still works


def entries() -> list[Entry]:
    rng = np.random.default_rng(0)
    made = []
    for number in range(3):
        tiles = [GRID.tile(2 * number, 1), GRID.tile(2 * number + 1, 1)]
        probabilities = rng.integers(0, 255, (2, 3, 10, 10), np.uint8) if number else None
        broken = {(2, 1): "why"} if number == 1 else {}
        made.append(Entry(tiles, Answer(rng.integers(0, 3, (2, 10, 10), np.uint8), probabilities), broken))
    return made


def written(path: Path, earlier: Path | None = None) -> list[Entry]:
    """What a journal gives of an earlier one, while it takes that up."""
    with Journal(path, earlier) as journal:
        return list(journal.replay(GRID))


def same(one: Entry, other: Entry) -> bool:
    arrays = zip(one.answer, other.answer, strict=True)
    return (
        one.tiles == other.tiles
        and one.broken == other.broken
        and all(np.array_equal(a, b) if a is not None else b is None for a, b in arrays)
    )


def test_a_journal_that_is_cut_off_anywhere_gives_what_is_whole(tmp_path: Path) -> None:
    with Journal(tmp_path / "whole") as journal:
        sizes = [0]
        for entry in entries():
            journal.add(entry)
            sizes.append((tmp_path / "whole").stat().st_size)
    content = (tmp_path / "whole").read_bytes()
    for cut in range(0, len(content) + 1, 7):
        (tmp_path / "cut").write_bytes(content[:cut])
        found = written(tmp_path / "next", tmp_path / "cut")
        assert len(found) == sum(size <= cut for size in sizes[1:])
        assert all(map(same, found, entries()))
        assert (tmp_path / "next").read_bytes() == content[: sizes[len(found)]]
    damaged = bytearray(content)
    damaged[sizes[1] + 20] ^= 1
    (tmp_path / "cut").write_bytes(damaged)
    assert len(written(tmp_path / "next", tmp_path / "cut")) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_said() -> None:
    with pytest.raises(OutputError, match="is the disk full"), Journal(Path("/dev/full")) as journal:
        journal.add(entries()[0])
