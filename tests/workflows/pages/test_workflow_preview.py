"""The page about tiles or a project: what it says, that it needs nothing beside it, and that a browser shows it."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from browser import opened
from command_line import run
from qpkit.core.labels import LabelClass, LabelMap
from qpkit.dataset import read_tile_set
from qpkit.dataset.example_tiles import most_of_class, rarest, without_class
from qpkit.dataset.leakage import find_leakage
from qpkit.errors import ConfigError
from qpkit.report.figures.class_fractions import Bar, draw_class_fractions
from qpkit.report.figures.tiles import edge_of, outlined, tinted
from qpkit.report.pages.html import render
from qpkit.workflows.export.settings import ExportSettings
from qpkit.workflows.export.tiles import export_tiles
from qpkit.workflows.inputs.settings import SlideSettings
from qpkit.workflows.inputs.slides import project_classes, slide_inputs
from qpkit.workflows.inputs.tissue_rule import TissueRule
from qpkit.workflows.pages.preview import PER_CLASS, preview_tiles
from qpkit.workflows.pages.project import preview_project
from qpkit.workflows.pages.tile_map import MapSettings, tile_map
from table_of_tiles import LABELS, tile


@pytest.fixture(scope="module")
def tiles(made_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("preview") / "tiles"
    settings = ExportSettings(tile_size=256, mpp=1.0, tissue=TissueRule.parse("otsu"), context=(1, 4))
    export_tiles(slide_inputs([made_study]), out, settings, classes=project_classes([made_study]))
    return out


def test_the_page_of_tiles_shows_every_class_in_a_browser_and_fetches_nothing(tiles: Path, tmp_path: Path) -> None:
    report = preview_tiles(tiles, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert (report.slides, report.notes) == (4, ())
    for name in (
        "Tumor",
        "Immune cells",
        "Rarest",
        "Background",
        "patient_A.tif",
        "No leakage found",
        "Mask pixels by the rule",
    ):
        assert name in text
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", text)
    found = opened(tmp_path / "page.html")
    assert found == {"images": report.tiles + 4 + 2, "broken": 0, "fetched": 0, "overflow": found["overflow"]}
    assert found["overflow"] <= 0


def test_the_page_of_a_project_shows_its_slides_and_what_the_doctor_finds(study: Path, tmp_path: Path) -> None:
    report = preview_project(study, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert (report.slides, report.tiles) == (4, 0)
    assert "patient_D.tif" in text and "Immune cells" in text and "moved along with the project" in text
    found = opened(tmp_path / "page.html")
    assert found["images"] == 4 and found["broken"] == found["fetched"] == 0 and found["overflow"] <= 0


def test_previews_come_from_the_command_line(tiles: Path, study: Path, tmp_path: Path) -> None:
    assert run("preview", tiles, "-o", tmp_path / "a.html") == 0
    assert run("preview", study / "project.qpproj", "-o", tmp_path / "b.html", "--labels", study / "labels.toml") == 0
    assert "skip" in (tmp_path / "b.html").read_text()
    assert run("preview", tmp_path, "-o", tmp_path / "c.html") == 1
    assert run("preview", tiles, "-o", tmp_path / "c.png") == 1
    assert run("preview", tiles, "-o", tmp_path / "c.html", "--labels", study / "labels.toml") == 1
    assert not (tmp_path / "c.html").exists()


def test_without_the_slides_the_page_shows_what_the_export_kept_of_them(study: Path, tmp_path: Path) -> None:
    settings = ExportSettings(tile_size=512, mpp=1.0, tissue=TissueRule.parse("otsu"))
    export_tiles(slide_inputs([study], SlideSettings(entries=["1"])), tmp_path / "tiles", settings)
    (study / "slides").rename(tmp_path / "gone")
    assert preview_tiles(tmp_path / "tiles", tmp_path / "page.html").notes == ()
    shutil.rmtree(tmp_path / "tiles/tissue")
    report = preview_tiles(tmp_path / "tiles", tmp_path / "page.html")
    assert len(report.notes) == 1 and "No picture" in (tmp_path / "page.html").read_text()
    assert "no picture" in preview_project(study, tmp_path / "project.html").notes[0]


def test_many_lost_images_take_a_few_lines_and_the_page_says_who_mends_them(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = shared / "data/qupath/nedaghohabi-Histopathology-Image-Tiling/project.qpproj"
    assert run("preview", project, "-o", tmp_path / "page.html") == 0
    said = capsys.readouterr().err.splitlines()
    assert sum("no picture" in line for line in said) == 10
    assert any("and 424 more like these; the page has them all" in line for line in said)
    text = (tmp_path / "page.html").read_text()
    assert text.count("No picture: ") == 434 and "(qpkit doctor: " in text


def test_letters_that_no_font_has_do_not_stop_the_picture() -> None:
    labels = LabelMap(classes=(LabelClass("\u816b\u760d", 1, ("Tumor",)),))
    bars = [Bar(name="train", split="train", tiles=2, pixels={0: 5, 1: 5})]
    assert draw_class_fractions(bars, bars, labels).startswith(b"\x89PNG")


def test_names_are_escaped() -> None:
    text = render("page", title="<script>alert(1)</script>")
    assert "<script>alert" not in text and "&lt;script&gt;" in text


def test_every_slide_has_a_tile_before_any_has_two() -> None:
    rows = [tile(f"s{slide}", number, {1: 100 * number + slide}) for slide in range(3) for number in range(4)]
    chosen = most_of_class(rows, 1, 5)
    assert [(t.slide, t.col) for t in chosen] == [("s2", 3), ("s1", 3), ("s0", 3), ("s2", 2), ("s1", 2)]
    assert most_of_class(rows, 2, 5) == []


def test_the_rarest_tiles_are_those_whose_classes_few_others_show() -> None:
    rows = [tile("s", n, {1: 5}) for n in range(6)] + [tile("s", 6, {2: 1}), tile("s", 7, {0: 9}), tile("t", 8, {0: 4})]
    assert [t.col for t in rarest(rows, LABELS, 2)] == [6, 0]
    assert [t.col for t in without_class(rows, LABELS, 9)] == [7, 8]
    assert len(most_of_class(rows, 1, PER_CLASS)) == 6


@pytest.mark.parametrize(("context", "halos"), [(1, 0), (2, 2), (4, 4), (5, 6)])
def test_surroundings_that_reach_into_another_split_are_leakage(context: int, halos: int) -> None:
    """Tiles 0..5 in a row, 0-1 and 4-5 in use: two free places lie between the splits."""
    rows = [tile("s", n, {1: 5}) for n in (0, 1, 3, 4)]
    parts = ["train", "train", "val", "val"]
    found = find_leakage(rows, parts, groups=parts, images={}, patients={}, context=context)
    seen = sum(
        (context - 1) / 2 + 1 > abs(a.col - b.col)
        for a, p in zip(rows, parts, strict=True)
        for b, q in zip(rows, parts, strict=True)
        if p != q
    )
    assert found.halos == seen
    assert (found.halos > 0) == (halos > 0 and context > 2)
    assert ("surroundings" in " ".join(found.describe())) == (found.halos > 0)


def test_outlines_have_the_colour_of_their_class_and_ignore_is_pale() -> None:
    labels = LabelMap(classes=(replace(LABELS.classes[0], color=-65536),))
    image = np.full((40, 40, 3), 100, np.uint8)
    mask = np.zeros((40, 40), np.uint8)
    mask[10:20, 10:20] = 1
    mask[30:] = 255
    shown = outlined(image, mask, labels, side=40)
    edge = edge_of(mask == 1)
    assert edge.sum() == 36 and (shown[edge] == (255, 0, 0)).all()
    assert (shown[~edge & (mask != 255)] == 100).all()
    assert (shown[31:] > 150).all()
    painted = tinted(image, mask, labels, show_ignore=False)
    assert (painted[31:] == 100).all() and painted[15, 15, 0] > 150


def test_the_map_is_coloured_by_what_is_asked_for(tiles: Path, tmp_path: Path) -> None:
    shown = [page_of(tiles, tmp_path, MapSettings(map=name)) for name in ("pca", "none")]
    assert "by colour and texture" in shown[0] and "Not drawn" not in shown[0] and "Not drawn" in shown[1]
    found = tile_map(read_tile_set(tiles), MapSettings(by=("Patient",), map_tiles=8))
    plain = tile_map(read_tile_set(tiles), MapSettings(map_tiles=8))
    assert found is not None and plain is not None and found.caption == plain.caption
    assert found.caption.startswith("8 of ") and found.picture != plain.picture
    with pytest.raises(ConfigError, match=r"--by Stain: no slide in .* has such metadata; "):
        tile_map(read_tile_set(tiles), MapSettings(by=("Stain",)))


def page_of(tiles: Path, folder: Path, settings: MapSettings) -> str:
    page = folder / f"{settings.map}.html"
    preview_tiles(tiles, page, settings)
    return page.read_text()
