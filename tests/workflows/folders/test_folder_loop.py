"""A folder of images and masks through the loop: import, look at, train, evaluate."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_folders import blocks, image_of, put, write_pairs

import qpkit
from command_line import run
from qpkit.core.labels import LabelClass, LabelMap
from qpkit.core.tiles import Tile
from qpkit.dataset import read_tile_set
from qpkit.errors import ConfigError, LabelError, OutputError
from qpkit.ops.masks.rasterize import Painting
from qpkit.workflows.folders.plan import plan_import
from qpkit.workflows.folders.settings import FolderSettings
from qpkit.workflows.folders.truth import folder_truth, mask_areas

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

SET = (
    "data.batch_size=2", "data.workers=0", "data.crop_px=32", "model.encoder_depth=3", "model.encoder_weights=none",
    "model.options.decoder_channels=[64,32,16]", "optim.epochs=1", "optim.steps_per_epoch=2", "precision=32-true",
)  # fmt: skip


def words(*pairs: object) -> list[object]:
    return [word for pair in pairs for word in ("--set", pair)]


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 999), numbered=st.booleans())
def test_the_areas_of_a_mask_drawn_again_are_the_mask(
    tmp_path_factory: pytest.TempPathFactory, seed: int, numbered: bool
) -> None:
    folder = tmp_path_factory.mktemp("areas")
    mask = blocks((0, 1, 2, 3), seed=seed)
    put(folder / "images/a.png", image_of(mask))
    put(folder / "masks/a.png", mask.astype(np.uint8))
    said = {"instances": "Nucleus"} if numbered else {"classes": ("A=1", "B=2", "ignore=3")}
    plan = plan_import(folder, FolderSettings.of(**said))
    truth = folder_truth(folder, FolderSettings.of(**said), labels=plan.labels, tiles=None)
    (item,) = truth.inputs
    height, width = mask.shape
    tile = Tile(col=0, row=0, x=0, y=0, width=width, height=height)
    painting = Painting(item.objects(), truth.labels, downsample=1, slide_size=(width, height))
    expected = (mask > 0).astype(np.uint8) if numbered else np.array([0, 1, 2, 255])[mask]
    assert np.array_equal(painting.draw(tile), expected)
    assert np.array_equal(painting.draw(tile, unannotated="background"), expected)
    if numbered:
        numbers, _ = painting.draw_instances(tile)
        pairs = set(zip(numbers.ravel().tolist(), mask.ravel().tolist(), strict=True))
        assert len(pairs) == 4  # each number of the mask is one object
    assert mask_areas(plan.pictures[0], plan.meaning)


def test_masks_with_a_class_that_the_run_does_not_have_are_refused(tmp_path: Path) -> None:
    write_pairs(tmp_path / "data")
    run_labels = LabelMap(classes=(LabelClass("Stroma", 1, ("Stroma",)), LabelClass("Tumor", 2, ("Tumor",))))
    with pytest.raises(LabelError, match="'foreground'"):
        folder_truth(tmp_path / "data", FolderSettings(), labels=run_labels, tiles=None)
    truth = folder_truth(tmp_path / "data", FolderSettings.of(classes=("Tumor",)), labels=run_labels, tiles=None)
    tile = Tile(col=0, row=0, x=0, y=0, width=20, height=20)
    drawn = Painting(truth.inputs[0].objects(), truth.labels, downsample=1).draw(tile)
    assert set(np.unique(drawn)) == {0, 2}  # by name, whatever the value is


def test_um_per_px_of_an_image_are_those_of_its_tiles_and_unknown_for_others(tmp_path: Path) -> None:
    write_pairs(tmp_path / "data", 3)
    qpkit.import_tiles(tmp_path / "data", tmp_path / "tiles", qpkit.FolderSettings.of(mpp=0.5, fractions="1:0:1"))
    tiles = read_tile_set(tmp_path / "tiles")
    put(tmp_path / "data/images/new.png", image_of(blocks((0, 255)), 50))
    put(tmp_path / "data/masks/new.png", blocks((0, 255)).astype(np.uint8))
    truth = folder_truth(tmp_path / "data", FolderSettings(), labels=tiles.labels, tiles=tiles)
    expected: dict[str, float | None] = {tile.slide: 0.5 for tile in tiles.of_split("test")}
    assert {item.source.name: item.info.mpp for item in truth.inputs} == {**expected, "new.png": None}
    assert any("um/px of 1 image(s) is unknown" in note for note in truth.notes)


def test_every_command_that_takes_tiles_takes_these(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pairs(tmp_path / "data", 6)
    assert run("import-tiles", tmp_path / "data", "-o", tmp_path / "tiles", "--classes", "Tumor", "--mpp", 0.5) == 0
    shown = capsys.readouterr()
    assert "paired: 6 image(s) in images, masks in masks" in shown.err
    assert "Tumor" in shown.out
    for command in (
        ("stats", tmp_path / "tiles", "--json"),
        ("preview", tmp_path / "tiles", "-o", tmp_path / "page.html"),
        ("split", tmp_path / "tiles", "-o", tmp_path / "other", "--fractions", "1:1:0"),
        ("info", tmp_path / "tiles"),
    ):
        assert run(*command) == 0, command
    assert "NaN" not in capsys.readouterr().out
    assert (tmp_path / "page.html").stat().st_size > 10_000
    assert {tile.split for tile in read_tile_set(tmp_path / "other").tiles} == {"train", "val"}


def test_the_command_line_makes_what_python_makes(tmp_path: Path) -> None:
    write_pairs(tmp_path / "data", 4)
    settings = qpkit.FolderSettings.of(classes=("Tumor",), mpp=0.5, tile_size=32, fractions="1:1:1")
    qpkit.import_tiles(tmp_path / "data", tmp_path / "a", settings)
    options = ("--classes", "Tumor", "--mpp", 0.5, "--tile-size", 32, "--fractions", "1:1:1")
    assert run("import-tiles", tmp_path / "data", "-o", tmp_path / "b", *options) == 0
    files = [
        sorted(p.relative_to(root) for p in root.rglob("*") if p.is_file()) for root in (tmp_path / "a", tmp_path / "b")
    ]
    assert files[0] == files[1]
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files[0])


def test_bad_input_is_one_line_and_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pairs(tmp_path / "data", 4)
    put(tmp_path / "data/masks/p1.png", np.full((9, 9), 255, np.uint8))
    assert run("import-tiles", tmp_path / "data", "-o", tmp_path / "tiles") == 1
    assert run("train", tmp_path / "data", "-o", tmp_path / "run") == 1
    assert run("import-tiles", tmp_path / "nothing", "-o", tmp_path / "tiles") == 1
    assert run("import-tiles", tmp_path / "data", "-o", tmp_path / "tiles", "--images", "images") == 1
    lines = capsys.readouterr().err.strip().split("\n")
    assert len(lines) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


@pytest.mark.slow
def test_a_folder_is_trained_on_and_judged_by_the_images_that_were_not_seen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch", reason="torch is not installed (extra: train)")
    masks = write_pairs(tmp_path / "data", 10)
    (tmp_path / "data/dataset.toml").write_text('classes = "Tumor"\n')
    made = tmp_path / "run"
    assert run("train", tmp_path / "data", "-o", made, "--recipe", "unet-resnet18", *words(*SET)) == 0
    tiles = read_tile_set(tmp_path / "run-tiles")
    assert json.loads((made / "run.json").read_text())["tiles"]["path"] == str(tiles.root)
    test = sorted({tile.slide for tile in tiles.of_split("test")})
    assert run("evaluate", made, tmp_path / "data", "-o", tmp_path / "judged") == 0
    said = capsys.readouterr().err
    assert f"{10 - len(test)} of 10 images left out" in said
    found = json.loads((tmp_path / "judged/evaluation.json").read_text())
    assert [slide["name"] for slide in found["slides"]] == test
    for slide in found["slides"]:
        expected = [(masks[slide["name"]] == value).sum() for value in (0, 255)]
        assert [sum(row) for row in slide["confusion"]] == expected

    for name in test:
        for part in ("images", "masks"):
            (tmp_path / "held" / part).mkdir(parents=True, exist_ok=True)
            (tmp_path / "data" / part / name).rename(tmp_path / "held" / part / name)
    with pytest.raises(ConfigError, match="was trained or chosen on all"):
        qpkit.evaluate(made, [tmp_path / "data"], out=tmp_path / "none")
    assert not (tmp_path / "none").exists()
    assert qpkit.evaluate(tmp_path / "judged-predictions", [tmp_path / "held"]).pooled.slides == tuple(test)
    for name in test:
        for part in ("images", "masks"):
            (tmp_path / "held" / part / name).rename(tmp_path / "data" / part / name)

    again = qpkit.train(tmp_path / "data", tmp_path / "second" / "run", "unet-resnet18", overrides=SET)
    assert again.steps == 2
    assert any("um/px" in note for note in again.notes)
    with pytest.raises(OutputError, match="holds a run already"):
        qpkit.train(tmp_path / "data", made)
    (tmp_path / "data/dataset.toml").write_text('classes = "Lesion"\n')
    shutil.rmtree(tmp_path / "second" / "run")
    with pytest.raises(OutputError, match="tiles of other images or settings"):
        qpkit.train(tmp_path / "data", tmp_path / "second" / "run", "unet-resnet18")
    (tmp_path / "data/dataset.toml").write_text('classes = "Tumor"\n')
    assert (tmp_path / "second/run-tiles/export.json").is_file()
    result = qpkit.evaluate(tmp_path / "judged-predictions", [tmp_path / "data"])
    assert result.pooled.confusion == found["pooled"]["confusion"]
    assert isinstance(tiles.labels, LabelMap)

    # another folder has other pixels under the same names, so nothing of it was seen
    for path in (tmp_path / "data").rglob("*.png"):
        new = tmp_path / "new" / path.relative_to(tmp_path / "data")
        pixels = image_of(masks[path.name], 77 + len(path.stem)) if "images" in path.parts else masks[path.name]
        put(new, pixels.astype(np.uint8))
    assert run("evaluate", made, tmp_path / "new", "-o", tmp_path / "judged2") == 0
    second = json.loads((tmp_path / "judged2/evaluation.json").read_text())
    assert len(second["slides"]) == 10 and second["names"] == ["background", "Tumor"]
