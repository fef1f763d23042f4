"""Label images in which each number is one object, into a project."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from small_project import small_project

import qpkit
from command_line import run
from qpkit.core.annotation import Annotation
from qpkit.core.provenance import is_prediction
from qpkit.errors import FormatError, LabelError
from qpkit.qupath import Project, open_project

WIDTH, HEIGHT, TILE = 320, 256, 100


def field() -> NDArray[np.int32]:
    """Discs that touch nothing, numbered in the order of their first pixels."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    mask = (rows % 40 - 20) ** 2 + (columns % 40 - 20) ** 2 <= 14**2
    found: NDArray[np.int32] = ndimage.label(mask)[0].astype(np.int32)
    return found


def write_tiles(folder: Path, numbers: NDArray[np.int32], tile: int = TILE) -> Path:
    """Cut into tiles that each number their objects anew, named as QuPath's exporter names them."""
    folder.mkdir()
    for y in range(0, HEIGHT, tile):
        for x in range(0, WIDTH, tile):
            part = numbers[y : y + tile, x : x + tile]
            anew = np.unique(part, return_inverse=True)[1].reshape(part.shape)
            name = f"a.tif [x={x},y={y},w={part.shape[1]},h={part.shape[0]}].png"
            Image.fromarray(anew.astype(np.uint16)).save(folder / name)
    return folder


def predicted(project: Project) -> list[Annotation]:
    return [o for o in open_project(project.path).entries[0].objects() if is_prediction(o)]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return small_project(tmp_path, [()])


@pytest.mark.parametrize("tile", [WIDTH, TILE, 64])
def test_there_is_one_object_for_each_whatever_the_tiles(project: Project, tmp_path: Path, tile: int) -> None:
    numbers = field()
    folder = write_tiles(tmp_path / "masks", numbers, tile)
    (report,) = qpkit.import_predictions(folder, project.path, instances="Nucleus")
    assert report.objects == {"Nucleus": numbers.max()}
    there = predicted(project)
    assert {o.kind for o in there} == {"detection"} and {o.class_name for o in there} == {"Nucleus"}
    assert sorted(o.geometry.area for o in there) == sorted(np.bincount(numbers.ravel())[1:])
    assert shapely.union_all([o.geometry for o in there]).area == (numbers > 0).sum()
    parts = tile < WIDTH
    assert any("as borders of images had cut some" in note for note in report.notes) == parts
    again = qpkit.evaluate(folder, [project.path], instances="Nucleus")
    # The same images are the same run.
    assert {o.metadata["qpkit run"] for o in there} == {again.run}


def test_an_object_in_two_pieces_is_one(project: Project, tmp_path: Path) -> None:
    numbers = np.zeros((HEIGHT, WIDTH), np.int32)
    numbers[10:20, 10:20] = numbers[30:40, 10:20] = 7
    numbers[20:30, 10:20] = 70_000
    folder = tmp_path / "masks"
    folder.mkdir()
    Image.fromarray(numbers).save(folder / "a.tif [x=0,y=0,w=320,h=256].tif")
    qpkit.import_predictions(folder, project.path, instances="Nucleus")
    assert sorted((o.geometry.geom_type, o.geometry.area) for o in predicted(project)) == [
        ("MultiPolygon", 200),
        ("Polygon", 100),
    ]


def test_classes_come_from_a_table(project: Project, tmp_path: Path) -> None:
    numbers = field()
    folder = write_tiles(tmp_path / "masks", numbers, WIDTH)
    table = tmp_path / "classes.csv"
    names = {n: "Tumor" if n % 2 else "Stroma" for n in range(1, numbers.max() + 1)}
    table.write_text("value,name\n" + "".join(f"{n},{name}\n" for n, name in names.items()))
    (report,) = qpkit.import_predictions(folder, project.path, instances=str(table))
    assert sum(report.objects.values()) == len(names) and report.objects["Tumor"] == (len(names) + 1) // 2
    table.write_text("value,name\n1,Tumor\n")
    before = project.entries[0].files.data.read_bytes()
    with pytest.raises(LabelError, match="has no class for"):
        qpkit.import_predictions(folder, project.path, instances=str(table))
    assert project.entries[0].files.data.read_bytes() == before


def test_images_that_lie_over_each_other_are_refused(project: Project, tmp_path: Path) -> None:
    folder = write_tiles(tmp_path / "masks", field(), WIDTH)
    Image.fromarray(field()[:50, :50].astype(np.uint16)).save(folder / "a.tif [x=3,y=3,w=50,h=50].png")
    with pytest.raises(FormatError, match="objects would count twice"):
        qpkit.import_predictions(folder, project.path, instances="Nucleus")


@pytest.mark.parametrize(
    ("mode", "said"), [("F", "numbers of objects are one whole number a pixel"), ("RGBA", "4 x uint8 a pixel")]
)
def test_images_that_hold_no_numbers_are_named(
    project: Project, tmp_path: Path, mode: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "masks"
    folder.mkdir()
    name = "a.tif [x=0,y=0,w=320,h=256]" + (".tif" if mode == "F" else ".png")
    Image.new(mode, (WIDTH, HEIGHT)).save(folder / name)
    assert run("import-predictions", folder, project.path, "--instances", "Nucleus") == 1
    assert said in capsys.readouterr().err.replace("\n", " ")
    assert not project.entries[0].has_data or not predicted(project)
