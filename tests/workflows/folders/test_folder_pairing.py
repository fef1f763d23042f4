from __future__ import annotations

from pathlib import Path

import pytest

from qpkit.errors import FormatError, ProjectError
from qpkit.workflows.folders.pairing import find_pairs

LAYOUTS = {
    "folders": ("images/{}.png", "masks/{}.png", "a"),
    "labels of tiff": ("img/{}.tif", "labels/{}.tiff", "a"),
    "jpeg and png": ("rgb/{}.jpg", "gt/{}.png", "a"),
    "one folder": ("{}.png", "{}_mask.png", "a"),
    "one folder below": ("all/{}.jpg", "all/{}_gt.png", "all/a"),
    "both named": ("{}_image.png", "{}-label.png", "a"),
    "GlaS": ("{}.bmp", "{}_anno.bmp", "a"),
    "BCSS": ("rgbs_colorNormalized/{}.png", "masks/{}.png", "a"),
    "TIGER": ("roi-level-annotations/bcss/images/{}.png", "roi-level-annotations/bcss/masks/{}.png",
              "roi-level-annotations/bcss/a"),
    "masks with an ending, too": ("images/{}.png", "masks/{}_mask.png", "a"),
    "masks beside, in a folder of images": ("images/{}.png", "images/{}_mask.png", "a"),
    "QuPath's exporter": ("{}.png", "{}-labelled.png", "a"),
    "split folders": ("train/images/{}.png", "train/masks/{}.png", "train/a"),
    "split folders below": ("images/val/{}.png", "masks/val/{}.png", "val/a"),
    "split in the name": ("test_images/{}.png", "test_masks/{}.png", "test/a"),
    "nnU-Net": ("imagesTr/{}_0000.png", "labelsTr/{}.png", "tr/a"),
    "nnU-Net test": ("imagesTs/{}_0000.png", "labelsTs/{}.png", "ts/a"),
    "masks of images": ("images/{}.png", "image_masks/{}.png", "a"),
    "by ending": ("{}.jpg", "{}.png", "a"),
    "words beside": ("P1_images/{}.png", "P1_masks/{}.png", "p_1/a"),
    "ground truth": ("input/{}.png", "groundTruth/{}.png", "a"),
}  # fmt: skip
SPLITS = {
    "split folders": "train", "split folders below": "val", "split in the name": "test", "nnU-Net": "train",
    "nnU-Net test": "test",
}  # fmt: skip


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_are_recognised(tmp_path: Path, layout: str) -> None:
    image, mask, key = LAYOUTS[layout]
    names = ("a", "b-2", "TCGA-A1 [x=0,y=512,w=512,h=512]")
    touch(tmp_path, *(pattern.format(name) for name in names for pattern in (image, mask)))
    touch(tmp_path, "notes.txt", ".hidden/images/c.png", "__MACOSX/images/c.png")
    found = find_pairs(tmp_path)
    assert [(p.image.relative_to(tmp_path).as_posix(), p.mask and p.mask.relative_to(tmp_path).as_posix())
            for p in found.pairs] == [(image.format(n), mask.format(n)) for n in sorted(names)]  # fmt: skip
    assert key in [pair.key for pair in found.pairs]
    assert {pair.split for pair in found.pairs} == {SPLITS.get(layout)}
    assert found.lonely_masks == found.unused == ()


def test_patterns_say_what_is_shared(tmp_path: Path) -> None:
    touch(tmp_path, "data/x_HE_1.png", "data/x_ann_1.png", "data/y_HE_1.png", "data/y_ann_1.png", "data/y_HE_2.png")
    found = find_pairs(tmp_path, images="data/*_HE_*.png", masks="data/*_ann_*.png")
    assert [(pair.key, pair.mask and pair.mask.name) for pair in found.pairs] == [
        ("x/1", "x_ann_1.png"), ("y/1", "y_ann_1.png"), ("y/2", None),
    ]  # fmt: skip


def test_folders_may_be_named(tmp_path: Path) -> None:
    touch(tmp_path, "HE/p1/a.png", "HE/p2/a.png", "GM/p1/a_mask.png", "GM/p2/a_mask.png", "other/a.png")
    found = find_pairs(tmp_path, images="HE", masks="GM")
    assert [pair.key for pair in found.pairs] == ["p1/a", "p2/a"]
    assert not found.without_mask


def test_what_is_no_pair_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "images/b.png", "masks/a.png", "masks/c.png", "overview.png")
    found = find_pairs(tmp_path)
    assert [pair.image.name for pair in found.without_mask] == ["b.png"]
    assert [path.name for path in found.lonely_masks] == ["c.png"]
    assert [path.name for path in found.unused] == ["overview.png"]


def test_what_qpkit_made_is_not_looked_at(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "masks/a.png", "tiles/export.json", "tiles/images/a/a_x0_y0.png")
    touch(tmp_path, "tiles.partial-7/images/a/a.png", "run/run.json", "run/curve.png")
    assert len(find_pairs(tmp_path).pairs) == 1


def test_two_files_of_one_name_and_folders_without_pairs_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "images/a.jpg", "masks/a.png")
    with pytest.raises(FormatError, match=r"a.jpg and a.png are both the image of 'a'"):
        find_pairs(tmp_path)
    with pytest.raises(ProjectError, match="0 mask"):
        find_pairs(tmp_path / "images/..", images="images/*.png", masks="no/*.png")
    with pytest.raises(ProjectError, match="no such folder"):
        find_pairs(tmp_path / "nothing")


def test_linked_folders_are_read_and_circles_end(tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    touch(there, "rgb/a.png", "drawn/a.png")
    here.mkdir()
    for link, target in (("images", there / "rgb"), ("masks", there / "drawn"), ("circle", here)):
        (here / link).symlink_to(target, target_is_directory=True)
    (pair,) = find_pairs(here).pairs
    assert (pair.image, pair.mask) == (here / "images/a.png", here / "masks/a.png")
