"""The same tiles from every store, surroundings that line up, tissue that is looked for on the thumbnail first."""

from __future__ import annotations

import json
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely
import tifffile
from PIL import Image

from qpkit.cli import main
from qpkit.core.annotation import Annotation, PathClass
from qpkit.dataset import TileSet, read_tile_set
from qpkit.dataset.splits import SplitRule
from qpkit.dataset.stores.layers import ImageFormat
from qpkit.dataset.stores.store import STORES, StoreKind
from qpkit.errors import ConfigError, FormatError
from qpkit.qupath import write_geojson
from qpkit.slides import Slide
from qpkit.workflows.export.settings import ExportSettings, parse_context
from qpkit.workflows.export.tiles import ExportReport, export_tiles
from qpkit.workflows.inputs.label_maps import read_label_map
from qpkit.workflows.inputs.settings import SlideSettings
from qpkit.workflows.inputs.slides import project_classes, slide_inputs
from qpkit.workflows.inputs.tissue_rule import TissueRule

ONE = ("patient_A.tif",)
SPLIT = SplitRule.parse("metadata:Split")


def export(
    project: Path, out: Path, *, entries: tuple[str, ...] = (), **settings: object
) -> tuple[ExportReport, TileSet]:
    chosen = ExportSettings(**{"tile_size": 256, "mpp": 1.0, "split": SPLIT, **settings})  # type: ignore[arg-type]
    report = export_tiles(
        slide_inputs([project], SlideSettings(entries=entries)), out, chosen, classes=project_classes([project])
    )
    return report, read_tile_set(out)


