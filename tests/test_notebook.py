from __future__ import annotations

from pathlib import Path

import pytest

from shared_data import DOCS

pytestmark = pytest.mark.slow


def test_the_notebook_runs_from_top_to_bottom(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed (extra: dev)")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed (extra: dev)")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # where the notebook works
    notebook = nbformat.read(DOCS / "notebook.ipynb", as_version=4)
    assert notebook.cells[1].source.startswith("QUICK = False")
    notebook.cells[1].source = "QUICK = True"
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(DOCS)}}).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in shown) >= 3
    assert not any(output.output_type == "error" for output in shown)
