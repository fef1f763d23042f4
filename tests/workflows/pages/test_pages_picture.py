"""qpkit picture: the asked place at the asked size, predictions tinted, annotations outlined."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from predictions_made_up import predict_truth
from small_project import HEIGHT, STROMA, TUMOR, WIDTH, small_project

from command_line import run
from qpkit.core.labels import LabelClass, LabelMap
from qpkit.core.tiles import Tile
from qpkit.errors import ConfigError
from qpkit.qupath import open_project
from qpkit.slides import open_source
from qpkit.workflows.inputs.settings import SlideSettings
from qpkit.workflows.inputs.slides import slide_inputs
from qpkit.workflows.pages.picture import PictureSettings, draw_picture, parse_region


def pixels(made: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(made)).convert("RGB"))


def test_a_place_without_objects_is_the_slide_itself(tmp_path: Path) -> None:
    project = small_project(tmp_path, [(TUMOR, STROMA)])
    (item,) = slide_inputs([project.path])
    settings = PictureSettings(region=parse_region("130,0,10,20"), size=20, legend=False)
    with open_source(item.source) as slide:
        there = slide.read(Tile(col=0, row=0, x=130, y=0, width=10, height=20, downsample=1.0))
    assert np.array_equal(pixels(draw_picture(item, settings)), there)


@pytest.mark.parametrize(("region", "shape"), [("", (256 * 160 // 320, 160)), ("0,0,100,50", (80, 160))])
def test_the_longer_side_is_as_asked_for(tmp_path: Path, region: str, shape: tuple[int, int]) -> None:
    project = small_project(tmp_path, [(TUMOR, STROMA)])
    out = tmp_path / "a.png"
    options = ["--region", region] if region else []
    assert run("picture", project.path, "-o", out, "--size", "160", *options) == 0
    assert pixels(out.read_bytes()).shape[:2] == shape and (WIDTH, HEIGHT) == (320, 256)
    assert run("picture", project.path, "-o", out, "--size", "160", *options) == 1  # never replaced unasked


def test_predictions_are_tinted_and_annotations_outlined(study: Path, tmp_path: Path) -> None:
    labels = LabelMap(classes=(LabelClass("Tumor", 1, ("Tumor",)),))
    made = predict_truth(study, tmp_path / "pred", labels)
    (item,) = slide_inputs([study], SlideSettings(entries=("patient_D.tif",)))
    tumour = next(o for o in open_project(study).entries[3].objects() if o.class_name == "Tumor")
    x, y, x2, y2 = tumour.geometry.bounds
    settings = PictureSettings(region=parse_region(f"{x},{y},{x2 - x},{y2 - y}"), size=200, legend=False)
    plain = pixels(
        draw_picture(item, settings, predictions=made, labels=LabelMap(classes=(LabelClass("x", 1, ("x",)),)))
    )
    shown = pixels(draw_picture(item, settings, predictions=made))
    assert (shown == (10, 10, 10)).all(axis=2).any() and not (plain == (10, 10, 10)).all(axis=2).any()
    assert np.abs(plain.astype(int) - shown).max() > 0


@pytest.mark.parametrize("text", ["1,2,3", "a,b,c,d", "0,0,0,5", "0,0,nan,5"])
def test_a_region_is_four_numbers(text: str) -> None:
    with pytest.raises(ConfigError, match="--region"):
        parse_region(text)


def test_what_cannot_be_drawn_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = small_project(tmp_path, [(TUMOR,), (STROMA,)])
    for options, said in (
        (["-o", tmp_path / "a.jpg"], "has to end in .png"),
        (["-o", tmp_path / "a.png"], "name one with --entry"),
        (["-o", tmp_path / "a.png", "--entry", "a.tif", "--region", "900,0,5,5"], "lies beside 'a.tif'"),
    ):
        assert run("picture", project.path, *options) == 1
        error = capsys.readouterr().err
        assert said in error and len(error) < 200 and error.count("\n") == 1
