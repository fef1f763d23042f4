from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from qpkit.cli import main
from qpkit.dataset import TileRecord, read_tile_set
from qpkit.dataset.splits import SplitRule
from qpkit.dataset.stratify import plain_folds
from qpkit.errors import ConfigError
from qpkit.workflows.export.settings import ExportSettings, TissueRule
from qpkit.workflows.export.tiles import export_tiles
from qpkit.workflows.inputs.slides import project_classes, slide_inputs
from qpkit.workflows.tables.split import split_folds, split_tiles
from qpkit.workflows.tables.split_settings import SplitSettings, parse_by
from qpkit.workflows.tables.stats import draw_stats, stats_to_builtins, tile_stats
from table_of_tiles import eight_slides, tile, write_table


@pytest.fixture(scope="module")
def exported(made_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiles of the generated study; do not write into them."""
    out = tmp_path_factory.mktemp("exported") / "tiles"
    wanted = ExportSettings(downsample=2, tile_size=256, tissue=TissueRule("otsu", 0.05))
    export_tiles(slide_inputs([made_study]), out, wanted, classes=project_classes([made_study]))
    return out


@pytest.fixture
def tiles(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "tiles"))


def run(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    try:
        main([str(a) for a in args])
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


def splits_by(rows: tuple[TileRecord, ...], name: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(getattr(row, name), set()).add(row.split)
    return found


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 900), st.integers(0, 100)), min_size=1, max_size=30),
    st.integers(2, 4),
    st.integers(0, 9),
    st.booleans(),
    st.randoms(use_true_random=False),
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_folds_keep_groups_and_do_not_depend_on_the_order_of_the_table(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[int, int, int]],
    folds: int,
    seed: int,
    stratify: bool,
    random: object,
) -> None:
    made = [tile(f"s{s}", n, {0: 9000, 1: one, 2: two}) for n, (s, one, two) in enumerate(rows)]
    mixed = list(made)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    wanted = SplitSettings(folds=folds, fold=folds, seed=seed, stratify=stratify)
    found = []
    for order in (made, mixed):
        root = write_table(tmp_path_factory.mktemp("t") / "t", order)
        if len({t.slide for t in made}) < folds:
            with pytest.raises(ConfigError, match=r"there are \d group\(s\)"):
                split_tiles(root, wanted)
            return
        split_tiles(root, wanted)
        after = read_tile_set(root).tiles
        assert [t.image for t in after] == [t.image for t in order]
        assert all(len(splits) == 1 for splits in splits_by(after, "group").values())
        column = pq.read_table(root / "tiles.parquet")["fold"].to_pylist()
        assert set(column) == set(range(1, folds + 1))
        found.append({t.image: (t.split, fold) for t, fold in zip(after, column, strict=True)})
    assert found[0] == found[1]


def test_every_fold_is_tested_once_and_validates_once(tiles: Path) -> None:
    seen: dict[str, list[str]] = {}
    for fold in range(1, 5):
        report = split_tiles(tiles, SplitSettings(folds=4, fold=fold))
        assert Counter(part.split for part in report.parts) == {"train": 2, "val": 1, "test": 1}
        for slide, splits in splits_by(read_tile_set(tiles).tiles, "slide").items():
            seen.setdefault(slide, []).extend(splits)
    assert all(sorted(splits) == ["test", "train", "train", "val"] for splits in seen.values())
    two = split_tiles(tiles, SplitSettings(folds=2, fold=2))
    assert [part.split for part in two.parts] == ["train", "val"]


def test_classes_are_shared_out_evenly(tmp_path: Path) -> None:
    root = write_table(tmp_path / "t", eight_slides())
    draws = (plain_folds(8, 2, seed=seed) for seed in range(99))
    seed = next(seed for seed, draw in enumerate(draws) if draw[0] == draw[4])
    plain = split_tiles(root, SplitSettings(folds=2, stratify=False, seed=seed))
    even = split_tiles(root, SplitSettings(folds=2, seed=seed))
    assert [part.counts.pixels[1] for part in even.parts] == [2400, 2400]
    assert [part.counts.tiles for part in even.parts] == [12, 12]
    assert even.uneven == pytest.approx(0)
    assert plain.uneven == even.uneven_plain
    assert plain.uneven is not None
    assert plain.uneven > 0.3
    assert even.notes == ()
    missing = split_tiles(root, SplitSettings(folds=4))
    assert sum("shows no pixel of Tumor" in note for note in missing.notes) == 2


def test_fractions_without_classes_are_the_exports_own(tiles: Path) -> None:
    before = read_tile_set(tiles).tiles
    report = split_tiles(tiles, SplitSettings(stratify=False))
    assert read_tile_set(tiles).tiles == before
    assert report.uneven == report.uneven_plain == pytest.approx(report.uneven_before)


def test_the_table_says_how_it_was_split(tiles: Path) -> None:
    report = split_tiles(tiles, SplitSettings(folds=4, fold=3, seed=7))
    record = read_tile_set(tiles).info["split"]
    assert (record["by"], record["folds"], record["fold"], record["seed"]) == ("group", 4, 3, 7)
    assert record["unevenness"]["now"] == report.uneven
    assert tile_stats(tiles).rule == "group, 4 folds (fold 3)"
    assert report.backup == tiles / "tiles.parquet.qpkit-backup"


def test_a_split_by_tile_is_refused_unless_named(tiles: Path) -> None:
    with pytest.raises(ConfigError, match="--allow-leakage tile"):
        SplitSettings(by=parse_by("tile"))
    before = (tiles / "tiles.parquet").read_bytes()
    report = split_tiles(tiles, SplitSettings(by=parse_by("tile"), allow=frozenset({"tile"})))
    assert report.leakage.kinds == ("tile",)
    assert report.leakage.touching > 20
    assert tile_stats(tiles).leakage == report.leakage
    with pytest.raises(ConfigError, match=r"leaks and was not made: tile: 4 slides .* --allow-leakage tile$"):
        split_tiles(tiles, SplitSettings())
    split_tiles(tiles, SplitSettings(by=parse_by("slide")))
    assert tile_stats(tiles).leakage.kinds == ()
    assert (tiles / "tiles.parquet.qpkit-backup").read_bytes() == before


def test_patients_stay_together_and_are_remembered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_table(tmp_path / "t", eight_slides())
    sheet = tmp_path / "patients.csv"
    sheet.write_text("slide,Case\n" + "".join(f"s{n},P{n // 2}\n" for n in range(8)), encoding="utf-8")
    code, _, err = run(capsys, "split", root, "--by", "patient:Case")
    assert (code, "does not know 'Case'; add --metadata" in err) == (1, True)
    folds = ("--folds", "4", "--fold", "1")
    assert run(capsys, "split", root, "--by", "patient:Case", "--metadata", sheet, *folds)[0] == 0
    assert {t.group for t in read_tile_set(root).tiles} == {"P0", "P1", "P2", "P3"}
    for by in ("slide", "tile"):
        code, _, err = run(capsys, "split", root, "--by", by, "--allow-leakage", "tile", "--folds", "8", "--fold", "1")
        assert (code, "--allow-leakage patient" in err) == (1, True)
    assert (
        run(capsys, "split", root, "--by", "slide", "--allow-leakage", "patient", "--folds", "8", "--fold", "1")[0] == 0
    )
    assert tile_stats(root).leakage.kinds == ("patient",)
    assert run(capsys, "split", root, "--by", "patient:Case", "--seed", "3")[0] == 0
    assert tile_stats(root).leakage.kinds == ()


def test_the_projects_metadata_name_groups_and_splits(made_study: Path, tiles: Path) -> None:
    with pytest.raises(ConfigError, match="no metadata 'Case' for --by patient:Case"):
        split_tiles(tiles, SplitSettings(by=parse_by("patient:Case")), metadata=made_study)
    split_tiles(tiles, SplitSettings(by=parse_by("patient:Patient"), folds=4), metadata=made_study)
    assert {t.group for t in read_tile_set(tiles).tiles} == {"A", "B", "C", "D"}
    report = split_tiles(tiles, SplitSettings(by=parse_by("metadata:Split")), metadata=made_study)
    assert [part.groups for part in report.parts] == [2, 1, 1]
    assert report.uneven is None
    with pytest.raises(ConfigError, match="does not go with --folds"):
        SplitSettings(by=parse_by("metadata:Split"), folds=3)


def test_groups_of_an_export_by_patient_are_patients(made_study: Path, tmp_path: Path) -> None:
    wanted = ExportSettings(downsample=8, tile_size=256, split=SplitRule("patient", "Patient"))
    export_tiles(slide_inputs([made_study]), tmp_path / "t", wanted, classes=project_classes([made_study]))
    split_tiles(tmp_path / "t", SplitSettings(by=parse_by("patient:Patient"), folds=2))
    assert tile_stats(tmp_path / "t").leakage.kinds == ()


def test_wide_groups_must_not_be_separated_unseen(tmp_path: Path) -> None:
    rows = [tile(f"s{n}", 0, {0: 9000, 1: 100}, group=f"g{n // 2}") for n in range(6)]
    root = write_table(tmp_path / "t", rows)
    with pytest.raises(ConfigError, match="--allow-leakage group"):
        split_tiles(root, SplitSettings(by=parse_by("slide"), folds=6))
    assert split_tiles(root, SplitSettings(folds=3)).leakage.kinds == ()


def test_one_image_under_two_names_stays_together(tmp_path: Path) -> None:
    same = [{"name": f"s{n}", "slide_quick_hash": "x" if n in (2, 5) else str(n)} for n in range(8)]
    root = write_table(tmp_path / "t", eight_slides(), inputs=same)
    report = split_tiles(root, SplitSettings(folds=7))
    assert report.notes[0] == "s2 and s5 are the same image file: kept together"
    assert report.leakage.kinds == ()
    with pytest.raises(ConfigError, match=r"there are 7 group\(s\).*use --folds 7 or fewer"):
        split_tiles(root, SplitSettings(folds=8))
    assert split_tiles(root, SplitSettings(folds=8, allow=frozenset({"image"}))).leakage.images == (("s2", "s5"),)
    assert tile_stats(root).leakage.images in ((("s2", "s5"),), ())
    sheet = tmp_path / "splits.csv"
    sheet.write_text("slide,Split\n" + "".join(f"s{n},{'test' if n == 5 else 'train'}\n" for n in range(8)))
    with pytest.raises(ConfigError, match=r"image: 1 image file \(s2 = s5\).*--allow-leakage image"):
        split_tiles(root, SplitSettings(by=parse_by("metadata:Split")), metadata=sheet)


def test_a_table_of_one_fold_is_trained_on_as_it_is(tiles: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from qpkit_train.data.batches import TileReader
    from qpkit_train.data.training_tiles import training_tiles_of
    from qpkit_train.recipe.load import load_recipe

    recipe = load_recipe("unet-resnet18", ["data.batch_size=4"])
    for root in (tiles, tmp_path / "fold2"):
        split_tiles(tiles, SplitSettings(folds=4, fold=2), out=None if root == tiles else root)
        tile_set = read_tile_set(root)
        data = training_tiles_of(tile_set, recipe)
        assert data.validated_on == "val"
        assert {t.slide for t in data.train}.isdisjoint(t.slide for t in data.measured)
        image, _ = TileReader(tile_set, cache_mb=1).read(tile_set.tiles[0])
        assert image.shape == (256, 256, 3)


@pytest.mark.parametrize(
    "words",
    [
        ["--folds", "5"], ["--folds", "1"], ["--folds", "3", "--fold", "4"], ["--fold", "2"], ["--by", "stain"],
        ["--folds", "3", "--fractions", "8:1:1"], ["--seed", "-1"], ["--overwrite"], ["--allow-leakage", "all"],
        ["--fractions", "8:1"], ["--by", "patient:Case", "--metadata", "nowhere.csv"],
    ],
)  # fmt: skip
def test_impossible_splits_are_one_line_and_change_nothing(
    exported: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = (exported / "tiles.parquet").read_bytes()
    code, out, err = run(capsys, "split", exported, *words)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert (exported / "tiles.parquet").read_bytes() == before
    assert not (exported / "tiles.parquet.qpkit-backup").exists()


def test_tables_that_cannot_be_split_are_one_line(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = write_table(tmp_path / "alone", [tile("s", n, {0: 1}) for n in range(9)])
    empty = write_table(tmp_path / "empty", [])
    broken = write_table(tmp_path / "broken", eight_slides())
    (broken / "tiles.parquet").write_bytes((exported / "tiles.parquet").read_bytes()[:2000])
    odd = write_table(tmp_path / "odd", [tile("s", 0, {0: 1}, split="holdout")])
    bare = write_table(tmp_path / "bare", eight_slides())
    (bare / "export.json").write_text('{"format": "qpkit tiles 1"}')
    for root, words in (
        (tmp_path / "none", "qpkit export"),
        (alone, "a table of one group cannot be split"),
        (empty, "has no tiles"),
        (broken, "damaged"),
        (odd, "'holdout' in the table is none of"),
        (bare, "damaged"),
    ):
        for verb in ("split", "stats"):
            if verb == "stats" and root == alone:
                continue
            code, _, err = run(capsys, verb, root)
            assert (code, err.count("\n"), words in err) == (1, 1, True), err


def test_an_nnunet_data_set_is_never_at_odds_with_its_table(made_study: Path, tmp_path: Path) -> None:
    root = tmp_path / "Dataset501_Study"
    wanted = ExportSettings(downsample=8, tile_size=256, tissue=TissueRule("none", 0), store="nnunet")
    export_tiles(slide_inputs([made_study]), root, wanted, classes=project_classes([made_study]))
    before = {file: file.read_bytes() for file in root.rglob("*") if file.is_file()}
    with pytest.raises(ConfigError, match=r"Dataset501_Study: an nnU-Net data set has its split in its folders"):
        split_tiles(root, SplitSettings(seed=3))
    assert {file: file.read_bytes() for file in root.rglob("*") if file.is_file()} == before
    split_tiles(root, SplitSettings(seed=3), out=tmp_path / "other")
    assert all((tmp_path / "other" / row.image).is_file() for row in read_tile_set(tmp_path / "other").tiles)


def test_stats_count_what_the_masks_show(tiles: Path, tmp_path: Path) -> None:
    report = tile_stats(tiles)
    tile_set = read_tile_set(tiles)
    masks = [tile_set.read_mask(t) for t in tile_set.tiles]
    tumour = sum(int((mask == 1).sum()) for mask in masks)
    row = next(c for c in report.classes if c.name == "Tumor")
    assert row.pixels == tumour == report.total.pixels[1]
    assert row.area_mm2 == pytest.approx(tumour * 1e-6)
    assert row.tiles == sum(1 for mask in masks if (mask == 1).any())
    assert sum(row.split_fractions.values()) == pytest.approx(1)
    for parts in (report.splits, report.groups, report.slides):
        assert sum(part.counts.tiles for part in parts) == len(masks)
        assert sum(part.counts.pixels[1] for part in parts) == tumour
    assert report.mpp == (pytest.approx(1.0), pytest.approx(1.0))
    assert report.total.unknown == sum(1 for mask in masks if (mask == 255).all())
    (tmp_path / "s.png").write_bytes(draw_stats(report))
    with Image.open(tmp_path / "s.png") as picture:
        assert np.asarray(picture.convert("RGB")).std() > 10


def test_stats_as_tables_json_and_picture(tiles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "stats", tiles, "-o", tmp_path / "s.png")
    assert code == 0
    assert "with : without" in out
    assert "leakage: none found" in err
    code, out, _ = run(capsys, "stats", tiles, "--json")
    found = json.loads(out)
    assert found == json.loads(json.dumps(stats_to_builtins(tile_stats(tiles))))
    assert found["leakage"]["kinds"] == []
    assert found["splits"][0]["pixels"]["Tumor"] > 0
    code, _, err = run(capsys, "stats", tiles, "-o", tmp_path / "s.pdf")
    assert (code, ".png" in err) == (1, True)


def test_stats_of_tables_without_pixel_sizes_classes_or_many_groups(tmp_path: Path) -> None:
    rows = [
        replace(tile(f"group {n} $x_y$ {'long' * 12}", 0, {0: 1} if n % 2 else {255: 1}), mpp=math.nan)
        for n in range(60)
    ]
    root = write_table(tmp_path / "t", rows)
    report = tile_stats(root)
    assert (report.mpp, report.mpp_unknown, report.classes[0].area_mm2) == (None, 60, None)
    assert (report.total.unknown, report.total.negatives_per_positive) == (30, None)
    assert "train shows no pixel of Tumor, Stroma" in report.notes
    (tmp_path / "s.png").write_bytes(draw_stats(report))


def test_all_folds_are_written_unless_one_is_named(tiles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (tiles / "tiles.parquet").read_bytes()
    code, _, err = run(capsys, "split", tiles, "--folds", "4")
    folds = [read_tile_set(tiles.with_name(f"{tiles.name}-folds") / f"fold-{fold}") for fold in (1, 2, 3, 4)]
    assert (code, "fold-1 to fold-4" in err) == (0, True)
    assert (tiles / "tiles.parquet").read_bytes() == before
    tested = [[t.key for t in fold.tiles if t.split == "test"] for fold in folds]
    assert sorted(key for keys in tested for key in keys) == sorted(t.key for t in read_tile_set(tiles).tiles)
    code, _, err = run(capsys, "split", tiles, "--folds", "4")
    assert (code, "there already; add --overwrite" in err) == (1, True)
    assert run(capsys, "split", tiles, "--folds", "4", "--overwrite")[0] == 0
    one = split_tiles(tiles, SplitSettings(folds=4, fold=3), out=tiles.with_name("one"))
    assert [t.split for t in read_tile_set(tiles.with_name("one")).tiles] == [t.split for t in folds[2].tiles]
    assert one.notes == split_folds(tiles, SplitSettings(folds=4), tiles.with_name("f"))[2].notes


def test_split_shows_figures(tiles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "split", tiles, "--folds", "4", "--fold", "1", "-o", tmp_path / "f", "--seed", "2")
    assert code == 0
    assert "of Tumor" in out
    assert "a draw that ignores classes" in out
    assert f"tiles split in {tmp_path / 'f'}" in err
    assert not (tiles / "tiles.parquet.qpkit-backup").exists()
    assert run(capsys, "split", tiles, "--by", "tile", "--allow-leakage", "tile")[2].startswith("warning: leakage")
