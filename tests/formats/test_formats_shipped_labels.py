"""Label maps that come with qpkit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from qpkit.cli import main
from qpkit.dataset import read_tile_set
from qpkit.errors import LabelError
from qpkit.formats.shared.label_table import read_label_table
from qpkit.formats.shipped_labels import labels_file, shipped_labels
from qpkit.workflows.inputs.label_maps import read_label_map


@pytest.mark.parametrize("name", shipped_labels())
def test_every_shipped_label_map_is_read_by_its_name(name: str) -> None:
    assert read_label_map(Path(name)) == read_label_table(Path(name))


def test_a_file_of_that_name_comes_first_and_a_wrong_name_is_refused_with_the_close_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LabelError, match="tiger-strom: no such file; did you mean 'tiger-stroma'"):
        labels_file(Path("tiger-strom"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiger-stroma").write_text('[[class]]\nname = "own"\nvalue = 4\n')
    assert read_label_map(Path("tiger-stroma")).classes[0].name == "own"


def run(*arguments: object) -> None:
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    assert end.value.code == 0


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_tiger_masks_become_stroma_against_the_rest_pixel_by_pixel(tmp_path: Path) -> None:
    """{2, 6} are 1, {1, 3, 4, 5, 7} are 0, 0 is ignored."""
    rng = np.random.default_rng(0)
    codes = np.zeros((256, 256), np.uint8)
    codes[32:224, 32:224] = rng.integers(1, 8, (6, 6)).repeat(32, axis=0).repeat(32, axis=1)
    assert set(np.unique(codes)) == set(range(8))
    Image.fromarray(codes).save(tmp_path / "mask.png")
    pixels = rng.integers(60, 200, (256, 256, 3), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "slide.tif", pixels, tile=(128, 128), photometric="rgb")
    run("convert", tmp_path / "mask.png", tmp_path / "mask.geojson", "--labels", "tiger-codes")
    run("export", tmp_path / "slide.tif", "--annotations", tmp_path / "mask.geojson", "--labels", "tiger-stroma",
        "-o", tmp_path / "tiles", "--slide-mpp", "0.5", "--mpp", "0.5", "--tile-size", "256",
        "--tissue", "none")  # fmt: skip
    tile_set = read_tile_set(tmp_path / "tiles")
    (tile,) = tile_set.tiles
    remap = np.array([255, 0, 1, 0, 0, 0, 1, 0], np.uint8)
    assert np.array_equal(tile_set.read_mask(tile), remap[codes])
    assert json.loads((tmp_path / "tiles" / "export.json").read_text())["labels"]["class"][0]["name"] == "stroma"
