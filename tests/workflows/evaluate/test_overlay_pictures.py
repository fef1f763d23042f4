"""What a picture of a prediction shows: the slide whole, and places of its annotations that do not overlap."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from predictions_made_up import predict_truth
from small_project import HEIGHT, STROMA, TUMOR, WIDTH, small_project

from qpkit.core.annotation import Annotation, PathClass
from qpkit.core.labels import LabelClass, LabelMap
from qpkit.slides import open_slide
from qpkit.workflows.evaluate import overlay
from qpkit.workflows.inputs.slides import slide_inputs

LABELS = LabelMap(
    classes=(LabelClass("Tumor", 1, ("Tumor",)), LabelClass("Stroma", 2, ("Stroma",))),
    regions=("Region*",),
    ignored=("Ignore*",),
)
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def named(name: str | None, box: tuple[float, float, float, float]) -> Annotation:
    return Annotation(geometry=shapely.box(*box), path_class=None if name is None else PathClass((name,)))


def test_regions_are_of_interest_before_classes_and_ignored_areas_never() -> None:
    region, other = named("Region*", (0, 0, 9, 9)), named("Other", (0, 0, 5, 5))
    rest = [TUMOR, named("Ignore*", (1, 1, 2, 2)), other, named(None, (0, 0, 3, 3)), STROMA]
    assert overlay.annotations_of_interest(rest, LABELS) == [TUMOR.geometry, STROMA.geometry]
    assert overlay.annotations_of_interest([*rest, region], LABELS) == [region.geometry]
    assert overlay.annotations_of_interest([other], LABELS) == []


def test_panels_show_pixels_truth_and_prediction_of_the_same_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = small_project(tmp_path, [(TUMOR, STROMA)])
    made = predict_truth(project.path, tmp_path / "predictions", LABELS, entries=(1,), downsample=1.0)
    (item,) = slide_inputs([project.path])
    seen: dict[str, Any] = {}

    def save(panels: Any, labels: LabelMap, path: Path, *, zooms: Any) -> None:
        seen.update(panels=panels, labels=labels, path=path, zooms=zooms)

    monkeypatch.setattr(overlay, "save_overlay", save)
    monkeypatch.setattr(overlay, "WHOLE_PX", WIDTH)
    overlay.write_overlay(made, made.slides[0], item, LABELS, tmp_path / "a.png")
    whole, *zooms = seen["panels"]
    assert (whole.title, whole.um_per_px, whole.image.shape) == ("a.tif", 0.5, (HEIGHT, WIDTH, 3))
    assert np.array_equal(whole.truth, whole.predicted)
    assert (whole.truth == 1).sum() == TUMOR.geometry.area and (whole.truth == 2).sum() == STROMA.geometry.area
    with open_slide(item.source.path) as slide:
        assert np.array_equal(whole.image, slide.thumbnail(WIDTH))
    boxes = [shapely.box(x * WIDTH, y * HEIGHT, (x + w) * WIDTH, (y + h) * HEIGHT) for x, y, w, h in seen["zooms"]]
    assert len(zooms) == len(boxes) == 1 and boxes[0].contains(STROMA.geometry)
    assert zooms[0].title == "(1)" and max(zooms[0].image.shape) == overlay.ZOOM_PX


def test_zooms_lie_round_the_largest_annotations_and_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spots = [named("Tumor", (3000 * k, 3000, 3000 * k + 100 + 10 * k, 3200)) for k in range(5)]
    near = named("Tumor", (12_100, 3300, 12_110, 3310))
    project = small_project(tmp_path, [(*spots, near)])
    made = predict_truth(project.path, tmp_path / "predictions", LABELS, entries=(1,), downsample=4.0)
    (item,) = slide_inputs([project.path])
    seen: dict[str, Any] = {}
    monkeypatch.setattr(overlay, "save_overlay", lambda panels, labels, path, *, zooms: seen.update(zooms=zooms))
    overlay.write_overlay(made, made.slides[0], item, LABELS, tmp_path / "a.png")
    boxes = [shapely.box(x * WIDTH, y * HEIGHT, (x + w) * WIDTH, (y + h) * HEIGHT) for x, y, w, h in seen["zooms"]]
    assert [box.contains(spot.geometry) for box, spot in zip(boxes, spots[:1:-1], strict=True)] == [True] * 3
    assert len(boxes) == overlay.MAX_ZOOMS
    assert not any(one.intersects(other) for one in boxes for other in boxes if one is not other)


def test_the_picture_is_written(tmp_path: Path) -> None:
    project = small_project(tmp_path, [(TUMOR, STROMA)])
    made = predict_truth(project.path, tmp_path / "predictions", LABELS, entries=(1,), downsample=2.0)
    (item,) = slide_inputs([project.path])
    overlay.write_overlay(made, made.slides[0], item, LABELS, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
