"""One version, wherever somebody asks for it: that of the installed package, which git's tags state."""

from __future__ import annotations

import re
import runpy
import sys
import tomllib
from importlib import metadata

import pytest

import qpkit
from qpkit.version import UNKNOWN, __version__
from shared_data import ROOT


def test_package_import_and_command_line_have_one_version(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert re.fullmatch(r"\d+(\.\d+)*(rc\d+)?(\.post\d+)?(\.dev\d+)?(\+[\w.]+)?", __version__)
    assert qpkit.__version__ == metadata.version("qpkit") == __version__
    monkeypatch.setattr(sys, "argv", ["qpkit", "--version"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("qpkit.__main__", run_name="__main__")
    assert end.value.code == 0
    assert capsys.readouterr().out == f"qpkit {__version__}\n"


def test_sources_that_do_not_tell_have_one_name_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", nowhere)
    found = runpy.run_path(str(ROOT / "qpkit/version.py"))["__version__"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert found == UNKNOWN == project["tool"]["setuptools_scm"]["fallback_version"]
