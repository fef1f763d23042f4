from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from predictions_made_up import predict_truth

from qpkit.core.labels import LabelClass, LabelMap
from qpkit.errors import ConfigError, FormatError, ProjectError
from qpkit.predictions.store import read_strips
from qpkit.qupath import open_project
from qpkit.workflows.imports.project import import_predictions
from qpkit.workflows.imports.settings import ImportSettings
from qpkit.workflows.inputs.label_images import masks_as_predictions

LABELS = LabelMap(classes=(LabelClass("Tumor", 1, ("Tumor",)),), ignored=("Ignore*",))


def cut(study: Path, tmp_path: Path, downsample: float, tile: int = 400) -> tuple[Path, np.ndarray]:
    """Label images of patient D as QuPath's tile exporter would write them, and the whole raster."""
    made = predict_truth(study, tmp_path / "whole", LABELS, downsample=downsample)
    ((_, bands),) = read_strips(made.root / made.slides[0].labels, rows=10_000)
    folder = tmp_path / "masks"
    folder.mkdir()
    for y in range(0, bands.shape[1], tile):
        for x in range(0, bands.shape[2], tile):
            part = bands[0, y : y + tile, x : x + tile]
            side = f"x={round(x * downsample)},y={round(y * downsample)}"
            size = f"w={round(part.shape[1] * downsample)},h={round(part.shape[0] * downsample)}"
            level = "" if downsample == 1 else f"d={downsample:g},"
            Image.fromarray(part).save(folder / f"patient_D [{level}{side},{size}]-labelled.png")
    return folder, bands[0]


@pytest.mark.parametrize("downsample", [1.0, 2.0])
def test_tiles_named_by_quPaths_exporter_are_put_together(study: Path, tmp_path: Path, downsample: float) -> None:
    folder, whole = cut(study, tmp_path, downsample)
    (tmp_path / "out").mkdir()
    found = masks_as_predictions(folder, open_project(study), LABELS, tmp_path / "out")
    ((_, bands),) = read_strips(found.root / found.slides[0].labels, rows=10_000)
    assert np.array_equal(bands[0], whole)
    assert found.slides[0].mpp == pytest.approx(0.5 * downsample)


def test_the_run_is_named_by_the_masks_content(study: Path, tmp_path: Path) -> None:
    folder, _ = cut(study, tmp_path, 2.0)
    runs = []
    for number in range(3):
        (tmp_path / f"out{number}").mkdir()
        if number == 2:
            path = next(folder.iterdir())
            Image.fromarray(1 - np.asarray(Image.open(path)).clip(0, 1)).save(path)
        runs.append(masks_as_predictions(folder, open_project(study), LABELS, tmp_path / f"out{number}").run)
    assert runs[0] == runs[1] != runs[2]


def test_what_no_mask_covers_is_background(study: Path, tmp_path: Path) -> None:
    labels = LabelMap(classes=(LabelClass("Tumor", 0, ("Tumor",)),), background=5)
    for folder in ("masks", "out"):
        (tmp_path / folder).mkdir()
    Image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save(tmp_path / "masks/patient_D [x=-4,y=16,w=8,h=8].png")
    found = masks_as_predictions(tmp_path / "masks", open_project(study), labels, tmp_path / "out")
    ((_, bands),) = read_strips(found.root / found.slides[0].labels, rows=10_000)
    assert (bands[0] == 0).sum() == 4 * 8
    assert (bands[0][16:24, :4] == 0).all()
    assert (bands[0] != 0).sum() == (bands[0] == 5).sum()


@pytest.mark.parametrize("class_px", [0, 3])
def test_pixels_that_mean_ignore_are_counted_and_refused_where_they_are_all(
    study: Path, tmp_path: Path, class_px: int
) -> None:
    for folder in ("masks", "out"):
        (tmp_path / folder).mkdir()
    mask = np.zeros((8, 8), dtype=np.uint8)
    mask[2:4] = 255
    mask[5, :class_px] = 1
    Image.fromarray(mask).save(tmp_path / "masks/patient_D [x=0,y=16,w=8,h=8].png")
    project = open_project(study)
    if class_px:
        found = masks_as_predictions(tmp_path / "masks", project, LABELS, tmp_path / "out")
        assert found.notes == ("16 px have the value 255, which the label map calls ignore: they count as background",)
        reports = import_predictions(found, project, ImportSettings())
        assert reports[0].notes == found.notes and "16 px" in reports[0].notes[0]
    else:
        with pytest.raises(FormatError, match=r"16 px have the value 255, .* say ignore = 254"):
            masks_as_predictions(tmp_path / "masks", project, LABELS, tmp_path / "out")


