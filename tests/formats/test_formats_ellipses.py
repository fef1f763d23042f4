"""An ellipse is written as one as long as it is one."""

from __future__ import annotations

from pathlib import Path

import pytest
import shapely
from format_strategies import IMAGE, runnable

from qpkit.core.annotation import Annotation, RoiShape
from qpkit.core.geometry import ellipse
from qpkit.formats.format import Format
from qpkit.formats.registry import named
from qpkit.formats.shared.cannot_hold import features_of
from qpkit.formats.shared.drawing import Choices, Drawing
from qpkit.workflows.convert.formats import ALL_FORMATS

WHOLE = ellipse(1000, 1000, 2000, 1500)
BITTEN = WHOLE.difference(shapely.box(1450, 1480, 1550, 1510))
HOLED = WHOLE.difference(ellipse(1400, 1200, 1600, 1300))
HOLDING = [item for item in ALL_FORMATS if not {"ellipse", "holes"} & set(item.cannot_hold) and not item.needs_labels]


def there_and_back(format_: Format, geometry: shapely.Polygon, folder: Path) -> tuple[Annotation, dict[str, int]]:
    path = folder / f"x{format_.suffixes[0]}"
    item = Annotation(geometry=geometry, shape="ellipse")
    losses = format_.write(path, [Drawing(objects=(item,), image=IMAGE)], Choices())
    (found,) = format_.read(path, IMAGE, Choices())
    (back,) = found.objects
    return back, dict(losses)


def test_the_formats_that_hold_ellipses_are_all_here() -> None:
    assert {"geojson", "qpdata", "imagescope", "halo", "darwin"} < {item.name for item in HOLDING}


@pytest.mark.parametrize("format_", runnable(HOLDING), ids=lambda item: item.name)
def test_an_ellipse_stays_one(format_: Format, tmp_path: Path) -> None:
    found, losses = there_and_back(format_, WHOLE, tmp_path)
    assert (found.shape, found.geometry.bounds, losses) == ("ellipse", WHOLE.bounds, {})
    assert found.geometry.normalize().equals_exact(WHOLE.normalize(), 1e-9)


@pytest.mark.parametrize("format_", runnable(HOLDING), ids=lambda item: item.name)
@pytest.mark.parametrize("edited", [BITTEN, HOLED], ids=["bitten", "holed"])
def test_an_edited_ellipse_keeps_its_edit(format_: Format, edited: shapely.Polygon, tmp_path: Path) -> None:
    """The bite is less than 1 % of the area, so the area alone would not tell."""
    found, _ = there_and_back(format_, edited, tmp_path)
    tolerance = 1.0 if format_.name == "halo" else 0.01  # whole px
    assert len(found.geometry.interiors) == len(edited.interiors)
    assert shapely.hausdorff_distance(found.geometry, edited) <= tolerance


def test_what_is_written_as_a_polygon_anyway_does_not_count_as_an_ellipse_lost() -> None:
    shapes: list[tuple[shapely.Polygon, RoiShape]] = [(WHOLE, "ellipse"), (BITTEN, "ellipse"), (WHOLE, "polygon")]
    assert ["ellipse" in features_of(Annotation(geometry=g, shape=s)) for g, s in shapes] == [True, False, False]


def test_halo_counts_the_corners_of_an_edited_ellipse_that_it_rounds(tmp_path: Path) -> None:
    halo = named("halo", ALL_FORMATS)
    _, losses = there_and_back(halo, HOLED, tmp_path)
    assert losses == {"objects rounded to whole px": 1}
