from __future__ import annotations

from pathlib import Path

import pytest
from small_folders import write_pairs

import qpkit
from qpkit.dataset import read_tile_set
from qpkit.errors import ConfigError


def splits_of(folder: Path, **said: object) -> tuple[dict[str, tuple[str, str]], tuple[str, ...]]:
    """Group and split of each image, and the notes."""
    out = folder.with_name("tiles")
    report = qpkit.import_tiles(folder, out, qpkit.FolderSettings.of(**said), overwrite=True)
    return {tile.slide: (tile.group, tile.split) for tile in read_tile_set(out).tiles}, report.notes


def test_folders_called_train_val_and_test_are_honoured(tmp_path: Path) -> None:
    for split, count in (("train", 3), ("validation", 1), ("test", 2)):
        image, mask = f"{split}/images/{split}{{}}.png", f"{split}/masks/{split}{{}}.png"
        write_pairs(tmp_path / "data", count, image=image, mask=mask, values=(0, ord(split[0])))
    found, notes = splits_of(tmp_path / "data", classes=("A=116", "B=118"), allow=["image"])
    assert {name[:4]: split for name, (_, split) in found.items()} == {"trai": "train", "vali": "val", "test": "test"}
    assert "splits as stated: train 3, val 1, test 2 image(s)" in notes


def test_groups_by_a_pattern_stay_together(tmp_path: Path) -> None:
    write_pairs(tmp_path / "data", 9, image="images/P{}.png", mask="masks/P{}.png")
    for path in sorted((tmp_path / "data").rglob("*.png")):
        number = int(path.stem[1:])
        (path.parent / "below").mkdir(exist_ok=True)
        path.rename(path.parent / "below" / f"TCGA-{number % 3}_{number}.png")
    for seed in range(3):
        found, notes = splits_of(tmp_path / "data", group_pattern="^(TCGA-.)_", seed=seed)
        groups = {group for group, _ in found.values()}
        assert groups == {"TCGA-0", "TCGA-1", "TCGA-2"}
        assert len(set(found.values())) == 3
        assert not any("group of its own" in note for note in notes)


def test_a_pattern_may_name_the_split(tmp_path: Path) -> None:
    write_pairs(tmp_path / "data", 4, image="train_{}.png", mask="train_{}_anno.png")
    write_pairs(tmp_path / "data", 2, image="testA_{}.png", mask="testA_{}_anno.png")
    pattern = "(?P<split>train|test)[AB]?_(?P<group>[0-9]+)"
    with pytest.raises(ConfigError, match="identical"):
        splits_of(tmp_path / "data", group_pattern=pattern)
    found, notes = splits_of(tmp_path / "data", group_pattern=pattern, allow=["image,group"])
    assert found["train_3.png"] == ("3", "train") and found["testA_1.png"] == ("1", "test")
    assert any("no image is for validation" in note for note in notes)


def test_groups_and_splits_of_a_table(tmp_path: Path) -> None:
    write_pairs(tmp_path / "data", 3)
    table = tmp_path / "data/groups.csv"
    table.write_text("mosaic,note,image_id,split\nm1,x,p0,train\nm1,x,p1,train\nm2,x,p2,val\n")
    (tmp_path / "data/dataset.toml").write_text('groups = "groups.csv"\ngroup_column = "mosaic"\n')
    found, _ = splits_of(tmp_path / "data")
    assert found == {"p0.png": ("m1", "train"), "p1.png": ("m1", "train"), "p2.png": ("m2", "val")}
    drawn, _ = splits_of(tmp_path / "data", split="group", fractions=(1.0, 1.0, 0.0))
    assert drawn["p0.png"] == drawn["p1.png"] != drawn["p2.png"]
    table.write_text("file,group\np0.png,a\np1.png,b\n")
    (tmp_path / "data/dataset.toml").write_text('groups = "groups.csv"\n')
    with pytest.raises(ConfigError, match=r"nothing about 1, such as p2.png"):
        splits_of(tmp_path / "data")
    table.write_text("file,group\np0.png,a\np1.png,b\np2,c\np0.png,d\n")
    with pytest.raises(ConfigError, match=r"p0.png is there 2 times"):
        splits_of(tmp_path / "data")


def test_a_group_in_two_stated_splits_is_refused(tmp_path: Path) -> None:
    write_pairs(tmp_path / "data", 3)
    (tmp_path / "groups.csv").write_text("file,patient,split\np0,A,train\np1,A,test\np2,B,train\n")
    with pytest.raises(ConfigError, match=r"1 group\(s\) in several splits \(A\)"):
        splits_of(tmp_path / "data", groups=str(tmp_path / "groups.csv"))


def test_what_is_said_counts_more_than_dataset_toml(tmp_path: Path) -> None:
    write_pairs(tmp_path / "data", 3)
    (tmp_path / "data/dataset.toml").write_text(
        "mpp = 0.5\ntile_size = 32\nseed = 3\n[classes]\nTumor = [255]\nignore = 0\n"
    )
    out = tmp_path / "tiles"
    report = qpkit.import_tiles(tmp_path / "data", out, qpkit.FolderSettings(mpp=0.25))
    tiles = read_tile_set(out)
    assert (tiles.mpp, tiles.tile_size, report.labels.classes[0].name) == (0.25, 32, "Tumor")
    assert tiles.info["settings"]["seed"] == 3
    other = tmp_path / "other.toml"
    other.write_text("tile_size = 64\n")
    assert qpkit.import_tiles(tmp_path / "data", out, dataset=other, overwrite=True).tile_size == 64
