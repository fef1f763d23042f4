"""One version, wherever somebody asks for it."""

from __future__ import annotations

import re
import runpy
import sys
from importlib import metadata

import pytest

import qpkit
from qpkit.version import __version__


def test_package_import_and_command_line_have_one_version(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|rc\d+)?", __version__)
    assert qpkit.__version__ == metadata.version("qpkit") == __version__
    monkeypatch.setattr(sys, "argv", ["qpkit", "--version"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("qpkit.__main__", run_name="__main__")
    assert end.value.code == 0
    assert capsys.readouterr().out == f"qpkit {__version__}\n"