@pytest.fixture(scope="module")
def stores(made_study: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[StoreKind, TileSet]:
    """One export with context in each store."""
    root = tmp_path_factory.mktemp("stores")
    return {store: export(made_study, root / store, store=store, context=(1, 2, 4))[1] for store in STORES}


@pytest.mark.parametrize("store", ["shards", "none"])
def test_every_store_gives_the_same_tiles_bit_for_bit(stores: dict[StoreKind, TileSet], store: StoreKind) -> None:
    files, other = stores["files"], stores[store]
    assert other.layers == files.layers == ("image", "mask", "image_x2", "mask_x2", "image_x4", "mask_x4")
    assert len(files.tiles) == len(other.tiles) > 50
    place = {"image": "", "mask": "", "others": {}, "shard": "", "places": {}}
    for a, b in zip(files.tiles, other.tiles, strict=True):
        assert replace(a, **place) == replace(b, **place)
        for layer in files.layers:
            assert np.array_equal(files.read(a, layer), other.read(b, layer)), (a.key, layer)


def test_streamed_tiles_are_the_same_at_an_odd_resolution(made_study: Path, tmp_path: Path) -> None:
    settings = {"entries": ONE, "mpp": 1.37, "overlap": 31, "tissue": TissueRule.parse("otsu")}
    _, files = export(made_study, tmp_path / "files", **settings)  # type: ignore[arg-type]
    _, streamed = export(made_study, tmp_path / "none", store="none", **settings)  # type: ignore[arg-type]
    assert len(files.tiles) == len(streamed.tiles) > 10
    for a, b in zip(files.tiles, streamed.tiles, strict=True):
        assert np.array_equal(files.read_image(a), streamed.read_image(b))
        assert np.array_equal(files.read_mask(a), streamed.read_mask(b))


def test_an_nnunet_data_set_has_the_same_tiles_under_consecutive_labels(stores: dict[StoreKind, TileSet]) -> None:
    files, nnunet = stores["files"], stores["nnunet"]
    values = [files.labels.background, *(c.value for c in files.labels.classes), files.labels.ignore]
    table = np.zeros(256, np.uint8)
    table[values] = range(len(values))
    for a, b in zip(files.tiles, nnunet.tiles, strict=True):
        assert a.key == b.key and b.image.startswith("imagesTs/" if b.split == "test" else "imagesTr/")
        assert np.array_equal(files.read_image(a), nnunet.read_image(b))
        assert np.array_equal(table[files.read_mask(a)], nnunet.read_mask(b))
    dataset = json.loads((nnunet.root / "dataset.json").read_text())
    assert dataset["labels"] == {"background": 0, "Tumor": 1, "Immune cells": 2, "ignore": 3}
    cases = {Path(t.mask).stem: t.split for t in nnunet.tiles}
    images = sorted(path.name for path in (nnunet.root / "imagesTr").iterdir())
    assert images == sorted(f"{case}_0000.png" for case, split in cases.items() if split != "test")
    assert dataset["numTraining"] == len(images) and not any("." in case for case in cases)
    (fold,) = json.loads((nnunet.root / "splits_final.json").read_text())
    assert fold == {part: [case for case, split in cases.items() if split == part] for part in ("train", "val")}


def test_shards_are_tar_files_with_the_layers_of_a_tile_side_by_side(stores: dict[StoreKind, TileSet]) -> None:
    tiles = stores["shards"]
    keys: dict[str, list[str]] = {}
    for path in sorted((tiles.root / "shards").glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, suffix = member.name.partition(".")
                keys.setdefault(f"{path.name}/{key}", []).append(suffix)
    expected = [f"{layer}.png" for layer in tiles.layers] + ["json"]
    assert len(keys) == len(tiles.tiles)
    assert all(suffixes == expected for suffixes in keys.values())


def test_a_full_shard_is_followed_by_another(
    made_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stores: dict[StoreKind, TileSet]
) -> None:
    monkeypatch.setattr("qpkit.dataset.stores.shards.SHARD_BYTES", 300_000)
    _, tiles = export(made_study, tmp_path / "out", entries=ONE, store="shards")
    sizes = [path.stat().st_size for path in (tmp_path / "out/shards").glob("*.tar")]
    assert len(sizes) > 2 and max(sizes) < 1_200_000
    for a, b in zip(tiles.tiles, stores["files"].tiles, strict=False):
        assert np.array_equal(tiles.read_mask(a), stores["files"].read_mask(b))


@pytest.mark.parametrize("store", STORES)
def test_a_table_whose_pixels_are_gone_names_what_is_missing(
    stores: dict[StoreKind, TileSet], store: StoreKind, study: Path, tmp_path: Path
) -> None:
    _, tiles = export(study, tmp_path / "out", entries=ONE, store=store)
    gone = {"files": "images", "shards": "shards", "nnunet": "imagesTr"}
    folder = study / "slides" if store == "none" else tmp_path / "out" / gone[store]
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(FormatError, match="patient_A") as caught:
        read_tile_set(tmp_path / "out").read_image(tiles.tiles[0])
    assert "export" in str(caught.value)


def test_slides_that_changed_since_the_export_are_not_read(study: Path, tmp_path: Path) -> None:
    _, tiles = export(study, tmp_path / "out", entries=ONE, store="none")
    slide = study / "slides/patient_A.tif"
    raw = bytearray(slide.read_bytes())
    raw[-5000:] = bytes(5000)
    slide.write_bytes(raw)
    with pytest.raises(FormatError, match="another file"):
        tiles.read_image(tiles.tiles[0])


def test_a_study_and_its_tiles_may_move_together(study: Path, tmp_path: Path) -> None:
    _, tiles = export(study, study / "tiles", entries=ONE, store="none")
    image, mask = tiles.read_image(tiles.tiles[3]), tiles.read_mask(tiles.tiles[3])
    study.rename(tmp_path / "moved")
    moved = read_tile_set(tmp_path / "moved/tiles")
    assert np.array_equal(moved.read_image(moved.tiles[3]), image)
    assert np.array_equal(moved.read_mask(moved.tiles[3]), mask)


@pytest.mark.parametrize("store", ["shards", "none"])
def test_a_fold_beside_the_tiles_leads_to_the_same_pixels(
    stores: dict[StoreKind, TileSet], store: StoreKind, tmp_path: Path
) -> None:
    tiles = stores[store]
    with pytest.raises(SystemExit):
        main(["split", str(tiles.root), "-o", str(tmp_path / "fold"), "--folds", "2", "--fold", "1"])
    fold = read_tile_set(tmp_path / "fold")
    for a, b in zip(tiles.tiles[::9], fold.tiles[::9], strict=True):
        assert all(np.array_equal(tiles.read(a, layer), fold.read(b, layer)) for layer in tiles.layers)


def test_the_masks_of_streamed_tiles_are_those_of_the_day_of_the_export(study: Path, tmp_path: Path) -> None:
    _, tiles = export(study, tmp_path / "out", entries=ONE, store="none")
    before = [tiles.read_mask(tile) for tile in tiles.tiles[:40]]
    with pytest.raises(SystemExit):
        main(["edit", str(study), "--class", "Tumor", "--remove"])
    after = read_tile_set(tmp_path / "out")
    assert all(np.array_equal(a, after.read_mask(b)) for a, b in zip(before, after.tiles, strict=False))


def test_surroundings_line_up_with_the_tile_and_are_drawn_at_their_own_resolution(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1300, 1100, 3), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "noise.tif", pixels, tile=(256, 256))
    shape = shapely.Point(500, 600).buffer(290)
    write_geojson(tmp_path / "a.geojson", [Annotation(geometry=shape, path_class=PathClass(("Tumor",)))])
    inputs = slide_inputs([tmp_path / "noise.tif"], annotations=tmp_path / "a.geojson")
    settings = ExportSettings(downsample=2, tile_size=128, overlap=64, context=(1, 2, 4))
    export_tiles(inputs, tmp_path / "out", settings)
    tiles = read_tile_set(tmp_path / "out")
    for tile in tiles.tiles:
        x, y = round(tile.x), round(tile.y)
        for factor in (2, 4):
            side, step = 128, 2 * factor
            left, top = x - (factor - 1) * 128, y - (factor - 1) * 128
            wider = np.full((side * step, side * step, 3), 255, np.uint8)
            x0, y0 = max(left, 0), max(top, 0)
            inside = pixels[y0 : top + side * step, x0 : left + side * step]
            wider[y0 - top :, x0 - left :][: inside.shape[0], : inside.shape[1]] = inside
            means = wider.reshape(side, step, side, step, 3).mean(axis=(1, 3))
            assert abs(tiles.read(tile, f"image_x{factor}") - means).max() <= 0.5
            rows, columns = np.mgrid[:side, :side]
            centres = shapely.points(left + (columns + 0.5) * step, top + (rows + 0.5) * step)
            expected = np.where(shapely.contains(shape, centres), 1, 0)
            known = (rows < (1300 - top) / step) & (columns < (1100 - left) / step)
            known &= (rows >= -top / step) & (columns >= -left / step)
            mask = tiles.read(tile, f"mask_x{factor}")
            assert (mask[known] != expected[known]).mean() < 1e-3  # vertices are snapped to 1/256 px
            assert (mask[~known] == 255).all()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"context": (1, 3)}, "multiple of 6"),
        ({"context": (1, 4), "overlap": 2}, "tile size - overlap"),
        ({"context": (4,)}, "rise from 1"),
        ({"context": (1, 4, 4)}, "rise from 1"),
        ({"context": (1, 0)}, "rise from 1"),
        ({"store": "nnunet", "image_format": ImageFormat("jpeg")}, "no place for JPEG"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ExportSettings(**{"tile_size": 512, **settings})  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "x", "1,x", "1.5"])
