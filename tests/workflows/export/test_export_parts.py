"""The parts of an export one by one: the plan, one slide, the jobs, what is said about it."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from small_project import HEIGHT, STROMA, TUMOR, WIDTH, small_project

from qpkit.core.annotation import Annotation, PathClass
from qpkit.core.labels import LabelClass, LabelMap
from qpkit.core.provenance import provenance
from qpkit.dataset.counts import single_value
from qpkit.dataset.record import TileRecord
from qpkit.dataset.splits import SplitRule
from qpkit.errors import ConfigError, FormatError, LabelError, ProjectError
from qpkit.ops.masks.paint_order import PaintAudit
from qpkit.ops.masks.pixel_counts import PixelCounts
from qpkit.progress import Ticker, no_progress
from qpkit.workflows.export.jobs import SlideJob, finished, forget_progress, run_slide, run_slides, tick_slide
from qpkit.workflows.export.notes import notes_on_slides
from qpkit.workflows.export.plan import ExportPlan, plan_export, versions
from qpkit.workflows.export.settings import ExportSettings
from qpkit.workflows.export.slide import SlideExport, SlideReport, drawable, snapshot_path
from qpkit.workflows.inputs.slides import SlideInput, project_classes, slide_inputs
from qpkit.workflows.inputs.tissue_rule import TissueRule
from table_of_tiles import LABELS

SETTINGS = ExportSettings(tile_size=64, tissue=TissueRule("none", 0))


@pytest.fixture
def inputs(tmp_path: Path) -> list[SlideInput]:
    """Slides a, b and c; nobody annotated c."""
    return slide_inputs([small_project(tmp_path, [(TUMOR, STROMA), (TUMOR,), ()]).path])


def planned(inputs: list[SlideInput], settings: ExportSettings = SETTINGS) -> ExportPlan:
    return plan_export(inputs, settings, [PathClass(("Tumor",)), PathClass(("Stroma",))])


# Notes

AUDIT = PaintAudit(drawn={}, unlisted={}, without_area=0, other_plane=0, mended=0, outside=0)


def report(name: str = "s", **changes: object) -> SlideReport:
    values: dict[str, object] = {
        "name": name, "reader": "tiff", "downsample": 1.0, "tiles_in_grid": 4, "tiles_kept": 2, "dropped": {},
        "unread": 0, "pixels": {1: 5, 2: 5}, "dropped_pixels": {}, "tally": PixelCounts(), "audit": AUDIT,
        "predictions_left_out": 0, "reviewed_predictions": 0, "recognised_by_name": 0, "detections": 0,
        "annotations_left_out": 0,
        "tissue_fraction": 1.0, "pen_fraction": 0.0, "dark_fraction": 0.0, "tissue_picture": "", "seconds": 1.0,
    }  # fmt: skip
    return SlideReport(**(values | changes))  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.sampled_from([0.25, 0.9995, 1.0, 4.0]), st.integers(0, 2)), min_size=1, max_size=4))
def test_enlarged_slides_and_an_export_without_tiles_are_told(slides: list[tuple[float, int]]) -> None:
    reports = [report(f"s{n}", downsample=d, tiles_kept=kept) for n, (d, kept) in enumerate(slides)]
    notes = notes_on_slides(reports, LABELS)
    enlarged = [f"s{n}: enlarged 4 times" for n, (d, _) in enumerate(slides) if d == 0.25]
    assert [note.partition(",")[0] for note in notes if "enlarged" in note] == enlarged
    assert any("NO TILE WAS KEPT" in note for note in notes) == (not any(kept for _, kept in slides))
    assert len(notes) == len(enlarged) + (not any(kept for _, kept in slides))


def test_a_class_that_is_nowhere_and_one_that_only_glass_shows_are_told_apart() -> None:
    empty = replace(AUDIT, empty=("Tumor", "Stroma"))
    one = report(audit=empty, pixels={0: 3})
    other = report(audit=replace(AUDIT, empty=("Tumor",)), pixels={0: 3}, dropped_pixels={2: 1234})
    assert notes_on_slides([one, other], LABELS)[1:] == [
        "nothing was drawn of 'Tumor' on any slide",
        "there are objects, but no tile shows 'Stroma' (1,234 px in glass tiles)",
    ]
    assert notes_on_slides([report(pixels={0: 1, 1: 1})], LABELS) == [
        "there are objects, but no tile shows 'Stroma' (not a pixel)"
    ]


@given(st.dictionaries(st.sampled_from([0, 1, 2, 255]), st.integers(0, 3)))
def test_masks_of_a_single_value_are_told_in_export_and_in_training(pixels: dict[int, int]) -> None:
    known = [value for value in (0, 1, 2) if pixels.get(value)]
    told = [note for note in notes_on_slides([report(pixels=pixels)], LABELS) if note.startswith("EVERY LABELLED")]
    assert told == ([single_value(pixels, LABELS)] if len(known) == 1 else [])
    if told:
        assert repr(LABELS.name_of(known[0])) in told[0]


# Plan


def test_a_plan_has_a_job_for_each_annotated_slide_and_its_grid_covers_it(inputs: list[SlideInput]) -> None:
    plan = planned(inputs)
    assert [job.item.source.name for job in plan.jobs] == ["a.tif", "b.tif"] and plan.skipped == ("c.tif",)
    assert [(item.name, item.value) for item in plan.labels.classes] == [("Tumor", 1), ("Stroma", 2)]
    for job in plan.jobs:
        assert (job.grid.slide_width, job.grid.slide_height, job.grid.downsample) == (WIDTH, HEIGHT, 1.0)
        assert len(job.grid) == math.ceil(WIDTH / 64) * math.ceil(HEIGHT / 64)
    assert len({job.stem for job in plan.jobs}) == 2
    assert planned(inputs, replace(SETTINGS, mpp=1.0)).jobs[0].grid.downsample == 2.0
    assert planned(inputs, replace(SETTINGS, downsample=3.0)).jobs[0].grid.downsample == 3.0
    assert set(versions()) >= {"qpkit", "python", "numpy", "shapely"}


def test_two_plans_have_one_hash_only_if_they_write_the_same(inputs: list[SlideInput]) -> None:
    before = planned(inputs).job
    assert planned(list(inputs)).job == before == planned(inputs, replace(SETTINGS, labels=LABELS)).job
    others = [
        planned(inputs[:1]),
        planned(inputs[::-1]),
        planned(inputs, replace(SETTINGS, overlap=8)),
        planned(inputs, replace(SETTINGS, seed=1)),
        planned(inputs, replace(SETTINGS, unannotated="ignore")),
        planned(inputs, replace(SETTINGS, labels=replace(LABELS, ignore=9))),
        planned([replace(inputs[0], metadata={"Split": "test"}), *inputs[1:]]),
    ]
    assert len({before, *(plan.job for plan in others)}) == 1 + len(others)
    entry = inputs[1].entry
    assert entry is not None
    entry.replace_objects(remove=[], add=[STROMA])
    assert planned(inputs).job not in {before, *(plan.job for plan in others)}


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"split": SplitRule("patient", "Nobody")}, ConfigError, "a.tif: no metadata 'Nobody'"),
        ({"split": SplitRule("metadata", "Patient")}, ConfigError, "not train, val or test"),
        ({"z": 1}, FormatError, "a.tif: there is no plane z 1"),
        ({"tissue": TissueRule.parse("class:Glass")}, ConfigError, "no object of any slide is of that class"),
        (
            {"labels": LabelMap(classes=(LabelClass("X", 1, ("X",)),))},
            LabelError,
            "no object has class 'X', there are 'Stroma', 'Tumor'",
        ),
    ],
)
def test_what_cannot_work_is_said_before_the_first_tile(
    inputs: list[SlideInput], changes: dict[str, object], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        planned(inputs, replace(SETTINGS, **changes))  # type: ignore[arg-type]


def test_slides_without_annotations_or_um_are_refused(inputs: list[SlideInput]) -> None:
    with pytest.raises(ProjectError, match="none of 1 slides has an annotation"):
        planned(inputs[2:])
    bare = replace(inputs[0], info=replace(inputs[0].info, mpp=None))
    with pytest.raises(FormatError, match="no um/px known for a"):
        planned([bare])
    um = replace(LABELS, line_width_um=2.0)
    with pytest.raises(LabelError, match=r"no um/px is known for a\.tif"):
        planned([bare], replace(SETTINGS, downsample=1.0, labels=um))


# One slide


def test_tiles_and_pixels_of_a_slide_are_all_accounted_for(inputs: list[SlideInput], tmp_path: Path) -> None:
    job = planned(inputs, replace(SETTINGS, only_annotated=True, split=SplitRule("patient", "Patient"))).jobs[0]
    ticks: list[str] = []
    export = SlideExport(job.item, job.grid, job.labels, job.settings)
    found = export.run(tmp_path / "out", job.stem, ticks.append)
    assert len(ticks) == found.tiles_in_grid == found.tiles_kept + sum(found.dropped.values())
    assert found.tiles_kept == len(export.records) < found.tiles_in_grid
    pixels: Counter[int] = Counter()
    for record in export.records:
        pixels.update(record.pixels)
        assert sum(record.pixels.values()) == 64 * 64
        assert (record.group, record.slide, record.mpp) == ("a.tif", "a.tif", 0.5)
        assert (tmp_path / "out" / record.image).is_file() and (tmp_path / "out" / record.mask).is_file()
    assert found.pixels == pixels and found.tally.values == pixels
    assert (pixels[1], pixels[2]) == (TUMOR.geometry.area, STROMA.geometry.area)
    assert found.tally.sources == {"Tumor": {"Tumor": pixels[1]}, "Stroma": {"Stroma": pixels[2]}}
    assert (tmp_path / "out" / found.tissue_picture).is_file()


def test_what_is_drawn_leaves_out_untouched_predictions_and_what_only_says_where_tissue_is() -> None:
    made = replace(TUMOR, metadata=provenance("r", "m", "Tumor", TUMOR.geometry))
    moved = replace(made, geometry=shapely.box(0, 0, 9, 9))
    cell = replace(TUMOR, kind="cell")
    objects = [TUMOR, made, moved, cell, STROMA]
    assert drawable(objects, SETTINGS) == ([TUMOR, moved, STROMA], [made])
    assert drawable(objects, replace(SETTINGS, with_predictions=True)) == ([TUMOR, made, moved, STROMA], [])
    by_class = replace(SETTINGS, tissue=TissueRule.parse("class:Stroma"))
    assert drawable(objects, by_class) == ([TUMOR, moved], [made])
    assert drawable(objects, replace(by_class, labels=LABELS)) == ([TUMOR, moved, STROMA], [made])
    assert snapshot_path("a") == "annotations/a.parquet"


def test_a_shape_that_cannot_be_drawn_is_told_with_its_slide(inputs: list[SlideInput]) -> None:
    job = planned(inputs).jobs[0]
    with pytest.raises(LabelError, match=r"^a\.tif: class 'Stroma' is not in the label map"):
        only = LabelMap(classes=(LabelClass("Tumor", 1, ("Tumor",)),), unlisted="error")
        SlideExport(job.item, job.grid, only, job.settings)


# Jobs


def files_in(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def plain(records: list[TileRecord]) -> list[TileRecord]:
    return [replace(record, pixels=dict(record.pixels)) for record in records]


def test_a_slide_that_is_done_is_not_done_again(inputs: list[SlideInput], tmp_path: Path) -> None:
    root = tmp_path / "out"
    root.mkdir()
    jobs = planned(inputs).jobs
    assert [finished(job, root) for job in jobs] == [None, None]
    told: list[tuple[int, int, str]] = []
    tick = Ticker(sum(len(job.grid) for job in jobs), lambda *step: told.append(step))
    first = list(run_slides(jobs, root, workers=1, tick=tick))
    total = sum(len(job.grid) for job in jobs)
    assert told[-1] == (total, total, "b.tif") and [step[0] for step in told] == list(range(1, total + 1))
    before = files_in(root)
    second = list(run_slides(jobs, root, workers=1, tick=Ticker(total, no_progress)))
    assert files_in(root) == before
    for one, other, job in zip(first, second, jobs, strict=True):
        assert plain(one.records) == plain(other.records) and one.failure == other.failure == ""
        assert other.report is not None and one.report is not None
        assert (one.report.tiles_kept, one.report.pixels) == (other.report.tiles_kept, other.report.pixels)
        assert finished(job, root) == other
    forget_progress(root)
    assert [finished(job, root) for job in jobs] == [None, None]
    assert set(files_in(root)) == {name for name in before if not name.startswith(".")}


def test_a_slide_that_cannot_be_read_leaves_no_file_and_says_why(inputs: list[SlideInput], tmp_path: Path) -> None:
    root = tmp_path / "out"
    root.mkdir()
    broken, whole = planned(inputs).jobs
    broken.item.source.path.write_bytes(b"no slide any more")
    result = run_slide(broken, root, None)
    assert (result.name, result.report, result.records) == ("a.tif", None, [])
    assert "cannot be opened as a slide" in result.failure
    assert [name for name in files_in(root) if not name.startswith(".done")] == []
    good = run_slide(whole, root, None)
    assert len(good.records) == len(whole.grid) and good.failure == ""
    assert all((root / record.image).is_file() for record in good.records)


def test_all_tiles_of_a_slide_are_counted_at_once(inputs: list[SlideInput]) -> None:
    job: SlideJob = planned(inputs).jobs[0]
    told: list[tuple[int, int, str]] = []
    tick_slide(job, Ticker(99, lambda *step: told.append(step)))
    assert told == [(n, 99, "a.tif") for n in range(1, len(job.grid) + 1)]


def test_objects_of_the_plan_are_those_of_the_project(inputs: list[SlideInput]) -> None:
    entry = inputs[0].entry
    assert entry is not None
    classes = project_classes([entry.project_path])
    assert [str(item) for item in classes] == ["Tumor", "Stroma"]
    objects: list[Annotation] = inputs[0].objects()
    assert [np.isclose(a.geometry.area, b.geometry.area) for a, b in zip(objects, (TUMOR, STROMA), strict=True)] == [
        True
    ] * 2
