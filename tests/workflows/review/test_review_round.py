"""A whole round: predict, import, review in QuPath's files, count what happened, export what follows. All exact."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from predictions_made_up import predict_truth
from small_project import CLASSES, HEIGHT, WIDTH, small_project

from command_line import run
from qpkit.core.annotation import Annotation, PathClass
from qpkit.core.labels import LabelClass, LabelMap, default_label_map
from qpkit.core.review import REVIEW_KEY, REVIEWED_CLASS, UNSURE_CLASS
from qpkit.dataset.manifest import read_tile_set
from qpkit.errors import ConfigError
from qpkit.predictions.ledger import read_ledger
from qpkit.qupath import Project, open_project
from qpkit.qupath.project.edits import set_metadata
from qpkit.workflows.evaluate.truth import ground_truth
from qpkit.workflows.export.settings import ExportSettings
from qpkit.workflows.export.tiles import ExportReport, export_tiles
from qpkit.workflows.imports.project import import_predictions
from qpkit.workflows.imports.settings import ImportSettings
from qpkit.workflows.inputs.slides import slide_inputs
from qpkit.workflows.inputs.tissue_rule import TissueRule
from qpkit.workflows.pages.preview import preview_tiles
from qpkit.workflows.review.project import review_project
from qpkit.workflows.review.result import ReviewSettings
from qpkit.workflows.tables.stats import tile_stats

TUMOR, STROMA, IGNORE = 1, 2, 255
SETTINGS = ExportSettings(downsample=1, tile_size=64, tissue=TissueRule(by="none"), reviewed=True)

ONE_CLASS = replace(SETTINGS, labels=LabelMap(classes=(LabelClass("Tumor", 1, ("Tumor",)),)))


def box(column: int, row: int, width: int = 40, height: int = 30) -> shapely.Polygon:
    """Corners at even px: what a raster of downsample 2 says exactly."""
    return shapely.box(column, row, column + width, row + height)


PREDICTED = {
    "accepted": box(10, 10), "untouched": box(60, 10), "edited": box(110, 10), "reclassified": box(160, 10),
    "rejected": box(210, 10), "unsure": box(260, 10), "split": box(10, 60), "merged": box(60, 60),
    "merged too": box(110, 60), "outside": box(10, 160), "outside accepted": box(60, 160),
    "outside rejected": box(110, 160), "across": box(160, 120, 40, 60),
}  # fmt: skip
REVIEWED = box(0, 0, WIDTH, 150)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project into which the boxes were imported, all as tumor."""
    truth = [Annotation(geometry=shape, path_class=CLASSES[0]) for shape in PREDICTED.values()]
    ready = small_project(tmp_path / "truth", [truth])
    made = predict_truth(ready.path, tmp_path / "predictions", default_label_map(CLASSES), entries=(1,))
    empty = small_project(tmp_path / "study", [[]])
    import_predictions(made, empty, ImportSettings())
    return open_project(empty.path)


def act(project: Project) -> None:
    """What a reviewer does in QuPath."""
    entry = project.entries[0]
    there = {name: next(o for o in entry.objects() if o.geometry.equals(shape)) for name, shape in PREDICTED.items()}
    people = [
        Annotation(geometry=box(10, 60, 20), path_class=CLASSES[0]),
        Annotation(geometry=box(30, 60, 20), path_class=CLASSES[1]),
        Annotation(geometry=box(60, 60, 90), path_class=CLASSES[0]),
        Annotation(geometry=box(210, 60), path_class=CLASSES[1]),
        Annotation(geometry=box(210, 200), path_class=CLASSES[1]),
        Annotation(geometry=REVIEWED, path_class=PathClass((REVIEWED_CLASS,))),
    ]
    unsure = there["unsure"]
    changed = [
        replace(there["accepted"], locked=True),
        replace(there["outside accepted"], locked=True),
        replace(there["edited"], geometry=box(110, 10, 44, 30)),
        replace(there["reclassified"], path_class=CLASSES[1]),
        replace(unsure, metadata={**unsure.metadata, REVIEW_KEY: "unsure"}),
    ]
    touched = [there[name] for name in PREDICTED if name not in ("untouched", "outside", "across")]
    entry.replace_objects(remove={str(o.id) for o in touched}, add=[*changed, *people])


