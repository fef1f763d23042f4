from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import shapely
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from qpkit.core.annotation import Annotation, PathClass, Plane, argb
from qpkit.core.labels import LabelClass, LabelMap, parse_label_map
from qpkit.errors import ConfigError, FormatError, LabelError, ProjectError
from qpkit.formats.plugins import label_image
from qpkit.formats.shared import drawn_labels
from qpkit.formats.shared.drawing import Choices, Drawing, ImageFacts
from qpkit.formats.shared.label_place import ASSUMED, FROM_FILE, FROM_NAME, FROM_SIZE
from qpkit.formats.shared.label_table import label_table_text, read_label_table, sidecar
from strategies import label_rasters

BCSS = "label\tGT_code\noutside_roi\t0\ntumor\t1\nstroma\t2\n"
LABELS = LabelMap(
    classes=(LabelClass("tumor", 1, ("tumor",), argb(255, 0, 0)), LabelClass("stroma", 2, ("stroma",), argb(0, 255, 0)))
)


def put_png(path: Path, pixels: NDArray[np.uint8]) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def read(path: Path, *, image: ImageFacts | None = None, **choices: object) -> Drawing:
    (found,) = label_image.read(path, image or ImageFacts(), Choices(**{"labels": LABELS, **choices}))  # type: ignore[arg-type]  # a test's shorthand
    return found


@pytest.mark.parametrize("ending", ["png", "tif"])
@settings(max_examples=20)
@given(label_rasters(), st.sampled_from([1.0, 2.0, 3.7]), st.sampled_from([(0.0, 0.0), (120.0, 40.5)]))
def test_reading_what_was_drawn_and_drawing_what_was_read_gives_the_same_pixels(
    ending: str, mask: NDArray[np.uint8], downsample: float, offset: tuple[float, float]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = put_png(Path(folder) / "a.png", mask)
        found = read(path, downsample=downsample, offset=offset)
        height, width = mask.shape
        size = ImageFacts(width=round(offset[0] + width * downsample), height=round(offset[1] + height * downsample))
        again = Path(folder) / f"again.{ending}"
        choices = Choices(labels=LABELS, downsample=downsample, offset=offset)
        label_image.write(again, [Drawing(objects=found.objects, image=size)], choices)
        drawn = tifffile.imread(again) if ending == "tif" else np.asarray(Image.open(again))
        assert np.array_equal(drawn[:height, :width], mask)
        second = read(again)
        assert [o.geometry.wkt for o in second.objects] == [o.geometry.wkt for o in found.objects]
        assert second.notes == {FROM_FILE: 1}


def test_values_and_colours_without_a_name_are_listed_with_their_pixels(tmp_path: Path) -> None:
    pixels = np.array([[0, 1, 7], [7, 7, 2]], dtype=np.uint8)
    found = read(put_png(tmp_path / "a.png", pixels), offset=(0, 0), downsample=1)
    assert found.notes == {"pixels of value 7, which the labels do not name, left out": 3}
    assert Counter(o.class_name for o in found.objects) == {"tumor": 1, "stroma": 1}
    rgb = np.zeros((2, 3, 3), dtype=np.uint8)
    rgb[0, 0], rgb[1, 1] = (255, 0, 0), (1, 2, 3)
    found = read(put_png(tmp_path / "rgb.png", rgb), offset=(0, 0), downsample=1)
    assert found.notes == {"pixels of colour #010203, which the labels do not name, left out": 1}
    assert [(o.class_name, o.geometry.bounds, o.shape) for o in found.objects] == [("tumor", (0, 0, 1, 1), "rectangle")]


def test_pixels_that_mean_ignore_are_listed_and_an_image_of_nothing_else_is_refused(tmp_path: Path) -> None:
    mask = np.zeros((6, 6), np.uint8)
    mask[:2] = 255
    with pytest.raises(FormatError, match=r"no pixel has a class: pixels of value 255, .* left out: 12"):
        read(put_png(tmp_path / "a.png", mask))
    mask[5] = 1
    assert (
        read(put_png(tmp_path / "b.png", mask)).notes["pixels of value 255, which the labels call ignore, left out"]
        == 12
    )
    assert read(put_png(tmp_path / "c.png", np.zeros((6, 6), np.uint8))).objects == ()


def test_a_palette_names_its_entries_by_number_and_colour(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 3]], dtype=np.uint8))
    image.putpalette([0, 0, 0, 1, 1, 1, 2, 2, 2, 10, 20, 30])
    image.save(tmp_path / "a.png")
    found = read(tmp_path / "a.png", labels=None, offset=(0, 0), downsample=1)
    assert [o.path_class for o in found.objects] == [PathClass(("3",), argb(10, 20, 30))]
    assert found.notes == {label_image.NUMBERED: 1}


