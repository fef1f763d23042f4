"""Ctrl-C keeps what kill -9 keeps, ends long native calls, and is one line from the first moment on."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qpkit.errors import INTERRUPTED
from qpkit.files import is_gone, new_folder, this_process

_DEAD = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
DEAD_PID = int(_DEAD.stdout)

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are asked for as POSIX has them")


def left_by_the_dead(path: Path, *, job: str, host: str = "") -> Path:
    left = path.with_name(f"{path.name}.partial-{DEAD_PID}")
    left.mkdir()
    (left / ".job").write_text(f"{host or socket.gethostname()} {job}")
    (left / "finished.txt").write_text("a slide")
    return left


@pytest.mark.parametrize("job", ["", "a-job"])
def test_after_ctrl_c_what_can_be_gone_on_with_stays(tmp_path: Path, job: str) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt), new_folder(out, marker="m", job=job) as folder:
        (folder / "finished.txt").write_text("a slide")
        raise KeyboardInterrupt
    left = list(tmp_path.iterdir())
    assert len(left) == bool(job) and not out.exists()
    with new_folder(out, marker="m", job=job) as folder:  # again in the same process, as from a notebook
        assert (folder / "finished.txt").is_file() == bool(job)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_the_dead_have_left_is_taken_up_or_removed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    left_by_the_dead(out, job="a-job")
    with new_folder(out, marker="m", job="a-job") as folder:
        assert (folder / "finished.txt").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["out"] and (out / "finished.txt").is_file()
    for job in ("another", ""):
        other = tmp_path / f"other{job}"
        left_by_the_dead(other, job="a-job")
        with new_folder(other, marker="m", job=job) as folder:
            assert not (folder / "finished.txt").exists()
        assert not list(tmp_path.glob("*.partial-*"))
    elsewhere = left_by_the_dead(tmp_path / "third", job="a-job", host="another-machine")
    with new_folder(tmp_path / "third", marker="m", job="a-job") as folder:
        assert not (folder / "finished.txt").exists()
    assert elsewhere.is_dir()  # of another machine nothing is known
    assert is_gone(f"{socket.gethostname()} {DEAD_PID}") and not is_gone(this_process()) and not is_gone("")


def interrupted(code: str, *, after: str) -> tuple[int, str, float]:
    """Run a program, press Ctrl-C when it has said `after`; gives exit code, errors, and how long it took then."""
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # shells ignore it in background jobs
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline().strip() == after
        time.sleep(0.5)  # what it said it begins with has to have begun
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        code_, said = process.wait(60), process.stderr.read()
    return code_, said, time.monotonic() - start


def test_ctrl_c_ends_a_native_call_of_minutes() -> None:
    """One that lets other threads run, as GEOS's unions do, but no Python in this one."""
    code = (
        "import hashlib\nfrom qpkit.cli.shared.interrupt import watch_interrupts\nwatch_interrupts()\n"
        "print('begun', flush=True)\nhashlib.pbkdf2_hmac('sha256', b'', b'', 300_000_000)\n"
    )
    status, said, seconds = interrupted(code, after="begun")
    assert (status, said) == (1, f"qpkit: {INTERRUPTED}\n") and seconds < 30


def test_ctrl_c_while_the_program_is_still_imported_is_one_line() -> None:
    code = (
        "import sys, types\nimport qpkit.__main__ as entry\n"
        "class Slow:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'qpkit.cli':\n"
        "            print('importing', flush=True)\n"
        "            import time; time.sleep(60)\n"
        "sys.meta_path.insert(0, Slow())\n"
        "entry.main()\n"
    )
    status, said, _ = interrupted(code, after="importing")
    assert (status, said) == (1, f"qpkit: {INTERRUPTED}\n")


def test_a_script_that_put_it_into_the_background_is_obeyed() -> None:
    code = (
        "import os, signal\nfrom qpkit.cli.shared.interrupt import watch_interrupts\nwatch_interrupts()\n"
        "os.kill(os.getpid(), signal.SIGINT)\nprint('went on')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "went on\n", "")
