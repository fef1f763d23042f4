"""Darwin's brush masks (pixels) are read as areas, pixel for pixel; items of several images as several."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from rasterio.features import rasterize

from qpkit.errors import ConfigError, FormatError
from qpkit.formats.plugins import coco, darwin
from qpkit.formats.shared.brush_masks import read_dense_rle
from qpkit.formats.shared.drawing import Choices, Drawing, ImageFacts
from qpkit.formats.shared.run_lengths import read_rle

NOTHING = ImageFacts()
TUMOR, STROMA = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"


def runs_of(pixels: Any) -> list[int]:
    """Pairs of a number and how many pixels have it, row by row."""
    flat = np.asarray(pixels).ravel()
    edges = [0, *(np.flatnonzero(np.diff(flat)) + 1).tolist(), len(flat)]
    return [n for a, b in itertools.pairwise(edges) for n in (int(flat[a]), b - a)]


def painted() -> Any:
    pixels = np.zeros((30, 40), dtype=np.uint8)
    pixels[5:15, 10:30] = 1
    pixels[20:25, 0:8] = 2
    return pixels


def layer(pixels: Any, ids: dict[str, int], **more: Any) -> dict[str, Any]:
    record = {"dense_rle": runs_of(pixels), "mask_annotation_ids_mapping": ids, "total_pixels": int(pixels.size)}
    return {"id": "3", "name": "__raster_layer__", "raster_layer": record, **more}


def document(*annotations: Any, width: int | None = 40, height: int = 30) -> dict[str, Any]:
    slot = {"slot_name": "0", "width": width, "height": height}
    return {"version": "2.0", "item": {"name": "a.tif", "slots": [slot]}, "annotations": list(annotations)}


def read(folder: Path, record: Any, image: ImageFacts = NOTHING) -> list[Drawing]:
    (folder / "a.json").write_text(json.dumps(record))
    return darwin.read(folder / "a.json", image, Choices())


MASKS = ({"id": TUMOR, "name": "Tumor", "mask": {}}, {"id": STROMA, "name": "Stroma", "mask": {}})


def test_masks_are_areas_along_pixel_edges_with_class_and_id(tmp_path: Path) -> None:
    (found,) = read(tmp_path, document(*MASKS, layer(painted(), {TUMOR: 1, STROMA: 2})))
    assert [(o.id, o.class_name, o.geometry.area, o.geometry.bounds) for o in found.objects] == [
        (TUMOR, "Tumor", 200, (10, 5, 30, 15)),
        (STROMA, "Stroma", 40, (0, 20, 8, 25)),
    ]
    assert not found.notes


def test_the_case_of_the_shared_data_is_read_as_it_says(shared: Path) -> None:
    (found,) = darwin.read(shared / "cases/brush-masks/a.json", ImageFacts(), Choices())
    assert [(o.class_name, o.geometry.area) for o in found.objects] == [("Tumor", 200), ("Stroma", 40)]
    assert not found.notes


def test_masks_without_pixels_and_pixels_without_a_mask_are_counted(tmp_path: Path) -> None:
    (found,) = read(tmp_path, document(*MASKS, layer(painted(), {TUMOR: 7, "gone": 2})))
    assert (found.objects, found.notes) == ((), {darwin.NO_PIXEL: 2, darwin.NO_ANNOTATION: 1, darwin.NOBODYS: 240})


def test_each_slot_is_an_image_of_its_own(tmp_path: Path) -> None:
    record = document()
    record["item"]["slots"] = [
        {"slot_name": "a", "width": 40, "height": 30, "source_files": [{"file_name": "one.tif"}]},
        {"slot_name": "b", "width": 30, "height": 40, "source_files": [{"file_name": "two.tif"}]},
    ]
    box = {"bounding_box": {"x": 1, "y": 2, "w": 3, "h": 4}}
    record["annotations"] = [
        {"name": "A", "slot_names": ["b"], **box},
        {"name": "B", "slot_names": ["c"], **box},
        {"name": "C", "slot_names": ["a", "b"], **box},
        {"name": "D", **box},
        {**MASKS[0], "slot_names": ["b"]},
        layer(painted().T, {TUMOR: 1}, slot_names=["b"]),
    ]
    one, two = read(tmp_path, record, ImageFacts(name="mine", mpp=0.5))
    assert [o.class_name for o in one.objects] == ["C", "D"]
    assert [o.class_name for o in two.objects] == ["A", "C", "Tumor"]
    assert two.objects[2].geometry.bounds == (5, 10, 15, 30)
    assert [(d.image.name, d.image.width, d.image.mpp) for d in (one, two)] == [
        ("one.tif", 40, 0.5),
        ("two.tif", 30, 0.5),
    ]
    assert (one.notes, two.notes) == ({darwin.STRANGE_SLOT: 1, darwin.ITEM_NAME: 1}, {darwin.NOBODYS: 40})
    for slot in record["item"]["slots"]:
        del slot["source_files"]
    assert [d.image.name for d in read(tmp_path, record)] == ["a.tif a", "a.tif b"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dense_rle": [1, 2, 3]}, "are not pairs"),
        ({"dense_rle": [1, -1200]}, "are not pairs"),
        ({"dense_rle": "abc"}, "are not pairs"),
        ({"dense_rle": [1, 1199]}, "1199 px do not fill 40 x 30 px"),
        ({"dense_rle": [256, 1200]}, "masks up to 256; at most 255"),
        ({"mask_annotation_ids_mapping": None}, "which annotation it is"),
    ],
)
def test_bad_masks_are_said_with_their_place(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    bad = layer(painted(), {TUMOR: 1})
    bad["raster_layer"].update(change)
    with pytest.raises(FormatError, match=f"annotation 2: .*{message}"):
        read(tmp_path, document(*MASKS, bad))


def test_masks_need_the_size_of_the_image(tmp_path: Path) -> None:
    record = document(*MASKS, layer(painted(), {TUMOR: 1, STROMA: 2}), width=None)
    with pytest.raises(ConfigError, match="a brush mask needs the image's size in px; state it with --size"):
        read(tmp_path, record)
    (found,) = read(tmp_path, record, ImageFacts(width=40, height=30))
    assert [o.geometry.area for o in found.objects] == [200, 40]


def test_masks_larger_than_any_slide_are_refused_before_a_pixel_is_laid_out(tmp_path: Path) -> None:
    huge = layer(painted(), {TUMOR: 1})
    huge["raster_layer"]["dense_rle"] = [1, 10**12]
    with pytest.raises(FormatError, match="larger than any slide"):
        read(tmp_path, document(*MASKS, huge, width=10**6, height=10**6))
    annotation = {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "segmentation": {"size": [10**6, 10**6], "counts": [0, 10**12]},
    }
    record = {"images": [{"id": 1}], "categories": [{"id": 1, "name": "A"}], "annotations": [annotation]}
    (tmp_path / "coco.json").write_text(json.dumps(record))
    with pytest.raises(FormatError, match="annotation 0: a mask of 1000000 x 1000000 px is larger than any slide"):
        coco.read(tmp_path / "coco.json", ImageFacts(), Choices())


@given(
    st.integers(1, 9).flatmap(
        lambda w: st.lists(st.lists(st.integers(0, 3), min_size=w, max_size=w), min_size=1, max_size=9)
    ),
    st.integers(1, 30),
)
def test_the_traced_areas_are_the_pixels_however_they_are_cut_into_strips(rows: list[list[int]], strip_px: int) -> None:
    pixels = np.array(rows, dtype=np.uint8)
    height, width = pixels.shape
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("qpkit.formats.shared.run_lengths._STRIP_PX", strip_px)
        found = read_dense_rle(runs_of(pixels), width=width, height=height, where="x")
        columns = runs_of(pixels.T == 1)
        counts = [*([0] if columns[0] else []), *columns[1::2]]
        one = read_rle({"size": [height, width], "counts": counts}, "x")
    drawn = rasterize([(area, number) for number, area in found.items()], pixels.shape) if found else pixels * 0
    assert np.array_equal(drawn, pixels)
    assert all(area.is_valid for area in found.values())
    assert shapely.equals(one, found.get(1, shapely.Polygon()))