def test_grey_values_without_labels_are_never_guessed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--labels"):
        read(put_png(tmp_path / "a.png", np.zeros((2, 2), np.uint8)), labels=None)
    with pytest.raises(FormatError, match="single objects"):
        tifffile.imwrite(tmp_path / "n.tif", np.full((2, 2), 300, np.uint16))
        read(tmp_path / "n.tif")
    with pytest.raises(FormatError, match="no label image"):
        tifffile.imwrite(tmp_path / "f.tif", np.zeros((2, 2), np.float32))
        read(tmp_path / "f.tif")
    with pytest.raises(FormatError, match="not an image"):
        (tmp_path / "bad.png").write_bytes(b"\x89PNG no")
        read(tmp_path / "bad.png")
    with pytest.raises(ProjectError):
        read(tmp_path / "gone.png")


ONE = np.ones((100, 200), np.uint8)


@pytest.mark.parametrize(
    ("name", "image", "choices", "bounds", "note"),
    [
        ("TCGA-A_xmin5000_ymin700_MPP-0.2500.png", ImageFacts(mpp=0.25), {}, (5000, 700, 5200, 800), FROM_NAME),
        ("TCGA-A_xmin5000_ymin700_MPP-0.5000.png", ImageFacts(mpp=0.25), {}, (5000, 700, 5400, 900), FROM_NAME),
        ("104S_[1000, 2000, 1400, 2200].png", ImageFacts(), {}, (1000, 2000, 1400, 2200), FROM_NAME),
        ("T_left-59_top-33_bottom-1_mag-BASE.png", ImageFacts(), {}, (59, 33, 259, 133), FROM_NAME),
        ("S [d=4,x=8,y=16,w=800,h=400].png", ImageFacts(), {}, (8, 16, 808, 416), FROM_NAME),
        ("S [x=8,y=16,w=200,h=100]-labelled.png", ImageFacts(), {}, (8, 16, 208, 116), FROM_NAME),
        ("whole.png", ImageFacts(width=799, height=400), {}, (0, 0, 800, 400), FROM_SIZE),
        ("plain.png", ImageFacts(), {}, (0, 0, 200, 100), ASSUMED),
        ("104S_[1, 2, 201, 102].png", ImageFacts(), {"offset": (7.0, 9.0), "downsample": 2.0}, (7, 9, 407, 209), None),
    ],
)
def test_the_place_comes_from_the_user_the_name_or_the_size(
    tmp_path: Path,
    name: str,
    image: ImageFacts,
    choices: dict[str, object],
    bounds: tuple[float, ...],
    note: str | None,
) -> None:
    found = read(put_png(tmp_path / name, ONE), image=image, **choices)
    assert found.objects[0].geometry.bounds == bounds
    assert set(found.notes) == ({note} if note else set())


