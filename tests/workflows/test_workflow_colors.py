"""Projects whose images QuPath shows in other colours than the file's, from the export to the prediction."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from small_project import HEIGHT, WIDTH, small_project

from command_line import run
from profiles_made_up import SCANNER, WILD, picture, write_slide
from qpkit.core.tiles import Tile
from qpkit.dataset import TileSet, read_tile_set
from qpkit.dataset.splits import SplitRule
from qpkit.dataset.stores.slides import exported_colors
from qpkit.errors import ConfigError, FormatError
from qpkit.slides import AS_IN_FILE, EMBEDDED, Colors, open_source
from qpkit.slides.icc import icc_transform
from qpkit.workflows.doctor.project import examine_project
from qpkit.workflows.export.plan import plan_export
from qpkit.workflows.export.settings import ExportSettings, TissueRule
from qpkit.workflows.export.tiles import ExportReport, export_tiles
from qpkit.workflows.info import describe
from qpkit.workflows.inputs.settings import SlideSettings
from qpkit.workflows.inputs.slides import project_classes, slide_inputs

SETTINGS = ExportSettings(
    tile_size=128, mpp=0.5, split=SplitRule.parse("metadata:Split"), tissue=TissueRule.parse("none")
)
PIXELS = picture(HEIGHT, WIDTH)


def with_arguments(project: Path, *args: str, image: int = 0) -> None:
    """Have QuPath open an image with arguments."""
    file = next(project.glob("*.qpproj"))
    record = json.loads(file.read_text(encoding="utf-8"))
    record["images"][image]["serverBuilder"]["args"] = list(args)
    file.write_text(json.dumps(record), encoding="utf-8")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Two slides, a.tif with a profile and b.tif without; QuPath shows a.tif by it."""
    small_project(tmp_path)
    write_slide(tmp_path / "slides/a.tif", PIXELS)
    write_slide(tmp_path / "slides/b.tif", PIXELS, profile=None)
    with_arguments(tmp_path / "project", "--icc-profile")
    return tmp_path / "project"


def export(project: Path, out: Path, slides: SlideSettings, **settings: object) -> tuple[ExportReport, TileSet]:
    chosen = replace(SETTINGS, **settings)  # type: ignore[arg-type]
    report = export_tiles(slide_inputs([project], slides), out, chosen, classes=project_classes([project]))
    return report, read_tile_set(out)


def first_tiles(tiles: TileSet) -> dict[str, NDArray[np.uint8]]:
    """The tile at 0,0 of each slide."""
    return {tile.slide: tiles.read(tile, "image") for tile in tiles.tiles if (tile.col, tile.row) == (0, 0)}


@pytest.mark.parametrize("icc", [None, "none"])
@pytest.mark.parametrize("store", ["files", "shards", "none"])
def test_export_training_and_prediction_see_the_same_pixels(
    project: Path, tmp_path: Path, store: str, icc: str | None
) -> None:
    slides = SlideSettings(icc=icc)
    report, tiles = export(project, tmp_path / "tiles", slides, store=store)
    seen = first_tiles(tiles)
    shown = icc_transform(WILD)(PIXELS) if icc is None else PIXELS
    assert np.array_equal(seen["a.tif"], shown[:128, :128])
    assert np.array_equal(seen["b.tif"], PIXELS[:128, :128])
    for item in slide_inputs([project], slides):
        with open_source(item.source) as slide:  # as predict does
            again = slide.read(Tile(col=0, row=0, x=0, y=0, width=128, height=128, downsample=1.0))
        assert np.array_equal(again, seen[item.source.name])
    colors = exported_colors(tiles.info)
    assert colors == {"a.tif": AS_IN_FILE if icc else Colors(icc=EMBEDDED), "b.tif": AS_IN_FILE}
    told = [note for note in report.notes if "ICC" in note]
    said = "colours: 1 slide in sRGB by the file's own ICC profile, 1 slide as in the file"
    warned = "a.tif: QuPath shows it in sRGB by the file's own ICC profile, --icc reads it as in the file"
    assert told == [warned if icc else said]