def test_a_table_says_where_masks_lie(study: Path, tmp_path: Path) -> None:
    folder = tmp_path / "masks"
    folder.mkdir()
    mask = np.zeros((50, 60), dtype=np.uint8)
    mask[10:20, 10:30] = 1
    Image.fromarray(mask).save(folder / "a.png")
    table = tmp_path / "where.csv"
    table.write_text("file,slide,x,y,downsample\na.png,patient_D.tif,400,200,4\n")
    (tmp_path / "out").mkdir()
    found = masks_as_predictions(folder, open_project(study), LABELS, tmp_path / "out", table=table)
    ((_, bands),) = read_strips(found.root / found.slides[0].labels, rows=10_000)
    assert bands[0].sum() == 200
    assert (bands[0][60:70, 110:130] == 1).all()


@pytest.mark.parametrize(
    ("names", "error", "said"),
    [
        ({"mask.png": 0}, FormatError, "does not say where it lies"),
        ({"patient_D [x=0,y=0,w=8,h=8].png": 7}, FormatError, r"values \[7\]"),
        ({"nobody [x=0,y=0,w=8,h=8].png": 0}, ProjectError, "0 entries for masks of slide 'nobody'"),
        ({"patient_D [d=4,x=1,y=0,w=32,h=32].png": 0}, ConfigError, "not on the pixel grid"),
        ({}, FormatError, "no label images"),
        ({"patient_D [d=2,x=0,y=0,w=8,h=8].png": 0}, FormatError, "is 8 x 8 px where its name makes it 4 x 4"),
        ({"patient_D [d=0,x=0,y=0,w=8,h=8].png": 0}, FormatError, "downsample above 0"),
        ({"patient_D [d=1..2,x=0,y=0,w=8,h=8].png": 0}, FormatError, "downsample above 0"),
        ({"patient_D [x=90000,y=0,w=8,h=8].png": 0}, FormatError, "lies outside slide"),
        ({"patient_D [x=0,y=0,w=8,h=8,z=3].png": 0}, FormatError, "only z=0"),
    ],
)
def test_masks_that_do_not_fit_are_one_clear_line(
    study: Path, tmp_path: Path, names: dict[str, int], error: type[Exception], said: str
) -> None:
    folder, out = tmp_path / "masks", tmp_path / "out"
    folder.mkdir()
    out.mkdir()
    for name, value in names.items():
        Image.fromarray(np.full((8, 8), value, dtype=np.uint8)).save(folder / name)
    with pytest.raises(error, match=said):
        masks_as_predictions(folder, open_project(study), LABELS, out)


def test_two_images_in_one_place_are_refused_and_overlaps_are_counted(study: Path, tmp_path: Path) -> None:
    for folder in ("masks", "out"):
        (tmp_path / folder).mkdir()
    image = Image.fromarray(np.ones((8, 8), dtype=np.uint8))
    image.save(tmp_path / "masks/patient_D [x=0,y=16,w=8,h=8].png")
    image.save(tmp_path / "masks/patient_D [x=4,y=16,w=8,h=8].png")
    image.save(tmp_path / "masks/patient_D [x=12,y=16,w=8,h=8].png")
    found = masks_as_predictions(tmp_path / "masks", open_project(study), LABELS, tmp_path / "out")
    assert found.notes == (
        "1 pair(s) of label images lie over each other: there the later one (by name, by row) counts",
    )
    image.save(tmp_path / "masks/patient_D [x=4,y=16,w=8,h=8]-2.png")
    with pytest.raises(FormatError, match="both lie at x=4, y=16 of 'patient_D'; keep one"):
        masks_as_predictions(tmp_path / "masks", open_project(study), LABELS, tmp_path / "out")