def expected() -> NDArray[np.uint8]:
    mask = np.full((HEIGHT, WIDTH), IGNORE, np.uint8)
    mask[:150] = 0

    def fill(shape: shapely.Polygon, value: int, until: int = HEIGHT) -> None:
        left, top, right, bottom = map(int, shape.bounds)
        mask[top : min(bottom, until), left:right] = value

    for name in ("accepted", "untouched", "outside accepted"):
        fill(PREDICTED[name], TUMOR)
    fill(PREDICTED["across"], TUMOR, until=150)
    fill(box(110, 10, 44), TUMOR)
    fill(PREDICTED["reclassified"], STROMA)
    fill(PREDICTED["unsure"], IGNORE)
    fill(box(10, 60, 20), TUMOR)
    fill(box(30, 60, 20), STROMA)
    fill(box(60, 60, 90), TUMOR)
    fill(box(210, 60), STROMA)
    fill(box(210, 200), STROMA)
    return mask


def export(project: Project, out: Path, settings: ExportSettings = SETTINGS) -> ExportReport:
    return export_tiles(slide_inputs([project.path]), out, settings, classes=CLASSES)


def whole_mask(root: Path) -> NDArray[np.uint8]:
    tiles = read_tile_set(root)
    mask = np.full((HEIGHT + 64, WIDTH + 64), IGNORE, np.uint8)
    for tile in tiles.tiles:
        mask[int(tile.y) :, int(tile.x) :][:64, :64] = tiles.read_mask(tile)
    return mask[:HEIGHT, :WIDTH]


def test_a_round_is_counted_and_learned_from_exactly(project: Project, tmp_path: Path) -> None:
    act(project)
    rows = review_project(open_project(project.path), ReviewSettings()).rows
    assert Counter(row.outcome for row in rows) == {
        # Two were locked; of those in the region that nobody touched "across" lies in it with half of itself.
        "accepted": 4, "edited": 1, "reclassified": 1, "unsure": 1, "split": 1, "merged": 2, "rejected": 2,
        "untouched": 1, "added": 2,
    }  # fmt: skip
    ledger = read_ledger(project.path.parent, "run-1")
    assert sum(row.run == "run-1" for row in rows) == ledger.table.num_rows == len(PREDICTED)
    report = export(open_project(project.path), tmp_path / "tiles")
    mask = whole_mask(tmp_path / "tiles")
    assert np.array_equal(mask, expected())
    people = sum(int(s.area) for s in (box(10, 60), box(60, 60, 90), box(210, 60), box(210, 200)))
    labelled = int((expected() != IGNORE).sum())
    rejected = int(PREDICTED["rejected"].area)
    assert report.slides[0].labels_from == {"human": people, "reviewed": labelled - people, "rejected": rejected}
    assert report.slides[0].rejected_unlearned == 1  # "outside rejected"
    tiles = read_tile_set(tmp_path / "tiles").tiles
    assert sum(tile.origins["rejected"] for tile in tiles) == rejected
    total = tile_stats(tmp_path / "tiles").total
    assert total.reviewed == (labelled - people) / labelled
    preview_tiles(tmp_path / "tiles", tmp_path / "page.html")
    assert "labels from a review" in (tmp_path / "page.html").read_text()


