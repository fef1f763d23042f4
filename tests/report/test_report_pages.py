"""Tables, pages and pictures of a report show the numbers that they are given."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import accuracy_score, f1_score

from qpkit.core.labels import Boundary, LabelClass, LabelMap
from qpkit.core.tiles import SlideInfo
from qpkit.errors import OutputError
from qpkit.ops.masks.pixel_counts import PixelCounts
from qpkit.ops.tissue import ThumbnailTissue
from qpkit.report.figures.tissue import save_tissue_picture
from qpkit.report.pages.augmentations import fractions_of, preview_augmented, sampler_table
from qpkit.report.pages.training import TrainingFacts, write_training_report
from qpkit.report.rule_table import rule_rows
from qpkit.report.values.tiles import AugmentedBatches, AugmentedTile, RunEvaluation, ScoredTile
from table_of_tiles import tile

LABELS = LabelMap(
    classes=(LabelClass("Tumor <1>", 1, ("Tumor",)), LabelClass("Stroma", 2, ("Stroma",)), LabelClass("edge", 9, ())),
    boundary=Boundary(9, 2.0),
)
count = st.integers(0, 1000)


@given(
    st.dictionaries(st.sampled_from(["Tumor", "Tumor: x", "(none)"]), count), count, count, count, count, count, count
)
def test_the_rows_that_say_what_a_pixel_is_are_all_pixels(
    sources: dict[str, int], derived: int, boundary: int, ignored: int, region: int, nothing: int, overlap: int
) -> None:
    tally = PixelCounts(
        sources={"Tumor <1>": sources}, derived={"Stroma": derived}, boundary=boundary, ignored=ignored, region=region,
        unannotated=nothing, outside=5, overlap=overlap, ignored_over_class=1, instance_overlap=2,
    )  # fmt: skip
    rows = rule_rows(tally, LABELS)
    assert all(row[2] > 0 for row in rows)
    conflicts = ("objects of several classes", "ignored over a class", "several instances")
    assert sum(row[2] for row in rows if row[0] not in conflicts) == tally.pixels
    assert {row[0]: row[2] for row in rows if row[0] in conflicts} == {
        name: n for name, n in zip(conflicts, (overlap, 1, 2), strict=True) if n
    }
    assert all(row[3] == f"{100 * row[2] / tally.pixels:.2f} %" for row in rows)
    merged = {row[0] for row in rows if row[1] == "from: merged into Tumor <1>"}
    assert merged == {source for source, n in sources.items() if n}
    several = rule_rows(tally, replace(LABELS, masks="multi-label"))
    assert [row[0] for row in several if row[0] in ("Tumor", "Stroma", "outline")] == []
    assert ("all of them" in {row[1] for row in several}) == bool(overlap)


@given(hnp.arrays(np.uint8, (4, 5), elements=st.sampled_from([0, 1, 2, 255])))
def test_a_caption_names_the_fractions_of_a_mask(mask: NDArray[np.uint8]) -> None:
    text = fractions_of((np.zeros((4, 5, 3), np.uint8), mask), LABELS)
    counts = Counter(mask.ravel().tolist())
    there = [f"{item.name} {counts[item.value] / 20:.0%}" for item in LABELS.classes if counts[item.value]]
    assert sorted(text.split(", ")) == (sorted(there) or ["background"])
    numbers = [int(found) for found in re.findall(r"(\d+)%", text)]
    assert numbers == sorted(numbers, reverse=True)


def pair(value: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    return np.full((8, 8, 3), 20 * value, np.uint8), np.full((8, 8), value, np.uint8)


SAMPLER: dict[str, Any] = {
    "groups": [{"name": "positive", "tiles": 1234, "per_epoch": 12, "repeats": 0.5}],
    "pixels_per_epoch": {"background": 300, "Tumor <1>": 100},
    "tiles_with_class": {"background": 7, "Tumor <1>": 3},
    "batches": 6, "unlabelled_tiles_left_out": 0, "other_tiles_left_out": 2,
    "by_group": {"patient 1": {"tiles": 5, "positive": 4}},
}  # fmt: skip


def test_the_sampler_is_a_table_and_without_one_it_is_empty() -> None:
    assert sampler_table(SAMPLER)["rows"] == [("positive", "1,234", "12", "0.5")]
    assert sampler_table({})["rows"] == []


def test_a_page_of_augmented_tiles_has_a_row_for_each_and_a_picture_for_each_version(tmp_path: Path) -> None:
    tiles = tuple(
        AugmentedTile(tile=tile(f"s{n}", n, {}, group="patient <7>"), drawn_for="positive", drawn=pair(1),
                      versions=(pair(2), pair(1)))
        for n in range(3)
    )  # fmt: skip
    shown = AugmentedBatches(
        recipe="mine", labels=LABELS, tiles=tiles, batches=2, unknown=(0.25, 0.5), lost=1,
        settings=(("augment.hflip", "mirrored", "0.5"),), off=("noise",), sampler=SAMPLER, notes=("a <note>",),
    )  # fmt: skip
    told: list[tuple[int, int, str]] = []
    preview_augmented(shown, tmp_path / "a.html", on_progress=lambda *step: told.append(step))
    text = (tmp_path / "a.html").read_text()
    assert text.count("data:image/jpeg;base64,") == 3 * 3
    assert told == [(1, 3, "s0"), (2, 3, "s1"), (3, 3, "s2")]
    for words in ("Augmented tiles of mine", "s2, patient &lt;7&gt;", "a &lt;note&gt;", "1,234", "Tumor &lt;1&gt;"):
        assert words in text
    assert "http" not in re.sub(r"data:image/[^\"]+", "", text).replace("http-equiv", "")
    with pytest.raises(OutputError):
        preview_augmented(shown, tmp_path / "gone" / "a.html")


RUN: dict[str, Any] = {
    "id": "abc123", "notes": ["a <note>"], "status": "stopped", "best_epoch": 1, "epochs": 2, "seconds": 90.0,
    "device": "cpu", "precision": "32-true", "mpp": None, "tile_size_px": 64, "seconds_per_step": 0.1,
    "waiting_fraction": 0.25, "versions": {"qpkit": "9"}, "thresholds": {"Stroma": 0.375},
    "tiles": {"validated_on": "val", "path": "/x/tiles", "sha256": "00ff", "train": 1200, "val": 3},
    "recipe": {"name": "mine", "seed": 4, "optim": {"lr": 1e-3}}, "sampler": SAMPLER,
}  # fmt: skip


def facts(confusion: NDArray[np.int64], evaluation: RunEvaluation | None) -> TrainingFacts:
    labels = LabelMap(classes=(LabelClass("Tumor <1>", 1, ("Tumor",)), LabelClass("Stroma", 2, ("Stroma",))))
    return TrainingFacts(run=RUN, history=HISTORY, confusion=confusion, labels=labels,
                         names=("background", "Tumor <1>", "Stroma"), evaluation=evaluation,
                         missing="" if evaluation else "the tiles are gone")  # fmt: skip


def evaluation(confusion: NDArray[np.int64]) -> RunEvaluation:
    shown = ScoredTile(tile=tile("slide <2>", 0, {}), loss=0.875, dice={"Tumor <1>": 0.5, "Stroma": None},
                       image=pair(1)[0], truth=pair(1)[1], predicted=pair(2)[1])  # fmt: skip
    levels = np.zeros((3, 2, 256), np.int64)
    levels[:, 0, 10], levels[:2, 1, 200] = 5, 7
    confidence = np.zeros((2, 256), np.int64)
    confidence[1, 250] = 9
    return RunEvaluation(
        names=("background", "Tumor <1>", "Stroma"), validated_on="val", losses=(0.875, 0.125),
        tiles=(tile("slide <2>", 0, {}), tile("slide <2>", 1, {})), loss=0.5, confusion=confusion, levels=levels,
        confidence=confidence, worst=(shown,), best=(shown,), device="cpu", precision="32-true",
    )  # fmt: skip


HISTORY = [
    {"epoch": n, "train_loss": 1.0 / n, "val_loss": 0.5, "lr": 1e-3, "mean_dice": 0.5, "dice": {"Stroma": None}}
    for n in (1, 2)
]


def test_the_page_of_a_training_shows_the_scores_of_its_confusion(tmp_path: Path) -> None:
    confusion = np.array([[50, 5, 0], [4, 30, 2], [1, 0, 8]])
    truth = [row for row in range(3) for column in range(3) for _ in range(confusion[row, column])]
    said = [column for row in range(3) for column in range(3) for _ in range(confusion[row, column])]
    write_training_report(facts(confusion, evaluation(confusion)), tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text()
    for score in f1_score(truth, said, average=None):
        assert f"{score:.3f}" in text
    assert f"{accuracy_score(truth, said):.3f}" in text
    for words in ("Training abc123", "stopped (not finished)", "1.5 min on cpu", "a &lt;note&gt;", "1,234", "0.375",
                  "slide &lt;2&gt;", "loss 0.875; Dice Tumor &lt;1&gt; 0.50; 100% known", json.dumps(1e-3), "00ff",
                  "not known", "1,200, 3"):  # fmt: skip
        assert words in text, words
    assert text.count("data:image/jpeg") == 6
    bare = tmp_path / "b.html"
    write_training_report(facts(confusion, None), bare)
    assert "the tiles are gone" in bare.read_text() and "data:image/jpeg" not in bare.read_text()


def test_a_tissue_picture_marks_glass_pen_dark_and_the_kept_tiles(tmp_path: Path) -> None:
    thumbnail = np.full((40, 60, 3), 100, np.uint8)
    tissue = np.zeros((20, 30), bool)
    tissue[5:15, 5:15] = True
    pen, dark = np.zeros((40, 60), bool), np.zeros((40, 60), bool)
    pen[0:2], dark[38:40] = True, True
    found = ThumbnailTissue(tissue=np.zeros((40, 60), bool), pen=pen, dark=dark, grey=np.zeros((40, 60), np.float32))
    kept = replace(tile("s", 0, {}), x=300.0, y=100.0, width=100.0, height=100.0)
    path = tmp_path / "new" / "a.png"
    save_tissue_picture(path, thumbnail, tissue, found, SlideInfo(width=600, height=400), [kept])
    with Image.open(path) as file:
        picture = np.asarray(file)
    assert picture.shape == (40, 60, 3)
    assert picture[20, 20].tolist() == [100, 100, 100]
    assert picture[20, 55].tolist() == [193, 193, 193]
    assert picture[0, 5].tolist() == [255, 0, 255] and picture[39, 5].tolist() == [255, 140, 0]
    assert picture[10, 20].tolist() == [0, 140, 70]
    assert picture[10, 30].tolist() == picture[20, 40].tolist() == [40, 80, 200]
    large = np.zeros((3000, 1500, 3), np.uint8)
    save_tissue_picture(path, large, np.ones((3, 3), bool), found, SlideInfo(width=1500, height=3000), [])
    with Image.open(path) as file:
        assert file.size == (512, 1024)
