from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from predictions_made_up import predict_truth

from qpkit.cli import main
from qpkit.core.labels import LabelClass, LabelMap
from qpkit.errors import FormatError
from qpkit.workflows.info import describe
from qpkit.workflows.inputs.slides import slide_inputs

LABELS = LabelMap(classes=(LabelClass("Tumor", 1, ("Tumor",)),))


def test_info_tells_what_a_path_holds(study: Path, tmp_path: Path) -> None:
    made = predict_truth(study, tmp_path / "pred", LABELS)
    project = describe(study)
    assert project.kind == "QuPath project"
    assert [row["name"] for row in project.rows] == [f"patient_{p}.tif" for p in "ABCD"]
    assert project.rows[0]["classes"] == {"Ignore*": 1, "Immune cells": 4, "Tumor": 4}
    assert describe(study / "slides/patient_A.tif").facts["px"] == (2816, 2048)
    data = describe(study / "data/1/data.qpdata")
    assert data.kind == "QuPath data"
    assert data.facts["image type"] == "BRIGHTFIELD_H_E"
    assert sum(row["objects"] for row in data.rows) == 9
    assert describe(made.root).facts["run"] == "run-1"


def test_info_shows_backups_and_every_file_that_is_written(study: Path, tmp_path: Path) -> None:
    for name in ("project.qpproj", "data/1/data.qpdata"):
        ending = {".qpproj": ".backup", ".qpdata": ".bkp"}[Path(name).suffix]
        backup = study / f"{name}{ending}"
        shutil.copy(study / name, backup)
        shown = describe(backup)
        assert shown.kind == describe(study / name).kind and shown.facts["backup of"] == Path(name).name
    made = predict_truth(study, tmp_path / "pred", LABELS)
    with pytest.raises(SystemExit, match="0"):
        main(["evaluate", str(made.root), str(study), "-o", str(tmp_path / "ev")])
    (tmp_path / "labels.toml").write_text('ignore = 9\n[[class]]\nname = "Tumor"\nvalue = 1\n')
    for path in (tmp_path / "ev", *(tmp_path / "ev").rglob("*"), *made.root.rglob("*"), tmp_path / "labels.toml"):
        assert describe(path).facts, path
    assert describe(tmp_path / "ev").facts["run"] == describe(made.root / "predictions.json").facts["run"] == "run-1"
    assert describe(tmp_path / "ev/metrics.csv").kind == "table"
    assert describe(tmp_path / "labels.toml").rows == [{"name": "Tumor", "value": 1}]
    (tmp_path / "bad.safetensors").write_bytes(b"1234567890")
    with pytest.raises(FormatError, match="damaged"):
        describe(tmp_path / "bad.safetensors")


def test_pages_that_are_not_read_are_named(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (3, 130, 170, 3), dtype=np.uint8)
    path = tmp_path / "multi.tif"
    tifffile.imwrite(path, pixels, photometric="rgb")
    assert describe(path).facts["pages"] == "3 of one size, of which the first is read"
    (item,) = slide_inputs(path)
    assert "3 pages" in item.source.note
    tifffile.imwrite(path, pixels[0], photometric="rgb")
    assert "pages" not in describe(path).facts
    assert not slide_inputs(path)[0].source.note
