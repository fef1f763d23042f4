"""Entries that QuPath shows turned, cropped or on another plane, from the export to the import."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
import shapely.affinity
import tifffile
from numpy.typing import NDArray
from predictions_made_up import predict_truth
from shapely.geometry.base import BaseGeometry

from qpkit.cli import main
from qpkit.core.annotation import Annotation, PathClass, Plane
from qpkit.core.labels import LabelClass, LabelMap
from qpkit.core.provenance import is_prediction
from qpkit.dataset import TileSet, read_tile_set
from qpkit.errors import FormatError, ProjectError
from qpkit.qupath import open_project, write_geojson
from qpkit.slides import Crop, Slide, Turn, open_slide, open_source
from qpkit.workflows.evaluate.predictions import evaluate
from qpkit.workflows.export.settings import ExportSettings, TissueRule
from qpkit.workflows.export.tiles import ExportReport, export_tiles
from qpkit.workflows.imports.project import import_predictions
from qpkit.workflows.imports.settings import ImportSettings
from qpkit.workflows.info import describe
from qpkit.workflows.inputs.settings import SlideSettings
from qpkit.workflows.inputs.slides import slide_inputs

LABELS = LabelMap(
    classes=(LabelClass("Tumor", 1, ("Tumor",)), LabelClass("Immune", 2, ("Immune cells",), optional=True))
)
CROP = {"x": 301, "y": 203, "width": 1400, "height": 1201, "z": 0, "t": 0}


def wrap(study: Path, change: Callable[[dict[str, Any]], dict[str, Any]], *, image: int = 0) -> None:
    """Put another server builder around an entry's."""
    file = study / "project.qpproj"
    data = json.loads(file.read_text(encoding="utf-8"))
    data["images"][image]["serverBuilder"] = change(data["images"][image]["serverBuilder"])
    file.write_text(json.dumps(data), encoding="utf-8")


def sized(metadata: dict[str, Any], width: int, height: int) -> dict[str, Any]:
    return {**metadata, "width": width, "height": height, "levels": []}


def rotated(inner: dict[str, Any], rotation: str = "ROTATE_90") -> dict[str, Any]:
    size = inner["metadata"]["width"], inner["metadata"]["height"]
    width, height = size if rotation == "ROTATE_180" else size[::-1]
    metadata = sized(inner["metadata"], width, height)
    return {"builderType": "rotated", "builder": inner, "rotation": rotation, "metadata": metadata}


def cropped(inner: dict[str, Any]) -> dict[str, Any]:
    metadata = sized(inner["metadata"], CROP["width"], CROP["height"])
    return {"builderType": "cropped", "builder": inner, "region": CROP, "metadata": metadata}


def flipped(inner: dict[str, Any]) -> dict[str, Any]:
    return {"builderType": "flipped", "builder": inner, "flip": "HORIZONTAL", "metadata": inner["metadata"]}


def move_objects(study: Path, move: Callable[[BaseGeometry], BaseGeometry], width: int, height: int) -> None:
    """Move the first entry's annotations into the wrapped frame, as if they had been drawn there."""
    entry = open_project(study).entries[0]
    objects = entry.objects()
    inside = shapely.box(0, 0, width, height)
    moved = [replace(o, geometry=move(o.geometry), shape="geometry", parent=None) for o in objects]
    kept = [replace(o, geometry=o.geometry.intersection(inside)) for o in moved if o.geometry.intersects(inside)]
    entry.replace_objects(remove=[o.id or "" for o in objects], add=kept)


def export(project: Path, out: Path, **settings: Any) -> tuple[ExportReport, TileSet]:
    defaults = {"tile_size": 768, "downsample": 4.0, "tissue": TissueRule("none", 0), "labels": LABELS}
    report = export_tiles(
        slide_inputs([project], SlideSettings(entries=["1"])), out, ExportSettings(**{**defaults, **settings})
    )
    return report, read_tile_set(out)


def turned(geometry: BaseGeometry) -> BaseGeometry:
    """Clockwise by 90 degrees on a slide 2,048 px high: x is the height less the old y."""
    return shapely.affinity.affine_transform(geometry, [0, -1, 1, 0, 2048, 0])