def test_a_name_with_um_per_px_needs_those_of_the_slide(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--mpp"):
        read(put_png(tmp_path / "A_xmin5_ymin7_MPP-0.25.png", ONE))


def test_tables_of_bcss_and_histomicstk_are_read(tmp_path: Path) -> None:
    path = tmp_path / "gtruth_codes.tsv"
    path.write_text(BCSS)
    labels = read_label_table(path)
    assert [(c.name, c.value) for c in labels.classes] == [("tumor", 1), ("stroma", 2)]
    path = tmp_path / "GTcodes.csv"
    path.write_text('group,overlay_order,GT_code,color\nb,2,5,"rgb(255,125,0)"\na,1,255,"rgb(0,0,255)"\n')
    labels = read_label_table(path)
    assert [(c.name, c.value, c.color) for c in labels.classes] == [
        ("a", 255, argb(0, 0, 255)),
        ("b", 5, argb(255, 125, 0)),
    ]
    assert labels.ignore == 254


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,2\n",
        "label,GT_code\nx,one\n",
        "label,GT_code\nx,1\ny,1\n",
        "",
        "label\tGT_code\nx\t999\n",
        "label,value,overlay_order\nx,1,top\n",
    ],
)
def test_bad_tables_are_said_with_their_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "codes.csv"
    path.write_text(text)
    with pytest.raises(LabelError, match=r"codes\.csv"):
        read_label_table(path)


def test_the_labels_beside_an_image_are_read_with_it(tmp_path: Path) -> None:
    odd = LabelMap(classes=(LabelClass('Ödem "x"\n\x7f', 3, ("a", "b"), argb(1, 2, 3)), LabelClass("t", 1, ("t",))))
    assert parse_label_map(label_table_text(odd), source="here") == odd
    objects = (Annotation(geometry=shapely.box(0, 0, 2, 2), path_class=PathClass(("a",))),)
    image = ImageFacts(width=4, height=4)
    label_image.write(tmp_path / "a.png", [Drawing(objects=objects, image=image)], Choices(labels=LABELS))
    assert read_label_table(sidecar(tmp_path / "a.png")) == LABELS
    assert read(tmp_path / "a.png", labels=None).objects == ()


def test_what_a_label_image_cannot_hold_is_counted(tmp_path: Path) -> None:
    tumor = PathClass(("tumor",))
    objects = (
        Annotation(geometry=shapely.box(0, 0, 2, 2), path_class=tumor, name="n", locked=True),
        Annotation(geometry=shapely.Point(1, 1), path_class=tumor, shape="points"),
        Annotation(geometry=shapely.box(0, 0, 2, 2), path_class=PathClass(("other",))),
        Annotation(geometry=shapely.box(0, 0, 2, 2), path_class=tumor, plane=Plane(z=3)),
        Annotation(geometry=shapely.Polygon([(0, 0), (4, 4), (4, 0), (0, 4)]), path_class=tumor),
    )
    drawing = Drawing(objects=objects, image=ImageFacts(width=4, height=4))
    losses = label_image.write(tmp_path / "a.png", [drawing], Choices(labels=LABELS))
    assert losses == {
        "names left out": 1,
        "locks left out": 1,
        "planes (z, t, channel) left out": 1,
        "objects without an area (lines, points, empty ones) left out": 1,
        f"{drawn_labels.UNLISTED} (other)": 1,
        "objects on other planes than the first left out": 1,
        drawn_labels.AS_PIXELS: 2,
        "invalid shapes mended": 1,
    }
    with pytest.raises(ConfigError, match="--size"):
        label_image.write(tmp_path / "b.png", [Drawing(objects=objects)], Choices(labels=LABELS))
    with pytest.raises(ConfigError, match="--labels"):
        label_image.write(tmp_path / "b.png", [drawing], Choices())


def test_a_real_mask_is_traced_as_another_program_traced_it(shared: Path) -> None:
    folder = shared / "data" / "pairs" / "histomicstk-breast-mask"
    (path,) = folder.glob("*.png")
    found = read(path, labels=read_label_table(folder / "sample_GTcodes.csv"))
    pixels = np.asarray(Image.open(path))
    place = (59206, 33505)
    areas: Counter[str] = Counter()
    for item in found.objects:
        areas[str(item.class_name)] += round(item.geometry.area)
    codes = {1: "mostly_tumor", 2: "mostly_stroma", 3: "mostly_lymphocytic_infiltrate", 18: "blood_vessel"}
    assert {name: areas[name] for name in codes.values()} == {
        name: int((pixels == v).sum()) for v, name in codes.items()
    }
    bounds = shapely.total_bounds([o.geometry for o in found.objects])
    assert bounds[0] >= place[0]
    assert bounds[1] >= place[1]
