from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from small_folders import blocks, image_of, put, together, write_pairs

import qpkit
from qpkit.dataset import TileSet, read_tile_set
from qpkit.errors import ConfigError, FormatError, LabelError, ProjectError, QpkitError
from qpkit.workflows.folders import cut
from qpkit.workflows.folders.mask_facts import read_mask
from qpkit.workflows.folders.report import FolderReport

RED, GREEN = (255, 0, 0), (0, 128, 255)


def tiles_of(folder: Path, **said: object) -> TileSet:
    """Import a folder beside itself, and open the tiles."""
    out = folder.with_name(f"{folder.name}-tiles")
    qpkit.import_tiles(folder, out, qpkit.FolderSettings.of(**{"tile_size": 32, **said}), overwrite=True)
    return read_tile_set(out)


def assert_exact(tiles: TileSet, slide: str, expected: np.ndarray) -> None:
    """The masks of all tiles together are the expected label values, and ignore beside the image."""
    whole = together(tiles, slide)
    height, width = expected.shape
    assert np.array_equal(whole[:height, :width], expected)
    beside = np.ones(whole.shape, bool)
    beside[:height, :width] = False
    assert (whole[beside] == tiles.labels.ignore).all()


@settings(max_examples=15, deadline=None)
@given(
    width=st.integers(3, 90), height=st.integers(3, 90), size=st.integers(8, 48), overlap=st.integers(0, 7),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_cutting_changes_no_pixel_of_image_and_mask(
    tmp_path_factory: pytest.TempPathFactory, width: int, height: int, size: int, overlap: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("cut") / "data"
    mask = (
        blocks((0, 1, 2), width=width, height=height, seed=seed) if width * height > 100 else np.ones((height, width))
    )
    pixels = image_of(mask, seed)
    put(folder / "images/a.png", pixels)
    put(folder / "masks/a.png", mask.astype(np.uint8))
    classes = ("One=1", "Two=2")
    tiles = tiles_of(folder, classes=classes, tile_size=size, overlap=overlap)
    assert tiles.tile_size == size
    assert_exact(tiles, "a.png", mask)
    assert np.array_equal(together(tiles, "a.png", "image")[:height, :width], pixels)
    for tile in tiles.tiles:
        values, counts = np.unique(tiles.read_mask(tile), return_counts=True)
        assert tile.pixels == dict(zip(values.tolist(), counts.tolist(), strict=True))


def test_masks_of_0_and_255_are_background_and_one_class_and_that_is_said(tmp_path: Path) -> None:
    masks = write_pairs(tmp_path / "data")
    report = qpkit.import_tiles(tmp_path / "data", tmp_path / "tiles")
    tiles = read_tile_set(tmp_path / "tiles")
    assert any("assumed" in note and "255 'foreground'" in note for note in report.notes)
    assert [(item.name, item.value) for item in tiles.labels.classes] == [("foreground", 1)]
    for name, mask in masks.items():
        assert_exact(tiles, name, mask // 255)


def test_one_name_names_the_one_class(tmp_path: Path) -> None:
    masks = write_pairs(tmp_path / "data", values=(0, 7, 9))
    with pytest.raises(ConfigError, match="2 values"):
        tiles_of(tmp_path / "data", classes=("Tumor",))
    tiles = tiles_of(tmp_path / "data", classes=("Tumor", "ignore=9"))
    assert [item.name for item in tiles.labels.classes] == ["Tumor"]
    assert_exact(tiles, "p0.png", np.select([masks["p0.png"] == 7, masks["p0.png"] == 9], [1, 255], 0))


def test_several_values_may_be_one_class_and_0_may_be_unknown(tmp_path: Path) -> None:
    masks = write_pairs(tmp_path / "data", values=(0, 1, 2, 19, 21))
    tiles = tiles_of(tmp_path / "data", classes=("Tumor=1,19", "Stroma=2", "ignore=0", "background=21"))
    table = np.zeros(256, np.uint8)
    table[[0, 1, 2, 19, 21]] = 255, 1, 2, 1, 0
    for name, mask in masks.items():
        assert_exact(tiles, name, table[mask])
    assert tiles.labels.ignored == ("Ignore*",)


def test_values_without_names_become_classes_of_their_numbers(tmp_path: Path) -> None:
    masks = write_pairs(tmp_path / "data", values=(0, 3, 5))
    tiles = tiles_of(tmp_path / "data")
    assert [(item.name, item.value) for item in tiles.labels.classes] == [("3", 1), ("5", 2)]
    assert_exact(tiles, "p1.png", np.searchsorted([0, 3, 5], masks["p1.png"]))


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_colours_are_told_apart_exactly(tmp_path: Path, ending: str) -> None:
    labels = blocks((0, 1, 2))
    colors = np.array([(0, 0, 0), RED, GREEN], np.uint8)
    put(tmp_path / "data/images/a.png", image_of(labels))
    put(tmp_path / f"data/masks/a.{ending}", colors[labels])
    stated = tiles_of(tmp_path / "data", classes=("Gland=#0080ff", "Lumen=#ff0000"))
    assert_exact(stated, "a.png", np.array([0, 2, 1])[labels])
    assumed = tiles_of(tmp_path / "data")
    assert [item.name for item in assumed.labels.classes] == ["#0080ff", "#ff0000"]
    assert_exact(assumed, "a.png", np.array([0, 2, 1])[labels])
    with pytest.raises(ConfigError, match="NAME=#"):
        tiles_of(tmp_path / "data", classes=("Gland=1",))


def test_grey_masks_saved_as_rgb_are_read_by_their_grey_level(tmp_path: Path) -> None:
    labels = blocks((0, 1, 2))
    put(tmp_path / "data/images/a.png", image_of(labels))
    put(tmp_path / "data/masks/a.png", np.stack([labels.astype(np.uint8)] * 3, axis=-1))
    assert_exact(tiles_of(tmp_path / "data", classes=("A=2", "B=1")), "a.png", np.array([0, 2, 1])[labels])


def test_palettes_are_read_by_number_unless_they_contradict_each_other(tmp_path: Path) -> None:
    labels = blocks((0, 1, 2))
    for name, palette in (("a", {1: RED, 2: GREEN}), ("b", {1: RED, 2: GREEN})):
        put(tmp_path / f"data/{name}.png", image_of(labels, ord(name)))
        put(tmp_path / f"data/{name}_mask.png", labels.astype(np.uint8), palette)
    tiles = tiles_of(tmp_path / "data")
    assert [item.name for item in tiles.labels.classes] == ["1", "2"]
    put(tmp_path / "data/b_mask.png", labels.astype(np.uint8), {1: GREEN, 2: RED})
    with pytest.raises(ConfigError, match="palettes differ"):
        tiles_of(tmp_path / "data", classes=("A=1", "B=2"))
    by_color = tiles_of(tmp_path / "data", classes=("Red=#ff0000", "Blue=#0080ff"))
    assert_exact(by_color, "a.png", labels)
    assert_exact(by_color, "b.png", np.array([0, 2, 1])[labels])


def test_bilevel_masks_have_0_and_1(tmp_path: Path) -> None:
    labels = blocks((0, 1))
    put(tmp_path / "data/images/a.png", image_of(labels))
    (tmp_path / "data/masks").mkdir()
    Image.fromarray(labels.astype(bool)).save(tmp_path / "data/masks/a.png")
    assert_exact(tiles_of(tmp_path / "data", classes=("Tumor",)), "a.png", labels)


def test_a_labels_toml_keeps_its_values_and_a_table_may_be_told_what_is_unknown(tmp_path: Path) -> None:
    masks = write_pairs(tmp_path / "data", values=(0, 3, 255))
    toml = tmp_path / "labels.toml"
    toml.write_text('ignore = 255\n[[class]]\nname = "Tumor"\nvalue = 3\n')
    tiles = tiles_of(tmp_path / "data", classes=(str(toml),))
    assert_exact(tiles, "p0.png", masks["p0.png"])
    table = tmp_path / "codes.csv"
    table.write_text("label,GT_code\noutside,0\ntumor,3\nother,255\n")
    tiles = tiles_of(tmp_path / "data", classes=(str(table), "ignore=0"))
    assert tiles.labels.ignore == 254
    assert_exact(tiles, "p0.png", np.where(masks["p0.png"] == 0, 254, masks["p0.png"]))
    toml.write_text('masks = "multi-label"\n[[class]]\nname = "Tumor"\nvalue = 3\n')
    with pytest.raises(LabelError, match="name and value"):
        tiles_of(tmp_path / "data", classes=(str(toml),))


def test_numbers_of_objects_are_kept_with_their_classes(tmp_path: Path) -> None:
    numbers = blocks((0, 1, 2, 300, 70_000))
    put(tmp_path / "data/images/a.png", image_of(numbers))
    put(tmp_path / "data/labels/a.tif", numbers.astype(np.uint32))
    table = tmp_path / "classes.csv"
    table.write_text("number,class\n1,Lymphocyte\n2,Epithelium\n300,Epithelium\n70000,Lymphocyte\n")
    tiles = tiles_of(tmp_path / "data", instances=str(table))
    assert [item.name for item in tiles.labels.classes] == ["Epithelium", "Lymphocyte"]
    classes = np.select([np.isin(numbers, (2, 300)), np.isin(numbers, (1, 70_000))], [1, 2], 0)
    assert_exact(tiles, "a.png", classes)
    whole = together(tiles, "a.png", "instances")
    assert np.array_equal(whole[: numbers.shape[0], : numbers.shape[1]], numbers)
    assert whole.sum() == numbers.sum()
    rows = list(csv.DictReader((tiles.root / "instances/a.png.csv").read_text().splitlines()))
    assert [(row["number"], row["class"]) for row in rows] == [
        ("1", "Lymphocyte"), ("2", "Epithelium"), ("300", "Epithelium"), ("70000", "Lymphocyte"),
    ]  # fmt: skip
    table.write_text("number,class\n1,Lymphocyte\n")
    with pytest.raises(LabelError, match="no class for 3 number"):
        tiles_of(tmp_path / "data", instances=str(table))


def test_the_same_folder_makes_the_same_bytes(tmp_path: Path) -> None:
    write_pairs(tmp_path / "data")
    (tmp_path / "data/dataset.toml").write_text('classes = ["Tumor"]\ntile_size = 32\n')
    found = []
    for _ in range(2):
        qpkit.import_tiles(tmp_path / "data", tmp_path / "data/tiles", overwrite=True)  # inside, and not read again
        files = sorted(path for path in (tmp_path / "data/tiles").rglob("*") if path.is_file())
        found.append({path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files})
    assert found[0] == found[1]
    assert len(found[0]) > 10


def test_shards_hold_the_same_tiles(tmp_path: Path) -> None:
    write_pairs(tmp_path / "data")
    files = tiles_of(tmp_path / "data")
    expected = {tile.key: files.read_mask(tile) for tile in files.tiles}
    shards = tiles_of(tmp_path / "data", store="shards")
    assert all(np.array_equal(shards.read_mask(tile), expected[tile.key]) for tile in shards.tiles)


def test_images_without_masks_are_refused_skipped_or_unknown(tmp_path: Path) -> None:
    write_pairs(tmp_path / "data")
    put(tmp_path / "data/images/extra.png", image_of(blocks((0, 1)), 99))
    put(tmp_path / "data/masks/lonely.png", np.zeros((5, 5), np.uint8))
    with pytest.raises(ProjectError, match=r"1 image\(s\) without a mask \(extra.png\)"):
        tiles_of(tmp_path / "data")

    def notes(**said: object) -> tuple[str, ...]:
        report: FolderReport = qpkit.import_tiles(
            tmp_path / "data", tmp_path / "out", qpkit.FolderSettings.of(**said), overwrite=True
        )
        return report.notes

    assert any("left out: extra.png" in note for note in notes(without_mask="skip"))
    said = notes(without_mask="unlabelled")
    assert any("extra.png" in note and "unknown" in note for note in said)
    assert any("1 mask(s) without an image left out: lonely.png" in note for note in said)
    tiles = read_tile_set(tmp_path / "out")
    assert {tuple(t.pixels) for t in tiles.tiles if t.slide == "extra.png"} == {(255,)}


def test_um_per_px_are_stated_found_or_unknown(tmp_path: Path) -> None:
    write_pairs(tmp_path / "data")
    assert np.isnan(tiles_of(tmp_path / "data").mpp)
    stated = tiles_of(tmp_path / "data", mpp=0.25)
    assert stated.mpp == 0.25
    assert {tile.downsample for tile in stated.tiles} == {1.0}


def test_of_several_pages_the_first_is_used_and_that_is_said(tmp_path: Path) -> None:
    write_pairs(tmp_path / "data")
    one = tmp_path / "data/images/p1.png"
    pixels = np.asarray(Image.open(one))
    tifffile.imwrite(one.with_suffix(".tif"), np.stack([pixels, 255 - pixels]), photometric="rgb")
    one.unlink()
    report = qpkit.import_tiles(tmp_path / "data", tmp_path / "tiles")
    assert any("several pages, of which the first is used: p1.tif (2)" in note for note in report.notes)
    tiles = read_tile_set(tmp_path / "tiles")
    (tile, *_) = [tile for tile in tiles.tiles if tile.slide == "p1.tif"]
    assert np.array_equal(tiles.read_image(tile)[:50, :71], pixels)


def test_small_images_make_small_tiles(tmp_path: Path) -> None:
    write_pairs(tmp_path / "data")
    report = qpkit.import_tiles(tmp_path / "data", tmp_path / "tiles")
    assert report.tile_size == 96  # the widest image has 73 px
    assert any("beside the images" in note for note in report.notes)


BAD = {
    "sizes": (FormatError, "masks/p1.png: is 30 x 20 px, its image p1.png 71 x 50"),
    "value": (FormatError, "px of value 9"),
    "jpeg": (FormatError, "JPEG changes the values"),
    "smooth": (FormatError, "smoothed"),
    "many": (ConfigError, "--instances CLASS"),
    "255": (ConfigError, "value 255 beside 1: a class, or unknown? Say --classes NAME=1, and --classes ignore=255"),
    "empty": (ConfigError, "not background"),
    "twice": (FormatError, "both the image"),
    "unpaired": (ProjectError, "--images"),
    "damaged": (FormatError, "p1.png"),
    "float": (FormatError, "one number a pixel"),
    "copied": (ConfigError, "identical"),
    "column": (ConfigError, "--group-column"),
    "pattern": (ConfigError, "does not fit"),
    "toml": (ConfigError, "'tile-size'"),
    "classes of a number": (ConfigError, "dataset.toml: classes is a table"),
    "classes of tables": (ConfigError, "dataset.toml: classes is a table"),
    "partly": (ConfigError, "no train, val or test"),
}


def spoil(folder: Path, kind: str) -> dict[str, object]:
    """Make a folder bad in one way; gives the settings that show it."""
    one, mask = folder / "images/p1.png", folder / "masks/p1.png"
    rng = np.random.default_rng(0)
    if kind == "sizes":
        put(mask, np.full((20, 30), 255, np.uint8))
    elif kind == "value":
        put(mask, blocks((0, 255, 9), width=71).astype(np.uint8))
        return {"classes": ("Tumor=255",)}
    elif kind == "jpeg":
        mask.unlink()
        put(mask.with_suffix(".jpg"), np.zeros((50, 71), np.uint8))
    elif kind == "smooth":
        put(mask, rng.integers(0, 255, (50, 71, 3), dtype=np.uint8))
    elif kind == "many":
        put(mask, blocks(tuple(range(40)), width=71).astype(np.uint8))
    elif kind == "255":
        put(mask, blocks((0, 1, 255), width=71).astype(np.uint8))
    elif kind == "empty":
        for path in (folder / "masks").iterdir():
            put(path, np.zeros_like(np.asarray(Image.open(path))))
    elif kind == "twice":
        put(one.with_suffix(".tif"), np.zeros((50, 71, 3), np.uint8))
    elif kind == "unpaired":
        for path in (folder / "masks").iterdir():
            path.rename(path.with_name(f"other{path.name}"))
    elif kind == "damaged":
        mask.write_bytes(mask.read_bytes()[:60])
    elif kind == "float":
        mask.unlink()
        put(mask.with_suffix(".tif"), np.zeros((50, 71), np.float32))
    elif kind in ("copied", "partly"):
        for number, split in enumerate(("train", "train", "val", "test")):
            for part in ("images", "masks"):
                place = split if kind == "copied" or number else "more"
                (folder / place / part).mkdir(parents=True, exist_ok=True)
                (folder / part / f"p{number}.png").rename(folder / place / part / f"p{number}.png")
        if kind == "copied":
            Image.open(folder / "train/images/p0.png").save(folder / "test/images/twin.tif")
            (folder / "test/masks/twin.png").write_bytes((folder / "train/masks/p0.png").read_bytes())
    elif kind == "column":
        (folder / "groups.csv").write_text("file,place\np0,a\np1,a\np2,b\np3,b\n")
        return {"groups": str(folder / "groups.csv")}
    elif kind == "pattern":
        return {"group_pattern": r"^(\d+)"}
    elif kind == "toml":
        (folder / "dataset.toml").write_text("tile-size = 3\n")
    elif kind == "classes of a number":
        (folder / "dataset.toml").write_text("classes = 3\n")
    elif kind == "classes of tables":
        (folder / "dataset.toml").write_text('[[classes]]\nname = "Tumor"\nvalue = 1\n')
    return {}


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_work_is_one_line_and_leaves_nothing(tmp_path: Path, kind: str) -> None:
    write_pairs(tmp_path / "data")
    said = spoil(tmp_path / "data", kind)
    before = sorted(tmp_path.iterdir())
    error, words = BAD[kind]
    with pytest.raises(error) as caught:
        qpkit.import_tiles(tmp_path / "data", tmp_path / "tiles", qpkit.FolderSettings.of(**said))
    text = str(caught.value).replace(f"{tmp_path}/", "")
    assert words in text
    assert "\n" not in text and len(text) < 200
    assert isinstance(caught.value, QpkitError)
    assert sorted(tmp_path.iterdir()) == before


def test_identical_images_in_two_splits_can_be_allowed_and_drawn_ones_stay_together(tmp_path: Path) -> None:
    write_pairs(tmp_path / "data")
    spoil(tmp_path / "data", "copied")
    stated = tiles_of(tmp_path / "data", allow=["image"])
    assert {tile.split for tile in stated.tiles} == {"train", "val", "test"}
    for seed in range(5):
        drawn = tiles_of(tmp_path / "data", split="group", seed=seed)
        assert len({tile.split for tile in drawn.tiles if tile.slide in ("p0.png", "twin.tif")}) == 1


def test_values_that_no_class_explains_may_be_ignored_by_name(tmp_path: Path) -> None:
    write_pairs(tmp_path / "data")
    mask = blocks((0, 255, 9), width=71)
    put(tmp_path / "data/masks/p1.png", mask.astype(np.uint8))
    settings = qpkit.FolderSettings.of(classes=("Tumor=255",), unlisted="ignore", tile_size=32)
    report = qpkit.import_tiles(tmp_path / "data", tmp_path / "tiles", settings)
    assert any(f"9 ({(mask == 9).sum():,} px)" in note for note in report.notes)
    expected = np.select([mask == 255, mask == 9], [1, 255], 0)
    assert_exact(read_tile_set(tmp_path / "tiles"), "p1.png", expected)


def test_what_fails_while_tiles_are_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pairs(tmp_path / "data")
    seen = []

    def broken(path: Path) -> object:
        seen.append(path)
        if len(seen) > 2:
            raise FormatError(f"{path}: is gone")
        return read_mask(path)

    monkeypatch.setattr(cut, "read_mask", broken)
    with pytest.raises(FormatError, match="is gone"):
        qpkit.import_tiles(tmp_path / "data", tmp_path / "tiles")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize("kind", ["grey", "alpha", "name", "tiny", "upper"])
def test_odd_images_are_read(tmp_path: Path, kind: str) -> None:
    mask = blocks((0, 255), width=1 if kind == "tiny" else 70, height=1 if kind == "tiny" else 50)
    mask[0, 0] = 255
    name = {"name": "a b [x=0,y=1] \u00fc.v2", "upper": "A"}.get(kind, "a")
    pixels = image_of(mask)
    shown = {"grey": pixels[..., 0], "alpha": np.dstack([pixels, np.full_like(pixels[..., 0], 255)])}.get(kind, pixels)
    put(tmp_path / f"data/images/{name}.{'PNG' if kind == 'upper' else 'png'}", shown)
    put(tmp_path / f"data/masks/{name}.png", mask.astype(np.uint8))
    tiles = tiles_of(tmp_path / "data", classes=("Tumor",))
    (slide,) = {tile.slide for tile in tiles.tiles}
    assert_exact(tiles, slide, mask // 255)
    found = together(tiles, slide, "image")[: mask.shape[0], : mask.shape[1]]
    assert np.array_equal(found, np.dstack([pixels[..., 0]] * 3) if kind == "grey" else pixels)


def test_images_of_16_bits_are_refused(tmp_path: Path) -> None:
    write_pairs(tmp_path / "data")
    (tmp_path / "data/images/p1.png").unlink()
    put(tmp_path / "data/images/p1.tif", np.zeros((50, 71, 3), np.uint16))
    with pytest.raises(FormatError, match=r"p1.tif") as caught:
        tiles_of(tmp_path / "data")
    assert len(str(caught.value).replace(f"{tmp_path}/", "")) < 200


PAIRS = {
    "bcss-breast-tumor": ({"classes": ("Tumor",), "mpp": 0.25}, "masks/{}.png", 62),
    "aidpath-glomeruli": ({"classes": ("Glomerulus=#ff0000",)}, "masks/{}.png", 64),
    "dsb2018-he": ({"instances": "Nucleus"}, "labels/{}.png", 71),
}
"""Settings, where the mask of an image lies, and tiles."""


@pytest.mark.slow
@pytest.mark.parametrize("name", PAIRS)
def test_real_folders_are_exact(shared: Path, tmp_path: Path, name: str) -> None:
    said, mask, count = PAIRS[name]
    report = qpkit.import_tiles(shared / "data/pairs" / name, tmp_path / "tiles", qpkit.FolderSettings.of(**said))
    tiles = read_tile_set(tmp_path / "tiles")
    assert len(tiles.tiles) == report.tiles_written == count
    if name == "dsb2018-he":
        assert sum(item.objects for item in report.pictures) == 3293  # as its source counts them
    for item in report.pictures:
        truth = np.asarray(Image.open(shared / "data/pairs" / name / mask.format(Path(item.name).stem)))
        assert_exact(tiles, item.name, (truth if truth.ndim == 2 else truth[..., 0]) > 0)


@pytest.mark.slow
def test_a_real_mask_with_its_table_of_codes_is_exact(shared: Path, tmp_path: Path) -> None:
    source = shared / "data/pairs/histomicstk-breast-mask"
    (mask,) = source.glob("*.png")
    with pytest.raises(ProjectError, match=r"1 image\(s\) and 0 mask"):
        qpkit.import_tiles(source, tmp_path / "tiles")
    values = np.asarray(Image.open(mask))[1000:2500, 500:2500]
    put(tmp_path / "data/images/a.png", np.full((*values.shape, 3), 220, np.uint8))
    put(tmp_path / "data/masks/a.png", values)
    tiles = tiles_of(tmp_path / "data", classes=(str(source / "sample_GTcodes.csv"), "ignore=0"), tile_size=512)
    assert {"mostly_tumor", "mostly_stroma"} <= {item.name for item in tiles.labels.classes}
    assert_exact(tiles, "a.png", np.where(values == 0, tiles.labels.ignore, values))
