from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from pycocotools import mask as oracle

from qpkit.core.annotation import Annotation, PathClass
from qpkit.errors import ConfigError, FormatError
from qpkit.formats.plugins import coco
from qpkit.formats.shared.drawing import Choices, Drawing, ImageFacts, Segmentation
from qpkit.formats.shared.run_lengths import pack, read_rle, unpack, write_rle


def decoded(record: dict[str, Any]) -> NDArray[np.uint8]:
    """What the reference makes of it (its arrays are of the time before NumPy 2)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return np.asarray(oracle.decode(record))


MASKS = st.tuples(st.integers(1, 20), st.integers(1, 20)).flatmap(
    lambda size: arrays(np.uint8, size, elements=st.integers(0, 1))
)


@given(st.lists(st.integers(0, 100_000), max_size=20))
def test_packed_counts_unpack_to_themselves(counts: list[int]) -> None:
    assert unpack(pack(counts), "here") == counts


@given(MASKS)
def test_run_lengths_of_the_reference_are_traced_pixel_for_pixel(mask: NDArray[np.uint8]) -> None:
    packed = oracle.encode(np.asfortranarray(mask))
    height, width = mask.shape
    record = {"size": [height, width], "counts": packed["counts"].decode()}
    geometry = read_rle(record, "here")
    assert geometry.area == mask.sum()
    again, pixels = write_rle(geometry, width=width, height=height) if mask.any() else ({}, 0)
    assert pixels == mask.sum()
    if mask.any():
        assert again == record
    plain = {"size": [height, width], "counts": unpack(record["counts"], "here")}
    assert read_rle(plain, "here").equals(geometry)


@given(MASKS)
def test_the_reference_decodes_what_we_write(mask: NDArray[np.uint8]) -> None:
    geometry = shapely.union_all([shapely.box(x, y, x + 1, y + 1) for y, x in np.argwhere(mask).tolist()])
    height, width = mask.shape
    if not geometry.is_empty:
        record, _ = write_rle(geometry, width=width, height=height)
        assert np.array_equal(decoded(record), mask)


def test_an_area_that_sticks_out_of_the_image_is_cut_at_its_edge() -> None:
    record, pixels = write_rle(shapely.box(-5, -5, 3, 2), width=6, height=4)
    assert (pixels, int(decoded(record).sum())) == (6, 6)
    assert write_rle(shapely.box(100, 100, 110, 110), width=6, height=4)[1] == 0


HOLED = Annotation(
    geometry=shapely.Polygon([(2, 2), (22, 2), (22, 22), (2, 22)], [[(8, 8), (8, 12), (12, 12), (12, 8)]]),
    shape="geometry",
    path_class=PathClass(("Tumor",), -65536),
    measurements={"score": 0.5},
    metadata={"iscrowd": "1"},
)
WHOLE = Annotation(geometry=shapely.box(1, 1, 4, 5), shape="rectangle")


def written(path: Path, segmentation: Segmentation, *images: ImageFacts) -> dict[str, Any]:
    drawings = [Drawing(objects=(HOLED, WHOLE), image=image) for image in images]
    coco.write(path, drawings, Choices(segmentation=segmentation))
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def test_only_what_has_holes_becomes_pixels_unless_told(tmp_path: Path) -> None:
    image = ImageFacts(name="a.svs", width=30, height=30)
    for segmentation, kinds in (("auto", [dict, list]), ("rle", [dict, dict]), ("polygon", [list, list])):
        document = written(tmp_path / "a.json", segmentation, image)  # type: ignore[arg-type]  # one of Segmentation
        assert [type(a["segmentation"]) for a in document["annotations"]] == kinds
        (found,) = coco.read(tmp_path / "a.json", ImageFacts(), Choices())
        assert [o.geometry.area for o in found.objects] == [20 * 20 - 16, 12]
        assert found.objects[0].geometry.equals(HOLED.geometry)
        assert found.objects[0].measurements == {"score": 0.5}
        assert found.objects[0].metadata == {"iscrowd": "1"}
        assert (found.image.name, found.image.width) == ("a.svs", 30)


def test_one_file_holds_many_images(tmp_path: Path) -> None:
    written(
        tmp_path / "a.json",
        "auto",
        ImageFacts(name="a", width=30, height=30),
        ImageFacts(name="b", width=40, height=40),
    )
    found = coco.read(tmp_path / "a.json", ImageFacts(mpp=0.5), Choices())
    assert [(d.image.name, d.image.mpp, len(d.objects)) for d in found] == [("a", 0.5, 2), ("b", 0.5, 2)]


def test_pixels_need_the_size_of_the_image(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--size"):
        written(tmp_path / "a.json", "auto", ImageFacts(name="a"))


def document(**annotation: Any) -> dict[str, Any]:
    base = {"id": 1, "image_id": 1, "category_id": 1}
    return {"images": [{"id": 1}], "categories": [{"id": 1, "name": "x"}], "annotations": [{**base, **annotation}]}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (document(segmentation=[[0, 0, 1, 0, 1]]), "annotation 0: a polygon is not a list"),
        (document(segmentation=[[0, 0, 1, 0, 1, None]]), "annotation 0: None is not a number"),
        (document(segmentation={"size": [2, 2], "counts": [1, 2]}), "do not fill 2 x 2"),
        (document(segmentation={"size": [2, 2], "counts": "\x01"}), "run lengths hold"),
        (document(segmentation={"size": [2], "counts": []}), "need a size"),
        (document(bbox=[1, 2, 3]), "neither a segmentation nor a bbox"),
        (document(category_id=9, bbox=[0, 0, 1, 1]), "no category with id 9"),
        (document(image_id=9, bbox=[0, 0, 1, 1]), "no image with id 9"),
        ({"annotations": 3}, "not COCO"),
    ],
)
def test_what_is_no_coco_is_said_with_its_place(tmp_path: Path, record: dict[str, Any], message: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(record))
    with pytest.raises(FormatError, match=message):
        coco.read(path, ImageFacts(), Choices())


def test_a_box_alone_is_a_rectangle_and_a_line_is_skipped_and_counted(tmp_path: Path) -> None:
    record = document(bbox=[10, 20, 5, 4])
    record["annotations"].append({"image_id": 1, "category_id": 1, "segmentation": [[0, 0, 5, 5]]})
    path = tmp_path / "box.json"
    path.write_text(json.dumps(record))
    (found,) = coco.read(path, ImageFacts(), Choices())
    assert [(o.shape, o.geometry.bounds) for o in found.objects] == [("rectangle", (10, 20, 15, 24))]
    assert sum(found.notes.values()) == 1