def test_worker_processes_show_the_same_colors(project: Path, tmp_path: Path) -> None:
    inputs, classes = slide_inputs([project]), project_classes([project])
    for workers in (1, 2):
        export_tiles(inputs, tmp_path / str(workers), SETTINGS, classes=classes, workers=workers)
    one, two = (first_tiles(read_tile_set(tmp_path / name)) for name in "12")
    assert all(np.array_equal(one[name], two[name]) for name in one) and len(one) == 2


def test_another_profile_makes_another_export(project: Path, tmp_path: Path) -> None:
    (tmp_path / "scanner.icc").write_bytes(SCANNER)

    def job(icc: str | None) -> str:
        inputs = slide_inputs([project], SlideSettings(icc=icc, entries=("a.tif",)))
        return plan_export(inputs, SETTINGS, project_classes([project])).job

    path = str(tmp_path / "scanner.icc")
    jobs = [job(None), job("embedded"), job("none"), job(path)]
    assert jobs[0] == jobs[1] and len(set(jobs)) == 3
    (tmp_path / "scanner.icc").write_bytes(WILD)
    assert job(path) not in jobs
    plain = slide_inputs([project], SlideSettings(icc="none"))[0]
    assert "colors" not in plain.hashes()  # so that exports of earlier versions are gone on with


def test_a_profile_that_has_changed_since_the_export_is_refused(project: Path, tmp_path: Path) -> None:
    profile = tmp_path / "scanner.icc"
    profile.write_bytes(SCANNER)
    _, tiles = export(project, tmp_path / "tiles", SlideSettings(icc=str(profile)), store="none")
    assert np.array_equal(first_tiles(tiles)["b.tif"], icc_transform(SCANNER)(PIXELS)[:128, :128])
    profile.write_bytes(WILD)
    with pytest.raises(FormatError, match=r"scanner\.icc is gone, or another one now; export again"):
        first_tiles(read_tile_set(tmp_path / "tiles"))


def test_a_project_that_wants_a_profile_that_is_not_there_ends_the_command(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_arguments(project, "--icc-profile", image=1)
    assert run("export", project, "-o", tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert "b.tif cannot be shown in sRGB by the file's own ICC profile: it has none;" in " ".join(said.split())
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match=r"b\.tif cannot be shown"):
        slide_inputs([project / "../slides/b.tif"], SlideSettings(icc="embedded"))
    with pytest.raises(ConfigError, match=r"nowhere\.icc cannot be read"):
        slide_inputs([project], SlideSettings(icc="nowhere.icc"))
    finding = next(f for f in examine_project(project).findings if f.kind == "image-profile")
    assert finding.severity == "error" and "b.tif" in finding.what
    assert run("export", project, "-o", tmp_path / "out", "--icc", "none", "--tile-size", "128", "--mpp", "0.5") == 0


def test_the_background_of_an_entry_reaches_the_tiles(project: Path) -> None:
    with_arguments(project, "--background-color=#0000ff")
    source = slide_inputs([project])[0].source
    assert source.colors == Colors(background=(0, 0, 255)) and not source.note
    (item,) = slide_inputs([project], SlideSettings(icc="embedded", entries=("a.tif",)))
    assert item.source.colors == Colors(icc=EMBEDDED, background=(0, 0, 255))


def test_info_says_which_profile_there_is_and_which_is_asked_for(project: Path, tmp_path: Path) -> None:
    assert describe(tmp_path / "slides/a.tif").facts["ICC profile"] == f"wild, {len(WILD):,} bytes"
    assert describe(tmp_path / "slides/b.tif").facts["ICC profile"] == "none"
    by_its_own = "in sRGB by the file's own ICC profile"
    shown = [row["colours"] for row in describe(project).rows]
    assert shown == [f"{by_its_own} (wild, {len(WILD):,} bytes)", "-"]
    with_arguments(project, "--icc-profile", image=1)
    assert describe(project).rows[1]["colours"] == f"{by_its_own} (none)"
    export(project, tmp_path / "tiles", SlideSettings(entries=("a.tif",)))
    assert describe(tmp_path / "tiles").facts["colours"] == [f"{by_its_own}: 1"]
