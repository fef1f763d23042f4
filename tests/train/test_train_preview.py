"""The page of augmented tiles: it shows what training sees, for a recipe and for a run."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_tiles import LABELS, TINY, MakeTiles, tiny_recipe

from browser import opened
from command_line import run
from qpkit.dataset import read_tile_set
from qpkit.report.values.tiles import Pair
from qpkit_train import loop
from qpkit_train.augment.augmenter import Augmenter
from qpkit_train.augment.transforms import settings_shown
from qpkit_train.data.batches import class_index_table, mask_values
from qpkit_train.data.training_tiles import training_tiles_of
from qpkit_train.machine.devices import pick_device
from qpkit_train.preview import augmented_batches
from qpkit_train.recipe.settings import AugmentConfig
from qpkit_train.run_folder.records import write_run_file
from qpkit_train.run_folder.start import run_file


def same(one: Pair, other: Pair) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_first_version_is_what_the_first_steps_of_a_training_see(
    make_tiles: MakeTiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny_recipe("optim.epochs=1", "data.crop_px=32", "augment.rotate=30", "augment.noise=0.1")
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    class Watched(Augmenter):
        def __call__(
            self, images: torch.Tensor, targets: torch.Tensor, **place: int
        ) -> tuple[torch.Tensor, torch.Tensor]:
            seen.append(super().__call__(images, targets, **place))
            return seen[-1]

    monkeypatch.setattr(loop, "Augmenter", Watched)
    tiles = make_tiles()
    loop.fit(tiles, tmp_path / "run", recipe)
    shown = augmented_batches(tiles, recipe, count=7, versions=2)
    assert (len(shown.tiles), shown.batches) == (7, 2)
    pixels = (torch.cat([images for images, _ in seen])[:7].movedim(1, -1) * 255).round().to(torch.uint8).numpy()
    masks = mask_values(torch.cat([targets for _, targets in seen])[:7].numpy(), LABELS)
    for item, image, mask in zip(shown.tiles, pixels, masks, strict=True):
        assert same(item.versions[0], (image, mask))
        assert not same(item.versions[1], item.versions[0])


def test_without_changes_every_version_is_the_tile(make_tiles: MakeTiles) -> None:
    off = [f"augment.{name}=0" for name in ("hflip", "vflip", "brightness", "contrast", "saturation", "hue")]
    shown = augmented_batches(make_tiles(), tiny_recipe(*off, "augment.rot90=false"), count=5, versions=3)
    assert shown.settings == () and shown.lost == 0 and shown.unknown[0] == shown.unknown[1]
    assert all(same(item.drawn, version) for item in shown.tiles for version in item.versions)


def test_crops_that_lost_their_class_and_unknown_pixels_are_counted(make_tiles: MakeTiles) -> None:
    recipe = tiny_recipe("augment.shift=0.5", "augment.affine_p=1", "data.crop_px=32", "sampler.ratio=[1,0]")
    shown = augmented_batches(make_tiles(train={1: 4}), recipe, count=4, versions=10)
    lost = sum(not (mask == 1).any() for item in shown.tiles for _, mask in item.versions)
    assert 0 < shown.lost == lost
    masks = [mask for item in shown.tiles for _, mask in item.versions]
    assert shown.unknown == (0.0, pytest.approx(np.mean(np.stack(masks) == 255)))
    assert {item.drawn_for for item in shown.tiles} == {"positive"}


def test_every_setting_of_augment_is_said_to_be_on_or_off() -> None:
    whole = AugmentConfig(
        rotate=1, scale=1, shear=1, shift=0.1, grid=0.1, elastic_px=1, stain=1, nuclei=1, gamma=1, clahe=2, blur_px=1,
        noise=1, style=1, pca=1, motion_px=1, glass_px=1, emboss=1, optical=0.1,
    )  # fmt: skip
    on, off = settings_shown(whole)
    how = {"elastic_cell_px", "nuclei_range", "style_way", "style_from"}
    extra = {name for name in AugmentConfig.__struct_fields__ if name.endswith("_p") or name in how}
    assert {name for name, *_ in on} | extra == set(AugmentConfig.__struct_fields__) and off == ()
    assert all("{" not in meaning for _, meaning, _ in on)
    assert "rotate" in settings_shown(AugmentConfig(rotate=20, affine_p=0))[1]


def test_values_become_class_indices_and_back() -> None:
    values = np.array([0, 1, 3, 255], np.uint8)
    assert mask_values(class_index_table(LABELS)[values], LABELS).tolist() == values.tolist()


def test_a_recipe_a_file_and_a_run_give_the_same_page_in_a_browser(
    make_tiles: MakeTiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiles = make_tiles()
    chosen = [part for text in (*TINY, "augment.rotate=20") for part in ("--set", text)]
    file = tmp_path / "unet-resnet18.toml"
    file.write_text('name = "unet-resnet18"\n[augment]\nrotate = 20\n[data]\nbatch_size = 4\n')
    recipe = tiny_recipe("augment.rotate=20")
    tile_set = read_tile_set(tiles)
    (tmp_path / "run").mkdir()
    write_run_file(tmp_path / "run", run_file(tile_set, recipe, training_tiles_of(tile_set, recipe), pick_device()))
    sources = {"a": ["unet-resnet18", *chosen], "b": [file], "c": [tmp_path / "run"]}
    for name, (source, *options) in sources.items():
        page = tmp_path / f"{name}.html"
        assert run("preview", source, tiles, "-o", page, "--count", 6, "--versions", 3, *options) == 0
    texts = [(tmp_path / f"{name}.html").read_text() for name in sources]
    assert texts[0] == texts[2]
    pictures = [re.findall(r'<img src="([^"]+)"', text) for text in texts]
    assert len(pictures[0]) == 24 and pictures[0] == pictures[1]
    assert "turned by up to ± 20 degrees" in texts[0] and "drawn for positive" in texts[0]
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", texts[0])
    assert (
        run("preview", tmp_path / "run", tiles, "-o", tmp_path / "d.html", "--set", "augment.rotate=0", "--count", 90)
        == 0
    )
    assert "turned by up to ± 20 degrees" not in (tmp_path / "d.html").read_text()
    assert "note: an epoch shows" in capsys.readouterr().err
    found = opened(tmp_path / "a.html")
    assert found["images"] == 24 and found["broken"] == found["fetched"] == 0 and found["overflow"] <= 0


def test_what_cannot_be_shown_is_said(
    make_tiles: MakeTiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiles, page = make_tiles(), tmp_path / "page.html"
    for arguments, said in (
        (("unet-resnet81", tiles), "did you mean 'unet-resnet18'"),
        (("unet-resnet18", tmp_path / "nowhere"), "nowhere"),
        (("unet-resnet18", tiles, "--set", "augment.rotate=200"), "augment.rotate = 200.0 has to be in 0..180"),
        (("unet-resnet18",), "name its tiles"),
        ((tiles, "--set", "augment.rotate=2"), "--set changes a recipe"),
    ):
        assert run("preview", *arguments, "-o", page) == 1
        assert said in " ".join(capsys.readouterr().err.split())
    assert not page.exists()


def test_a_training_with_every_change_is_resumed_with_the_same_bits(make_tiles: MakeTiles, tmp_path: Path) -> None:
    strengths = (
        "rotate=20",
        "scale=0.2",
        "shear=5",
        "shift=0.1",
        "grid=0.3",
        "elastic_px=4",
        "stain=0.2",
        "nuclei=0.2",
    )
    more = ("gamma=0.5", "clahe=3", "blur_px=1", "noise=0.05")
    recipe = tiny_recipe(*(f"augment.{text}" for text in (*strengths, *more)))

    def cut(done: int, total: int, text: str) -> None:
        if done == 7:
            raise KeyboardInterrupt

    tiles = make_tiles()
    loop.fit(tiles, tmp_path / "whole", recipe)
    with pytest.raises(KeyboardInterrupt):
        loop.fit(tiles, tmp_path / "cut", recipe, on_progress=cut)
    assert loop.fit(tiles, tmp_path / "cut", recipe, resume=True).resumed_from == 1
    whole, resumed = (load_file(tmp_path / name / "last-0002.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_batches_are_made_as_training_makes_them(make_tiles: MakeTiles) -> None:
    """Kinds of tiles are those of the sampler, and every crop drawn for a class shows it."""
    shown = augmented_batches(make_tiles(), tiny_recipe("data.crop_px=32"), count=8, versions=1)
    for item in shown.tiles:
        classes = (item.drawn[1] == 1) | (item.drawn[1] == 3)
        assert classes.any() == (item.drawn_for == "positive")
        assert item.drawn[0].shape == (32, 32, 3)