def moved(geometry: BaseGeometry) -> BaseGeometry:
    return shapely.affinity.translate(geometry, -CROP["x"], -CROP["y"])


def mirrored(geometry: BaseGeometry) -> BaseGeometry:
    return shapely.affinity.affine_transform(geometry, [-1, 0, 0, 1, 2816, 0])


def show_turned(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.rot90(pixels[:512, :704], -1)


def show_mirrored(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return pixels[:512, :704][:, ::-1]


@pytest.mark.parametrize(
    ("change", "move", "show"), [(rotated, turned, show_turned), (flipped, mirrored, show_mirrored)]
)
def test_a_turned_entry_gives_the_turned_tiles(
    study: Path,
    tmp_path: Path,
    change: Callable[[dict[str, Any]], dict[str, Any]],
    move: Callable[[BaseGeometry], BaseGeometry],
    show: Callable[[NDArray[np.uint8]], NDArray[np.uint8]],
) -> None:
    _, plain = export(study, tmp_path / "plain")
    wrap(study, change)
    move_objects(study, move, 2816, 2816)
    _, tiles = export(study, tmp_path / "turned")
    (tile,), (before,) = tiles.tiles, plain.tiles
    wanted = show(plain.read_image(before))
    rows, columns = wanted.shape[:2]
    difference = np.abs(tiles.read_image(tile)[:rows, :columns].astype(int) - wanted)
    assert difference.max() <= 1
    wanted_mask = show(plain.read_mask(before))
    assert (wanted_mask > 0).mean() > 0.01
    assert (tiles.read_mask(tile)[:rows, :columns] != wanted_mask).mean() < 1e-4  # centres on an edge change sides
    assert (tiles.read_mask(tile)[rows:] == 255).all()


def test_a_cropped_entry_shows_and_draws_its_part(study: Path, tmp_path: Path) -> None:
    _, plain = export(study, tmp_path / "plain", downsample=1.0, tile_size=2816)
    wrap(study, cropped)
    move_objects(study, moved, CROP["width"], CROP["height"])
    _, tiles = export(study, tmp_path / "cropped", downsample=1.0, tile_size=1400)
    (tile,), (before,) = tiles.tiles, plain.tiles
    window = (slice(CROP["y"], CROP["y"] + 1201), slice(CROP["x"], CROP["x"] + 1400))
    assert np.array_equal(tiles.read_image(tile)[:1201], plain.read_image(before)[window])
    assert np.array_equal(tiles.read_mask(tile)[:1201], plain.read_mask(before)[window])
    assert (tiles.read_image(tile)[1201:] == 255).all()


def test_nested_builders_are_followed_from_the_inside_out(study: Path) -> None:
    wrap(study, lambda inner: rotated(cropped(rotated(inner, "ROTATE_180")), "ROTATE_270"))
    item = slide_inputs([study], SlideSettings(entries=["1"]))[0]
    assert item.source.steps == (Turn(2), Crop(301, 203, 1400, 1201), Turn(3))
    assert (item.info.width, item.info.height) == (1201, 1400)
    assert item.hashes()["view"] == "turn:2 crop:301,203,1400,1201 turn:3"
    rows = describe(study).rows
    assert [row["shown"] for row in rows] == ["rotated, cropped, rotated", "-", "-", "-"]


def test_tiles_that_lie_nowhere_are_read_in_the_same_frame(study: Path, tmp_path: Path) -> None:
    wrap(study, lambda inner: rotated(cropped(inner)))
    found = {}
    for store in ("files", "none"):
        _, tiles = export(study, tmp_path / store, store=store, tile_size=200)
        found[store] = [(t.x, t.y, tiles.read_image(t), tiles.read_mask(t)) for t in tiles.tiles]
    assert len(found["files"]) == len(found["none"]) > 1
    for a, b in zip(found["files"], found["none"], strict=True):
        assert a[:2] == b[:2]
        assert np.array_equal(a[2], b[2])
        assert np.array_equal(a[3], b[3])


def test_predictions_come_back_in_the_frame_that_quPath_shows(study: Path, tmp_path: Path) -> None:
    wrap(study, rotated, image=3)
    made = predict_truth(study, tmp_path / "pred", LABELS)
    assert (made.slides[0].width, made.slides[0].height) == (2048, 2816)
    import_predictions(made, open_project(study), ImportSettings())
    assert sum(map(is_prediction, open_project(study).entries[3].objects())) > 3
    result = evaluate(made, slide_inputs([study]), out=tmp_path / "evaluation")
    assert result.pooled.scores["Tumor"].dice == 1.0
    assert (tmp_path / "evaluation/patient_D.tif.png").is_file()


def test_a_view_whose_size_is_not_what_quPath_says_is_refused(study: Path) -> None:
    wrap(study, lambda inner: {**rotated(inner), "metadata": inner["metadata"]})
    with pytest.raises(FormatError, match="is 2048 x 2816 px here, but 2816 x 2048 in QuPath"):
        slide_inputs([study])


def test_a_crop_that_leaves_the_image_is_refused_with_the_entrys_name(study: Path) -> None:
    wrap(study, lambda inner: {**cropped(inner), "region": {**CROP, "x": 2000}})
    with pytest.raises(FormatError, match=r"entry 'patient_A\.tif': the crop .* is not inside the image"):
        slide_inputs([study])


@pytest.mark.parametrize("kind", ["channels", "color", "affine", "sparse", "pyramidize", "color_deconvolved"])
def test_other_views_are_refused_by_name(study: Path, kind: str) -> None:
    wrap(study, lambda inner: {"builderType": kind, "builder": rotated(inner)})
    with pytest.raises(ProjectError, match=rf"patient_A\.tif.*shows its image {kind}, .* --entry"):
        slide_inputs([study])


@pytest.mark.parametrize(
    "change",
    [
        lambda inner: {**rotated(inner), "rotation": "ROTATE_45"},
        lambda inner: {**cropped(inner), "region": {"x": 0.5, "y": 0, "width": 5, "height": 5}},
        lambda inner: {**flipped(inner), "flip": "DIAGONAL"},
    ],
)
def test_steps_that_are_not_understood_are_refused(
    study: Path, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    wrap(study, change)
    with pytest.raises(ProjectError, match="shows its image"):
        slide_inputs([study])


def test_no_crop_reaches_openslide(study: Path) -> None:
    wrap(study, lambda inner: {**inner, "args": ["--no-crop"]})
    item = slide_inputs([study], SlideSettings(entries=["1"]))[0]
    assert not item.source.to_bounds
    assert item.hashes()["view"] == "whole canvas"


def planes(tmp_path: Path) -> tuple[Path, Path, NDArray[np.uint8]]:
    """A slide of two z planes with an annotation on each."""
    pixels = np.random.default_rng(0).integers(0, 256, (2, 128, 128, 3), dtype=np.uint8)
    path = tmp_path / "stack.ome.tif"
    metadata = {"axes": "ZYXS", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    tifffile.imwrite(path, pixels, ome=True, tile=(64, 64), photometric="rgb", metadata=metadata)
    boxes = [shapely.box(10, 10, 30, 30), shapely.box(50, 50, 100, 100)]
    objects = [
        Annotation(
            geometry=b, path_class=PathClass(("Tumor",)), plane=Plane(z=z), id=f"{z:08d}-0000-4000-8000-{0:012d}"
        )
        for z, b in enumerate(boxes)
    ]
    write_geojson(tmp_path / "stack.geojson", objects)
    return path, tmp_path / "stack.geojson", pixels


@pytest.mark.parametrize("store", ["files", "none"])
@pytest.mark.parametrize("z", [0, 1])
def test_a_plane_is_exported_with_its_own_objects(tmp_path: Path, z: int, store: str) -> None:
    path, objects, pixels = planes(tmp_path)
    out = tmp_path / "out"
    settings = ExportSettings(tile_size=128, tissue=TissueRule("none", 0), labels=LABELS, z=z, store=store)  # type: ignore[arg-type]
    report = export_tiles(slide_inputs([path], annotations=objects), out, settings)
    tiles = read_tile_set(out)
    assert np.array_equal(tiles.read_image(tiles.tiles[0]), pixels[z])
    assert (tiles.read_mask(tiles.tiles[0]) == 1).sum() == (400, 2500)[z]
    assert report.slides[0].audit.other_plane == 1
    assert tiles.info["settings"]["z"] == z


def test_a_plane_that_a_slide_lacks_is_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, objects, _ = planes(tmp_path)
    arguments = ["export", str(path), "--annotations", str(objects), "-o", str(tmp_path / "out"), "--t", "3"]
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 1
    assert "stack.ome.tif: there is no plane z 0, t 3; it has 2 z and 1 t" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_every_reader_gives_the_same_tiles_and_stands_in_the_report(study: Path, tmp_path: Path) -> None:
    found = {}
    for reader in ("auto", "openslide"):
        inputs = slide_inputs([study], SlideSettings(entries=["1"], reader=reader))
        settings = ExportSettings(tile_size=512, labels=LABELS, tissue=TissueRule("none", 0), mpp=0.9)
        export_tiles(inputs, tmp_path / reader, settings)
        tiles = read_tile_set(tmp_path / reader)
        found[reader] = [tiles.read_image(tile) for tile in tiles.tiles]
        assert tiles.info["inputs"][0]["reader"] == reader
        assert tiles.info["report"]["slides"][0]["reader"] == {"auto": "tiff"}.get(reader, reader)
    assert all(np.array_equal(a, b) for a, b in zip(found["auto"], found["openslide"], strict=True))


def pixel_size(width: float, height: float) -> Callable[[dict[str, Any]], dict[str, Any]]:
    size = {"pixelWidth": {"value": width, "unit": "µm"}, "pixelHeight": {"value": height, "unit": "µm"}}
    return lambda inner: {**inner, "metadata": {**inner["metadata"], "pixelCalibration": size}}


def test_pixels_that_quPath_calls_oblong_are_refused_though_the_file_says_otherwise(
    study: Path, tmp_path: Path
) -> None:
    wrap(study, pixel_size(0.25, 0.5))
    with pytest.raises(FormatError, match=r"QuPath states 0\.25 x 0\.5 um, pixels that are not square.*--slide-mpp"):
        export(study, tmp_path / "out", downsample=None, mpp=1.0)
    with open_source(slide_inputs([study], SlideSettings(entries=["1"]))[0].source) as slide:
        assert slide.info.mpp is None  # though the file says 0.5
    (item,) = slide_inputs([study], SlideSettings(entries=["1"], slide_mpp=0.3))
    assert item.info.mpp == 0.3
    with open_source(item.source) as slide:
        assert slide.info.mpp == 0.3


def test_pixels_that_are_nearly_square_are_averaged_and_the_report_says_so(study: Path, tmp_path: Path) -> None:
    wrap(study, pixel_size(0.498, 0.502))
    report, tiles = export(study, tmp_path / "out")
    assert tiles.tiles[0].mpp == pytest.approx(2.0)
    said = "the mean of 0.498 x 0.502 um: over the slide, lengths are 11 px in x and 8 px in y off"
    assert f"patient_A.tif: its um/px is {said}" in report.notes


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--gamma", "2", "--no-crop"], "--gamma 2"),
        (["--series", "0", "--background-color", "mauve"], "--background-color mauve"),
        (
            ["--icc-profile=true", "--bfOptions", "zeissczi.autostitch=false"],
            "--icc-profile=true, --bfOptions zeissczi.autostitch=false",
        ),
        (["--background-color=WHITE", "--no-crop"], ""),
        (["--Series", "0", "--no-crop"], ""),
    ],
)
def test_arguments_that_change_pixels_and_are_not_followed_are_named(
    study: Path, tmp_path: Path, args: list[str], said: str
) -> None:
    wrap(study, lambda server: {**server, "args": args})
    report, _ = export(study, tmp_path / "out")
    told = [note for note in report.notes if "does not follow" in note]
    assert len(told) == bool(said) and (not said or f"QuPath opens it with {said}, which" in told[0])


def test_a_slide_opened_by_its_path_alone_is_the_files_own_frame(study: Path) -> None:
    wrap(study, rotated)
    with open_slide(study / "slides/patient_A.tif") as slide:
        assert isinstance(slide, Slide)
        assert (slide.info.width, slide.info.height) == (2816, 2048)