def test_a_context_that_is_no_list_of_whole_numbers_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--context"):
        parse_context(text)


@pytest.mark.parametrize("text", ["gif", "jpeg:0", "jpeg:101", "jpeg:x", "png:3"])
def test_other_image_formats_and_stores_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--image-format"):
        ImageFormat.parse(text)
    with pytest.raises(ConfigError, match="--store"):
        ExportSettings(store=text)  # type: ignore[arg-type]


@pytest.mark.parametrize("store", ["files", "shards"])
def test_jpeg_pixels_are_near_and_masks_exact(
    made_study: Path, tmp_path: Path, store: StoreKind, stores: dict[StoreKind, TileSet]
) -> None:
    _, tiles = export(made_study, tmp_path / "out", entries=ONE, store=store, image_format=ImageFormat.parse("jpeg:90"))
    assert tiles.tiles
    for a, b in zip(tiles.tiles, stores["files"].tiles, strict=False):
        assert np.array_equal(tiles.read_mask(a), stores["files"].read_mask(b))
        difference = tiles.read_image(a).astype(int) - stores["files"].read_image(b)
        assert 0 < np.sqrt((difference**2).mean()) < 12
    assert tiles.tiles[0].image.endswith(".jpg")


def test_glass_is_never_decoded(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[tuple[int, int]] = []
    read = Slide.read

    def counted(self: Slide, tile: object) -> object:
        decoded.append((tile.col, tile.row))  # type: ignore[attr-defined]
        return read(self, tile)  # type: ignore[arg-type]

    monkeypatch.setattr(Slide, "read", counted)
    report, _ = export(study, tmp_path / "otsu", entries=ONE, tissue=TissueRule.parse("otsu"))
    assert len(decoded) == report.tiles_kept < sum(s.tiles_in_grid for s in report.slides)
    assert all(s.unread == s.dropped["glass"] for s in report.slides)
    decoded.clear()
    everything, tiles = export(study, tmp_path / "std", entries=ONE, tissue=TissueRule.parse("std:12.5"))
    assert len(decoded) == sum(s.tiles_in_grid - s.unread for s in everything.slides)
    assert sum(s.unread for s in everything.slides) > 0
    decoded.clear()
    export(study, tmp_path / "none", entries=ONE, tissue=TissueRule.parse("otsu"), store="none")
    assert decoded == []
    with Image.open(tmp_path / "std" / everything.slides[0].tissue_picture) as picture:
        assert max(picture.size) == 1024
    assert all(tile.std >= 12.5 for tile in tiles.tiles)


def test_no_tile_that_std_keeps_is_taken_for_glass_unread(composed: Path, tmp_path: Path) -> None:
    inputs = slide_inputs([composed / "qupath-0.5.1/project.qpproj"])
    with_thumbnail = ExportSettings(tile_size=512, mpp=1.0, labels=read_label_map(composed / "labels.toml"))
    everything = replace(with_thumbnail, tissue=TissueRule.parse("none"))
    export_tiles(inputs, tmp_path / "std", with_thumbnail)
    export_tiles(inputs, tmp_path / "none", everything)
    kept = {tile.key for tile in read_tile_set(tmp_path / "std").tiles}
    assert kept == {tile.key for tile in read_tile_set(tmp_path / "none").tiles if tile.std >= 12.5}


def test_the_users_mask_or_class_says_where_tissue_is(study: Path, tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    for letter in "ABCD":
        half = np.zeros((64, 88), np.uint8)
        half[:, 44:] = 1 if letter == "A" else 0
        half[:32] |= 1 if letter == "B" else 0
        Image.fromarray(half).save(masks / f"patient_{letter}.png")
    report, tiles = export(study, tmp_path / "mask", tissue=TissueRule.parse(f"mask:{masks}"))
    assert {s.name: round(s.tissue_fraction, 2) for s in report.slides} == {
        "patient_A.tif": 0.5, "patient_B.tif": 0.5, "patient_C.tif": 0.0, "patient_D.tif": 0.0,
    }  # fmt: skip
    assert all(tile.x + tile.width > 1408 for tile in tiles.tiles if tile.slide == "patient_A.tif")
    assert all(tile.y < 1024 for tile in tiles.tiles if tile.slide == "patient_B.tif")
    by_class, tiles = export(study, tmp_path / "class", tissue=TissueRule.parse("class:Tumor"))
    assert [c.name for c in tiles.labels.classes] == ["Immune cells"]
    assert 0 < by_class.tiles_kept < report.tiles_kept
    assert all("Tumor" not in s.audit.drawn for s in by_class.slides)


def test_a_missing_or_misshapen_tissue_mask_is_named(study: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no mask for slide 'patient_A\.tif'"):
        export(study, tmp_path / "out", tissue=TissueRule.parse(f"mask:{tmp_path}"))
    for letter in "ABCD":
        Image.fromarray(np.ones((50, 50), np.uint8)).save(tmp_path / f"patient_{letter}.tif.png")
    with pytest.raises(ConfigError, match="50 x 50 px has not the shape"):
        export(study, tmp_path / "out", tissue=TissueRule.parse(f"mask:{tmp_path}"))
    (tmp_path / "patient_A.tif.png").write_bytes(b"no picture")
    with pytest.raises(ConfigError, match="cannot be read"):
        export(study, tmp_path / "out", tissue=TissueRule.parse(f"mask:{tmp_path}"))
    assert not list(tmp_path.glob("out*"))


def test_tiles_of_pen_marks_alone_are_dropped_by_the_thumbnail(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = np.full((1024, 1536, 3), 240, np.uint8)
    pixels[:512, :512] = np.array([200, 130, 180]) + rng.integers(-40, 40, (512, 512, 1))
    pixels[600:700, 600:1000] = (20, 160, 60)
    pixels[:, 1500:] = 0
    tifffile.imwrite(tmp_path / "pen.tif", pixels, tile=(256, 256))
    box = Annotation(geometry=shapely.box(0, 0, 90, 90), path_class=PathClass(("Tumor",)))
    write_geojson(tmp_path / "a.geojson", [box])
    inputs = slide_inputs([tmp_path / "pen.tif"], annotations=tmp_path / "a.geojson")
    settings = ExportSettings(downsample=1, tile_size=512, tissue=TissueRule.parse("otsu"))
    report = export_tiles(inputs, tmp_path / "out", settings)
    assert [(t.col, t.row) for t in read_tile_set(tmp_path / "out").tiles] == [(0, 0)]
    (slide,) = report.slides
    assert slide.pen_fraction == pytest.approx(40_000 / (1024 * 1536), abs=1e-3)
    assert slide.dark_fraction == pytest.approx(36 / 1536, abs=1e-3)
