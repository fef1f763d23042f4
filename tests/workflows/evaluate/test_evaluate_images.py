"""qpkit evaluate --instances: folders of label images against each other, from the command line."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

import qpkit
from qpkit.cli import main
from qpkit.errors import QpkitError
from qpkit.workflows.evaluate import images as evaluate_images_module
from qpkit.workflows.evaluate.settings import EvaluateSettings

TRUE = np.zeros((24, 32), np.uint16)
TRUE[2:8, 2:8], TRUE[12:20, 4:10], TRUE[4:10, 20:28] = 1, 2, 3
PREDICTED = np.zeros((24, 32), np.uint16)
PREDICTED[2:8, 3:9], PREDICTED[12:20, 4:10], PREDICTED[20:23, 20:23] = 40, 7, 9

Caught = pytest.CaptureFixture[str]


def write(folder: Path, **images: NDArray[Any]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, numbers in images.items():
        Image.fromarray(numbers).save(folder / f"{name}.png")
    return folder


def run(capsys: Caught, *args: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", *map(str, args)])
    shown = capsys.readouterr()
    return int(ended.value.code or 0), shown.out, shown.err


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    empty = np.zeros_like(TRUE)
    return write(tmp_path / "predicted", a=PREDICTED, b=empty), write(tmp_path / "true", a=TRUE, b=empty)


def test_images_are_compared_written_and_shown(folders: tuple[Path, Path], tmp_path: Path, capsys: Caught) -> None:
    out = tmp_path / "out"
    code, shown, err = run(capsys, *folders, "--instances", "Nucleus", "-o", out)
    assert code == 0 and "matched: IoU above 0.5" in shown and "PQ" in shown and "Lesions" not in shown
    stored = json.loads((out / "evaluation.json").read_text())
    found = stored["pooled"]["objects"]["classes"]["Nucleus"]
    iou = 30 / 42
    assert (found["total"], found["predicted"], found["matched"]) == (3, 3, 2)
    assert found["sq"] == pytest.approx((iou + 1) / 2) and found["pq"] == pytest.approx((iou + 1) / 3)
    assert found["aji"] == pytest.approx((30 + 48) / (42 + 48 + 48 + 9))
    assert found["matched_above"]["0.7"] == 2 and found["matched_above"]["0.75"] == 1
    empty = stored["slides"][1]["objects"]["every"]
    assert empty["total"] == 0 and empty["pq"] is None
    assert stored["patients"]["objects"]["object_pq"]["n"] == 1  # nothing can be said of the empty one
    with (out / "objects.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["scope"], row["name"]) for row in rows} >= {("slide", "a"), ("all", "all"), ("over slide", "mean")}
    assert float(next(r for r in rows if r["name"] == "all" and r["class"] == "Nucleus")["f1"]) == pytest.approx(2 / 3)
    assert sorted(path.name for path in (out / "objects").iterdir()) == ["a.png", "b.png"]
    assert "slides" in err


def test_json_is_what_is_written(folders: tuple[Path, Path], tmp_path: Path, capsys: Caught) -> None:
    _, shown, _ = run(capsys, *folders, "--instances", "Nucleus", "-o", tmp_path / "out", "--json")
    stored = json.loads((tmp_path / "out/evaluation.json").read_text())
    for scope in (printed := json.loads(shown))["slides"] + stored["slides"] + [printed["pooled"], stored["pooled"]]:
        scope["seconds"] = 0
    assert printed == stored


def test_classes_of_tables_are_compared_class_by_class(
    folders: tuple[Path, Path], tmp_path: Path, capsys: Caught
) -> None:
    """7 is predicted as Lymphocyte and is a Nucleus: missed there, false here."""
    ours, theirs = tmp_path / "ours.csv", tmp_path / "theirs"
    ours.write_text("number,class\n40,Nucleus\n7,Lymphocyte\n9,Lymphocyte\n")
    theirs.mkdir()
    (theirs / "a.csv").write_text("number,class\n1,Nucleus\n2,Nucleus\n3,Lymphocyte\n")
    (theirs / "b.csv").write_text("number,class\n1,Nucleus\n")
    words = [*folders, "--instances", ours, "--true-instances", theirs]
    found = json.loads(run(capsys, *words, "--json")[1])["pooled"]["objects"]
    assert found["every"]["matched"] == 2
    assert {name: scores["matched"] for name, scores in found["classes"].items()} == {"Nucleus": 1, "Lymphocyte": 0}
    assert found["confusion"] == [[0, 0, 1], [1, 1, 0], [1, 0, 0]]
    shown = run(capsys, *words)[1]
    assert "all objects" in shown and "objects by class" in shown and "(missed)" in shown


def test_wide_numbers_tiffs_and_subfolders_are_read(folders: tuple[Path, Path], tmp_path: Path) -> None:
    true = tmp_path / "tiffs"
    (true / "deep").mkdir(parents=True)
    tifffile.imwrite(true / "deep/a.tif", TRUE.astype(np.uint32) * 600_000_000, compression="zlib", tile=(16, 16))
    predicted = tmp_path / "twin"
    write(predicted, x=PREDICTED)
    (predicted / "deep").mkdir()
    (predicted / "x.png").rename(predicted / "deep/a.png")
    plain = qpkit.evaluate(folders[0], [folders[1]], instances="Nucleus").slides[0]
    assert qpkit.evaluate(predicted, [true], instances="Nucleus").slides[0].objects == plain.objects


def test_strips_do_not_change_images(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    plain = qpkit.evaluate(folders[0], [folders[1]], instances="Nucleus").pooled
    monkeypatch.setattr(evaluate_images_module, "STRIP_PX", 5)
    other = qpkit.evaluate(folders[0], [folders[1]], instances="Nucleus").pooled
    assert (plain.objects, plain.confusion) == (other.objects, other.confusion)


def rgb(folder: Path) -> None:
    Image.fromarray(np.zeros((24, 32, 3), np.uint8)).save(folder / "a.png")


def floats(folder: Path) -> None:
    (folder / "a.png").unlink()
    tifffile.imwrite(folder / "a.tif", TRUE.astype(np.float32))


def negative(folder: Path) -> None:
    (folder / "a.png").unlink()
    tifffile.imwrite(folder / "a.tif", TRUE.astype(np.int32) - 1)


def large(folder: Path) -> None:
    (folder / "a.png").unlink()
    tifffile.imwrite(folder / "a.tif", TRUE.astype(np.uint32) << 31)


def other_size(folder: Path) -> None:
    write(folder, a=TRUE[:20])


def lonely(folder: Path) -> None:
    write(folder, c=TRUE, d=TRUE, e=TRUE, f=TRUE)


def missing(folder: Path) -> None:
    (folder / "a.png").unlink()


def damaged(folder: Path) -> None:
    (folder / "a.png").write_bytes((folder / "a.png").read_bytes()[:40])


def nothing(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def twice(folder: Path) -> None:
    (folder / "a.tif").write_bytes((folder / "a.png").read_bytes())


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "colours": (rgb, "one whole number a pixel"),
    "floats": (floats, "one whole number a pixel"),
    "numbers below 0": (negative, "holds -1"),
    "numbers that are too large": (large, "0 to 2^31 - 1"),
    "another size": (other_size, "a: predicted are 32 x 20 px, true 32 x 24"),
    "no partner": (lonely, "no label image for 4 of the others: c, d, e and 1 more"),
    "missing": (missing, "no label image for 1 of the others: a"),
    "damaged": (damaged, "cannot be read"),
    "nothing": (nothing, "no label images"),
    "one name": (twice, "a.png and a.tif have one name"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_images_are_one_short_line(case: str, folders: tuple[Path, Path], tmp_path: Path, capsys: Caught) -> None:
    change, said = BAD[case]
    change(folders[0])
    code, _, err = run(capsys, *folders, "--instances", "Nucleus", "-o", tmp_path / "out")
    (line,) = [line for line in err.splitlines() if line.startswith("qpkit:")]
    assert code == 1 and said in line and len(line.replace(str(tmp_path), "")) < 200
    assert not (tmp_path / "out").exists()


def test_numbers_without_a_class_and_missing_tables_are_said(
    folders: tuple[Path, Path], tmp_path: Path, capsys: Caught
) -> None:
    table = tmp_path / "t.csv"
    table.write_text("number,class\n40,Nucleus\n1,Nucleus\n2,Nucleus\n3,Nucleus\n")
    assert "t.csv: has no class for 2 number(s): 7, 9" in run(capsys, *folders, "--instances", table)[2]
    (tmp_path / "tables").mkdir()
    assert "a.csv: label table cannot be read" in run(capsys, *folders, "--instances", tmp_path / "tables")[2]


def test_what_does_not_go_together_is_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    predicted, true = folders
    for options, said in (
        ({"settings": EvaluateSettings(objects="drawn")}, "--objects cannot go with"),
        ({"settings": EvaluateSettings(by=("Stain",))}, "read the metadata of a project"),
        ({"masks_table": tmp_path / "t.csv"}, "--table cannot go with"),
        ({"annotations": tmp_path / "t.geojson"}, "--annotations cannot go with"),
    ):
        with pytest.raises(QpkitError, match=said):
            qpkit.evaluate(predicted, [true], instances="Nucleus", **options)  # type: ignore[arg-type]
    with pytest.raises(QpkitError, match="not 2"):
        qpkit.evaluate(predicted, [true, true], instances="Nucleus")
    with pytest.raises(QpkitError, match="goes with --instances"):
        qpkit.evaluate(predicted, [true], true_instances="Nucleus")
