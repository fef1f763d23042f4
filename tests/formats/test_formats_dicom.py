"""What highdicom and wsidicom read of DICOM files that qpkit wrote, and what qpkit reads of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely

from qpkit.core.annotation import Annotation, PathClass, argb
from qpkit.core.geometry import ellipse
from qpkit.core.labels import LabelClass, LabelMap
from qpkit.core.provenance import provenance
from qpkit.errors import ConfigError, FormatError, ProjectError
from qpkit.formats.format import NothingHeldError
from qpkit.formats.plugins import dicom_ann, dicom_seg
from qpkit.formats.registry import FORMATS, format_of
from qpkit.formats.shared.dicom_slides import MADE_UP, slide_of, text_of
from qpkit.formats.shared.drawing import Choices, Drawing, ImageFacts
from qpkit.formats.shared.label_place import FROM_FILE

hd = pytest.importorskip("highdicom", reason="pip install 'qpkit[dicom]'")

IMAGE = ImageFacts(name="slide.svs", width=2000, height=1500, mpp=0.25)
TUMOR, NEST = PathClass(("Tumor",), argb(200, 0, 0)), PathClass(("Tumor", "Nest"), argb(0, 120, 7))
LABELS = LabelMap(
    classes=(
        LabelClass("Tumor", 3, ("Tumor",), argb(200, 0, 0)),
        LabelClass("Tumor: Nest", 7, ("Tumor: Nest",), argb(0, 120, 7)),
    )
)
AREA = shapely.Polygon([(10.125, 10.5), (700.1, 20), (600, 900.7)])
CUT = shapely.Polygon(shapely.box(0, 0, 400, 400).exterior, [shapely.box(100, 100, 180, 220).exterior])


def put(plugin: object, path: Path, *objects: Annotation, image: ImageFacts = IMAGE, **choices: object) -> None:
    plugin.write(path, [Drawing(objects=objects, image=image)], Choices(labels=LABELS, **choices))  # type: ignore[attr-defined, arg-type]  # a test's shorthand


def test_highdicom_reads_the_very_points_class_code_and_colour(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    tumor, nest = Annotation(geometry=AREA, path_class=TUMOR), Annotation(geometry=AREA, path_class=NEST)
    put(dicom_ann, path, tumor, nest, replace(tumor, geometry=shapely.Point(3.3, 4.7), shape="points"))
    groups = hd.ann.annread(path).get_annotation_groups()
    assert [(g.label, g.graphic_type.value) for g in groups] == [
        ("Tumor", "POLYGON"),
        ("Tumor: Nest", "POLYGON"),
        ("Tumor", "POINT"),
    ]
    ring = np.asarray(AREA.exterior.coords)[:-1]
    assert np.array_equal(groups[0].get_graphic_data("2D")[0], ring)
    assert groups[2].get_graphic_data("2D")[0].tolist() == [[3.3, 4.7]]
    assert groups[0].annotated_property_type.value == "108369006"
    assert groups[1].annotated_property_type.scheme_designator == "99QPKIT"
    assert "DoublePointCoordinatesData" in groups[0]


def test_wsidicom_reads_the_very_points(tmp_path: Path) -> None:
    wsidicom = pytest.importorskip("wsidicom", reason="pip install wsidicom")
    path = tmp_path / "a.dcm"
    put(dicom_ann, path, Annotation(geometry=AREA, path_class=TUMOR))
    (found,) = wsidicom.AnnotationInstance.open([path])
    (group,) = found.groups
    assert group.label == "Tumor"
    ring = [(point.x, point.y) for point in group.annotations[0].geometry.points]
    # wsidicom closes a ring
    assert ring[: len(AREA.exterior.coords) - 1] == list(AREA.exterior.coords)[:-1]


def test_who_made_an_object_is_said(tmp_path: Path) -> None:
    predicted = replace(Annotation(geometry=AREA, path_class=TUMOR), metadata=provenance("run1", "unet", "Tumor", AREA))
    edited = replace(predicted, geometry=CUT)
    put(dicom_ann, tmp_path / "a.dcm", predicted, edited, Annotation(geometry=AREA, path_class=TUMOR))
    groups = hd.ann.annread(tmp_path / "a.dcm").get_annotation_groups()
    assert [g.algorithm_type.value for g in groups] == ["AUTOMATIC", "SEMIAUTOMATIC", "MANUAL"]
    assert groups[0].algorithm_identification.name == "run1"


def test_an_ellipse_that_is_turned_is_read_as_the_polygon_along_it() -> None:
    straight, shape = dicom_ann._read_ellipse(np.array([(0, 5), (20, 5), (10, 0), (10, 10.0)]))
    assert (straight, shape) == (ellipse(0, 0, 20, 10), "ellipse")
    turn = np.array([[0.8, 0.6], [-0.6, 0.8]])
    turned, shape = dicom_ann._read_ellipse(np.array([(-10, 0), (10, 0), (0, -5), (0, 5)]) @ turn)
    wanted = shapely.transform(ellipse(-10, -5, 10, 5), lambda xy: xy @ turn)
    assert shape == "polygon"
    assert shapely.symmetric_difference(turned, wanted).area < 1e-9


@pytest.mark.parametrize("downsample", [1.0, 2.5, 4.0])
def test_a_segmentation_has_the_pixels_of_the_label_image(tmp_path: Path, downsample: float) -> None:
    from qpkit.formats.shared.drawn_labels import draw_labels

    drawing = Drawing(
        objects=(Annotation(geometry=CUT, path_class=TUMOR), Annotation(geometry=AREA, path_class=NEST)), image=IMAGE
    )
    put(dicom_seg, tmp_path / "s.dcm", *drawing.objects, downsample=downsample)
    mask = draw_labels(drawing, Choices(labels=LABELS, downsample=downsample), what="").mask
    seg = hd.seg.segread(tmp_path / "s.dcm")
    assert [seg.get_segment_description(n).segment_label for n in seg.segment_numbers] == ["Tumor", "Tumor: Nest"]
    for number, value in ((1, 3), (2, 7)):
        found = seg.get_total_pixel_matrix(segment_numbers=[number])[..., 0]
        assert np.array_equal(found, mask == value)
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert [float(v) for v in measures.PixelSpacing] == pytest.approx([0.25e-3 * downsample] * 2)
    (read,) = dicom_seg.read(tmp_path / "s.dcm", ImageFacts(), Choices())
    assert read.notes == {FROM_FILE: 1}
    assert read.image.name == "slide.svs"
    put(dicom_seg, tmp_path / "again.dcm", *read.objects, downsample=downsample)
    again = hd.seg.segread(tmp_path / "again.dcm")
    assert np.array_equal(again.pixel_array, seg.pixel_array)


def test_a_segmentation_of_another_program_is_placed_by_the_size_of_its_pixels(tmp_path: Path) -> None:
    import pydicom

    put(dicom_seg, tmp_path / "s.dcm", Annotation(geometry=CUT, path_class=TUMOR), downsample=4.0)
    dataset = pydicom.dcmread(tmp_path / "s.dcm")
    del dataset.ImageComments
    dataset.save_as(tmp_path / "other.dcm")
    (read,) = dicom_seg.read(tmp_path / "other.dcm", IMAGE, Choices())
    (item,) = read.objects
    assert item.geometry.equals(CUT)
    assert item.path_class == TUMOR


def test_two_files_of_a_slide_that_is_no_dicom_refer_to_one_made_up_slide(tmp_path: Path) -> None:
    import pydicom

    item = Annotation(geometry=CUT, path_class=TUMOR)
    losses = dicom_ann.write(tmp_path / "a.dcm", [Drawing(objects=(item,), image=IMAGE)], Choices())
    put(dicom_seg, tmp_path / "s.dcm", item)
    ann, seg = (pydicom.dcmread(tmp_path / name) for name in ("a.dcm", "s.dcm"))
    assert losses[MADE_UP] == 1
    assert ann.StudyInstanceUID == seg.StudyInstanceUID
    assert slide_of(IMAGE).dataset.FrameOfReferenceUID == seg.FrameOfReferenceUID
    assert slide_of(replace(IMAGE, name="b")).dataset.StudyInstanceUID != seg.StudyInstanceUID
    kinds = [format_of(tmp_path / name, FORMATS, reading=True).name for name in ("a.dcm", "s.dcm")]
    assert kinds == ["dicom-ann", "dicom-seg"]


def test_the_first_pixel_of_a_coarser_mask_lies_in_the_middle_of_those_below_it(tmp_path: Path) -> None:
    put(dicom_seg, tmp_path / "s.dcm", Annotation(geometry=CUT, path_class=TUMOR), downsample=4.0)
    seg = hd.seg.segread(tmp_path / "s.dcm")
    origin = seg.TotalPixelMatrixOriginSequence[0]
    place = float(origin.XOffsetInSlideCoordinateSystem), float(origin.YOffsetInSlideCoordinateSystem)
    assert place == pytest.approx((1.5 * 0.25e-3, 1.5 * 0.25e-3))


def test_what_a_text_of_dicom_cannot_hold_is_replaced() -> None:
    assert text_of(" a\\b\x01" + "x" * 90) == "a/b " + "x" * 59


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    item = Annotation(geometry=CUT, path_class=TUMOR)
    with pytest.raises(ConfigError, match="--mpp"):
        put(dicom_seg, tmp_path / "s.dcm", item, image=replace(IMAGE, mpp=None))
    with pytest.raises(NothingHeldError):
        put(dicom_seg, tmp_path / "s.dcm", replace(item, geometry=shapely.Point(1, 1)))
    assert not list(tmp_path.iterdir())
    for plugin in (dicom_ann, dicom_seg):
        with pytest.raises(ProjectError, match="no such file"):
            plugin.read(tmp_path / "gone.dcm", IMAGE, Choices())
    (tmp_path / "text.dcm").write_text("no DICOM")
    with pytest.raises(FormatError, match=r"text\.dcm"):
        dicom_ann.read(tmp_path / "text.dcm", IMAGE, Choices())
    with pytest.raises(ConfigError, match="--from"):
        format_of(tmp_path / "text.dcm", FORMATS, reading=True)
    put(dicom_ann, tmp_path / "a.dcm", item)
    with pytest.raises(FormatError, match="no tiled segmentation"):
        dicom_seg.read(tmp_path / "a.dcm", IMAGE, Choices())
    cut = tmp_path / "cut.dcm"
    cut.write_bytes((tmp_path / "a.dcm").read_bytes()[:-200])
    with pytest.raises(FormatError, match=r"cut\.dcm"):
        dicom_ann.read(cut, IMAGE, Choices())