def test_what_is_deleted_outside_of_regions_is_background_where_there_is_one_class(
    project: Project, tmp_path: Path
) -> None:
    act(project)
    opened = open_project(project.path)
    ignoring = replace(ONE_CLASS, removed="ignore")
    assert ignoring.to_builtins() != ONE_CLASS.to_builtins()  # of which hashes are made
    unknown = export(opened, tmp_path / "unknown", ignoring)
    told = export(opened, tmp_path / "told", ONE_CLASS)
    shape = PREDICTED["outside rejected"]
    left, top, right, bottom = map(int, shape.bounds)
    before, after = whole_mask(tmp_path / "unknown"), whole_mask(tmp_path / "told")
    assert (before[top:bottom, left:right] == IGNORE).all()
    before[top:bottom, left:right] = 0
    assert np.array_equal(before, after)
    counts = [(r.slides[0].removed_background, r.slides[0].rejected_unlearned) for r in (unknown, told)]
    assert counts == [(0, 1), (1, 0)]
    assert told.slides[0].labels_from["rejected"] == unknown.slides[0].labels_from["rejected"] + shape.area


def test_what_is_cut_off_or_made_another_class_is_background_where_there_is_one_class(
    project: Project, tmp_path: Path
) -> None:
    entry = project.entries[0]
    there = {name: next(o for o in entry.objects() if o.geometry.equals(shape)) for name, shape in PREDICTED.items()}
    cut, moved, other = (there[name] for name in ("outside", "outside accepted", "outside rejected"))
    changed = [
        replace(cut, geometry=box(10, 160, 30)),
        replace(moved, geometry=box(66, 160, 44)),
        replace(other, path_class=CLASSES[1]),
    ]
    grown = there["across"]
    changed.append(replace(grown, geometry=box(160, 120, 40, 70)))  # of which nothing was removed
    entry.replace_objects(remove={str(one.id) for one in (cut, moved, other, grown)}, add=changed)
    report = export(open_project(project.path), tmp_path / "tiles", ONE_CLASS)
    mask = np.full((HEIGHT, WIDTH), IGNORE, np.uint8)
    for columns, value in (((10, 40), 1), ((40, 50), 0), ((60, 66), 0), ((66, 110), 1), ((110, 150), 0)):
        mask[160:190, slice(*columns)] = value
    mask[120:190, 160:200] = 1
    assert np.array_equal(whole_mask(tmp_path / "tiles"), mask)
    assert report.slides[0].removed_background == 3
    assert report.slides[0].labels_from["rejected"] == 0  # nothing was deleted


def test_a_deleted_prediction_says_nothing_of_others_on_top_of_it(project: Project, tmp_path: Path) -> None:
    entry, there = project.entries[0], PREDICTED["outside"]
    twice = predict_truth(project.path, tmp_path / "again", default_label_map(CLASSES), entries=(1,), run="run-2")
    import_predictions(twice, project, ImportSettings(append=True))
    opened = open_project(project.path)
    objects = opened.entries[0].objects()
    of_both = [o for o in objects if o.geometry.equals(there)]
    assert len(of_both) == 2
    entry.replace_objects(remove={str(of_both[0].id)}, add=[Annotation(geometry=box(200, 200), path_class=CLASSES[0])])
    export(open_project(project.path), tmp_path / "tiles", ONE_CLASS)
    assert int((whole_mask(tmp_path / "tiles") != IGNORE).sum()) == 40 * 30


