"""Label images in which every number is an object."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from qpkit.cli import main
from qpkit.errors import FormatError, LabelError
from qpkit.formats.plugins import label_image
from qpkit.formats.shared.drawing import Choices, ImageFacts
from qpkit.formats.shared.label_table import read_instance_classes
from qpkit.qupath import read_geojson


@given(
    arrays(np.int64, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 4)),
    st.sampled_from([np.uint8, np.uint16, np.int32, np.uint32]),
)
def test_every_number_is_one_object_of_as_many_pixels(
    tmp_path_factory: pytest.TempPathFactory, numbers: NDArray[np.int64], kind: type
) -> None:
    path = tmp_path_factory.mktemp("i") / "cells.tif"
    tifffile.imwrite(path, (numbers * (1 if kind is np.uint8 else 9000)).astype(kind))
    choices = Choices(instances={-1: "Nucleus"}, downsample=2.0, offset=(10.0, 20.0))
    (drawing,) = label_image.read(path, ImageFacts(), choices)
    found, counts = np.unique(numbers[numbers > 0], return_counts=True)
    assert [item.geometry.area for item in drawing.objects] == (counts * 4.0).tolist()
    assert {item.class_name for item in drawing.objects} <= {"Nucleus"}
    assert {item.kind for item in drawing.objects} <= {"detection"}
    assert all(item.geometry.is_valid for item in drawing.objects) and len(drawing.objects) == len(found)


def test_classes_come_from_a_table_or_are_one_for_all(tmp_path: Path) -> None:
    table = tmp_path / "SLIDE.csv"
    table.write_text("number,object,class,label,value\n1,a,Tumor,Tumor,1\n2,b,Stroma,Stroma,2\n", encoding="utf-8")
    tifffile.imwrite(tmp_path / "cells.tif", np.array([[1, 2, 3]], np.uint16))
    choices = Choices(instances=read_instance_classes(str(table)))
    (drawing,) = label_image.read(tmp_path / "cells.tif", ImageFacts(), choices)
    assert [item.class_name for item in drawing.objects] == ["Tumor", "Stroma", None]
    assert drawing.notes["objects whose number the table does not have, without a class"] == 1
    assert read_instance_classes("Nucleus") == {-1: "Nucleus"}
    with pytest.raises(LabelError, match="cannot be read"):
        read_instance_classes("nowhere.csv")
    tifffile.imwrite(tmp_path / "bad.tif", np.array([[-1]], np.int32))
    with pytest.raises(FormatError, match="numbers of objects are whole"):
        label_image.read(tmp_path / "bad.tif", ImageFacts(), Choices(instances={}))


def test_cells_of_other_programs_have_their_pixels(shared: Path, tmp_path: Path) -> None:
    cells = shared / "cases/instance-images/cells.png"
    for words in (["--instances", "Nucleus"], ["--instances", str(cells.with_name("codes.csv"))]):
        with pytest.raises(SystemExit, match="0"):
            main(["convert", str(cells), str(tmp_path / "c.geojson"), "--overwrite", *words])
        found = read_geojson(tmp_path / "c.geojson")
        assert (len(found), {item.class_name for item in found}) == (151, {"Nucleus"})
        assert sum(item.geometry.area for item in found) == 21_281
    with pytest.raises(SystemExit, match="1"):
        main(["convert", str(cells), str(tmp_path / "d.geojson")])
