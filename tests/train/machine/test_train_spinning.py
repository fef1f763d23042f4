"""Threads that wait let go of their core soon, unless the user says how they wait."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("said", "spins"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None")],
)
def test_how_long_threads_spin_is_said_before_torch_is_loaded(said: dict[str, str], spins: str) -> None:
    code = (
        "import os, sys, qpkit_train\n"
        "assert 'torch' not in sys.modules\nprint(os.environ.get('GOMP_SPINCOUNT'))\n"
        "import qpkit.cli.verbs.train, qpkit.cli.verbs.predict\n"
        "import qpkit\nqpkit.train\nassert 'torch' not in sys.modules\n"
    )
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("GOMP", "OMP"))}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**plain, **said}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"{spins}\n"), done.stderr