def test_nothing_is_learned_of_a_run_of_which_nothing_is_left(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = project.entries[0]
    before = {str(o.id) for o in entry.objects()}
    drawn = Annotation(geometry=box(200, 200), path_class=CLASSES[0])
    entry.replace_objects(remove=before, add=[drawn])
    report = export(open_project(project.path), tmp_path / "tiles", ONE_CLASS)
    assert int((whole_mask(tmp_path / "tiles") != IGNORE).sum()) == 40 * 30
    slide = report.slides[0]
    assert (slide.removed_background, slide.rejected_unlearned) == (0, len(PREDICTED))
    assert slide.runs_gone == ("run-1",)
    region = Annotation(geometry=REVIEWED, path_class=PathClass((REVIEWED_CLASS,)))
    opened = open_project(project.path)
    opened.entries[0].replace_objects(remove=(), add=[region])
    labels = tmp_path / "labels.toml"
    labels.write_text('[[class]]\nname = "Tumor"\nvalue = 1\nfrom = ["Tumor"]\n')
    options = ("--reviewed", "--labels", labels, "--downsample", 1, "--tile-size", 64, "--tissue", "none")
    ledger = project.path.parent / "qpkit" / "imports" / "run-1.parquet"
    assert run("export", project.path, "-o", tmp_path / "looked at", *options) == 0
    assert "nothing is left of run run-1" in "".join(capsys.readouterr())
    assert (whole_mask(tmp_path / "looked at")[:150] == 0).all()
    ledger.write_bytes(b"damaged")
    assert run("export", project.path, "-o", tmp_path / "damaged", *options) == 0
    assert "what reviewers deleted is not known" in "".join(capsys.readouterr())


def test_without_the_option_marks_of_a_review_are_no_tissue(project: Project, tmp_path: Path) -> None:
    act(project)
    export(open_project(project.path), tmp_path / "tiles", replace(SETTINGS, reviewed=False))
    mask = whole_mask(tmp_path / "tiles")
    assert mask[0, 0] == 0
    assert (mask[10:40, 260:300] == IGNORE).all()
    assert not read_tile_set(tmp_path / "tiles").tiles[0].origins


def test_a_slide_may_be_reviewed_as_a_whole(project: Project, tmp_path: Path) -> None:
    set_metadata(project, {1: {REVIEW_KEY: "reviewed"}})
    opened = open_project(project.path)
    rows = review_project(opened, ReviewSettings()).rows
    assert {row.outcome for row in rows} == {"accepted"}
    export(opened, tmp_path / "tiles")
    mask = whole_mask(tmp_path / "tiles")
    assert int((mask == TUMOR).sum()) == sum(int(shape.area) for shape in PREDICTED.values())
    assert IGNORE not in mask


def test_what_nobody_looked_at_stays_unknown(project: Project, tmp_path: Path) -> None:
    entry = project.entries[0]
    entry.replace_objects(remove=(), add=[Annotation(geometry=box(200, 200), path_class=CLASSES[0])])
    export(open_project(project.path), tmp_path / "tiles")
    assert int((whole_mask(tmp_path / "tiles") != IGNORE).sum()) == 40 * 30
    assert tile_stats(tmp_path / "tiles").total.origins == {"human": 40 * 30, "reviewed": 0, "rejected": 0}
    assert run("stats", tmp_path / "tiles") == 0


def test_tiles_without_pixels_are_drawn_the_same(project: Project, tmp_path: Path) -> None:
    act(project)
    export(open_project(project.path), tmp_path / "tiles", replace(SETTINGS, store="none"))
    assert np.array_equal(whole_mask(tmp_path / "tiles"), expected())


def test_the_class_unsure_is_unknown_and_options_that_contradict_are_refused(project: Project, tmp_path: Path) -> None:
    entry = project.entries[0]
    region = Annotation(geometry=REVIEWED, path_class=PathClass(("Reviewed",)))
    doubt = Annotation(geometry=box(0, 100, 10, 10), path_class=PathClass((UNSURE_CLASS,)))
    entry.replace_objects(remove=(), add=[region, doubt])
    export(open_project(project.path), tmp_path / "tiles")
    mask = whole_mask(tmp_path / "tiles")
    assert (mask[100:110, :10] == IGNORE).all()
    assert (mask[100:110, 10:100] == 0).all()
    for wrong in ({"with_predictions": True}, {"unannotated": "background"}):
        with pytest.raises(ConfigError, match="--reviewed"):
            replace(SETTINGS, **wrong)


def test_what_is_unsure_is_no_ground_truth(project: Project) -> None:
    act(project)
    objects = open_project(project.path).entries[0].objects()
    truth = ground_truth(objects, default_label_map(CLASSES), run="another")
    (unsure,) = truth.unknown
    assert unsure.geometry.equals(PREDICTED["unsure"])
    assert truth.origins["unsure from run run-1, left out"] == 1
    assert unsure not in truth.objects
