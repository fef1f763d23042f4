"""Exports by label maps with rules: what is written, counted and refused."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import shapely
import tifffile
from typer.testing import CliRunner

from qpkit.cli import app
from qpkit.core.annotation import Annotation, PathClass
from qpkit.core.labels import LabelMap, parse_label_map
from qpkit.core.tiles import Tile
from qpkit.dataset import read_tile_set
from qpkit.dataset.stores.nnunet import consecutive_labels
from qpkit.errors import ConfigError, LabelError
from qpkit.formats.plugins import label_image
from qpkit.formats.shared.drawing import Choices, ImageFacts
from qpkit.formats.shared.label_pixels import read_label_pixels
from qpkit.formats.shared.label_table import read_label_table
from qpkit.ops.masks.pixel_counts import PixelCounts
from qpkit.ops.masks.rasterize import count_channels, rasterize
from qpkit.qupath import write_geojson
from qpkit.workflows.export.settings import ExportSettings, TissueRule
from qpkit.workflows.export.tiles import export_tiles
from qpkit.workflows.inputs.settings import SlideSettings
from qpkit.workflows.inputs.slides import slide_inputs

ALL = TissueRule("none", 0)

RICH = """
regions = ["Region*"]
instances = true
[boundary]
value = 9
width_um = 4.0
[[class]]
name = "Tumor"
value = 1
[[class]]
name = "Ring"
value = 2
of = "Tumor"
grow_um = 30
not = "Tumor"
[[class]]
name = "Rest"
value = 3
from = ["*", ""]
[[class]]
name = "Unheard of"
value = 4
optional = true
"""


def labels_of(text: str) -> LabelMap:
    return parse_label_map(text, source="labels.toml")


@pytest.fixture
def grey(tmp_path: Path) -> Path:
    """A slide without um per px."""
    tifffile.imwrite(tmp_path / "grey.tif", np.full((300, 400, 3), 222, dtype=np.uint8), tile=(256, 256))
    return tmp_path / "grey.tif"


def box(x: float, y: float, side: float, name: str | None, **more: object) -> Annotation:
    path_class = None if name is None else PathClass((name,))
    return Annotation(geometry=shapely.box(x, y, x + side, y + side), path_class=path_class, **more)  # type: ignore[arg-type]


def test_every_pixel_of_an_export_is_in_the_tally_of_its_slide(study: Path, tmp_path: Path) -> None:
    settings = ExportSettings(labels=labels_of(RICH), tissue=ALL, tile_size=512)
    report = export_tiles(slide_inputs([study]), tmp_path / "out", settings)
    tiles = read_tile_set(tmp_path / "out")
    assert tiles.layers == ("image", "mask", "instances")
    for slide in report.slides:
        tally = slide.tally
        assert tally.pixels == slide.tiles_kept * 512 * 512
        assert sum(tally.sources["Tumor"].values()) == slide.pixels[1]
        assert tally.derived["Ring"] == slide.pixels[2] > 0
        assert tally.boundary == slide.pixels[9] > 0
        assert set(tally.sources["Rest"]) <= {"Immune cells", "(none)"}
    assert "nothing was drawn of 'Unheard of' on any slide" in report.notes
    written = tiles.info["report"]["slides"][0]["tally"]
    assert msgspec.convert(written, PixelCounts, str_keys=True) == report.slides[0].tally


@pytest.mark.parametrize("store", ["shards", "none"])
@pytest.mark.parametrize("masks", ["single", "multi-label"])
def test_every_store_gives_back_the_same_masks_and_instances(
    study: Path, tmp_path: Path, store: str, masks: str
) -> None:
    labels = replace(labels_of(RICH), masks=masks)  # type: ignore[arg-type]
    inputs = slide_inputs([study], SlideSettings(entries=["1"]))
    settings = ExportSettings(labels=labels, tissue=ALL, context=(1, 2))
    export_tiles(inputs, tmp_path / "files", settings)
    export_tiles(inputs, tmp_path / store, replace(settings, store=store))  # type: ignore[arg-type]
    one, other = read_tile_set(tmp_path / "files"), read_tile_set(tmp_path / store)
    assert one.layers == other.layers == ("image", "mask", "image_x2", "mask_x2", "instances")
    with (tmp_path / store / "instances/patient_A.tif.csv").open(newline="", encoding="utf-8") as file:
        value_of = {int(row["number"]): int(row["value"]) for row in csv.DictReader(file)}
    seen: set[int] = set()
    for a, b in zip(one.tiles, other.tiles, strict=True):
        for layer in one.layers:
            assert np.array_equal(one.read(a, layer), other.read(b, layer))
        mask, numbers = one.read_mask(a), one.read(a, "instances")
        assert numbers.dtype == np.uint32
        if masks == "multi-label":
            assert mask.shape == (5, 512, 512) and count_channels(mask, one.labels) == dict(a.pixels)
            continue
        for number in np.unique(numbers[numbers > 0]).tolist():
            shown = set(np.unique(mask[numbers == number]).tolist())
            assert value_of[number] in shown or shown <= {2, 9}  # wholly under the ring and the boundary
            seen.add(number)
    assert masks == "multi-label" or len(seen) > 5


def test_a_mask_of_one_channel_keeps_its_channel(grey: Path, tmp_path: Path) -> None:
    write_geojson(tmp_path / "a.geojson", [box(10, 10, 50, "Tumor")])
    labels = labels_of('masks = "multi-label"\n[[class]]\nname = "Tumor"\nvalue = 1')
    inputs = slide_inputs([grey], annotations=tmp_path / "a.geojson")
    export_tiles(inputs, tmp_path / "out", ExportSettings(labels=labels, downsample=1, tissue=ALL))
    tiles = read_tile_set(tmp_path / "out")
    assert tiles.read_mask(tiles.tiles[0]).shape == (1, 512, 512)
    assert tiles.tiles[0].pixels == {0: 300 * 400 - 2500, 1: 2500, 255: 512 * 512 - 300 * 400}


def test_um_without_um_per_px_name_the_slide_before_any_work(grey: Path, tmp_path: Path) -> None:
    write_geojson(tmp_path / "a.geojson", [box(10, 10, 50, "Tumor")])
    text = '[boundary]\nvalue = 9\nwidth_um = 4.0\n[[class]]\nname = "Tumor"\nvalue = 1'
    settings = ExportSettings(labels=labels_of(text), downsample=1, tissue=ALL)
    with pytest.raises(LabelError, match=r"\[boundary\].*grey.tif; state it with --slide-mpp"):
        export_tiles(slide_inputs([grey], annotations=tmp_path / "a.geojson"), tmp_path / "out", settings)
    stated = slide_inputs([grey], SlideSettings(slide_mpp=1.0), annotations=tmp_path / "a.geojson")
    assert export_tiles(stated, tmp_path / "out", settings).slides[0].pixels[9] == 54**2 - 46**2 - 4  # round corners


def test_refused_overlaps_name_the_slide_and_leave_nothing(grey: Path, tmp_path: Path) -> None:
    write_geojson(tmp_path / "a.geojson", [box(10, 10, 50, "Tumor"), box(50, 50, 40, "Stroma")])
    labels = labels_of('overlap = "error"\n[[class]]\nname = "Tumor"\nvalue = 1\n[[class]]\nname = "Stroma"\nvalue = 2')
    with pytest.raises(LabelError, match=r"^grey.tif: 1 pair\(s\).*100 px2 near x=55, y=55"):
        inputs = slide_inputs([grey], annotations=tmp_path / "a.geojson")
        export_tiles(inputs, tmp_path / "out", ExportSettings(labels=labels, downsample=1))
    assert not (tmp_path / "out").exists()


def test_cells_and_detections_are_drawn_if_the_label_map_says_so(grey: Path, tmp_path: Path) -> None:
    objects = [
        box(0, 0, 200, "Region*"),
        box(0, 0, 100, "Tumor"),
        box(110, 10, 20, "Tumor", kind="detection"),
        box(140, 10, 20, "Tumor", kind="cell", nucleus=shapely.box(145, 15, 155, 25)),
        box(170, 10, 20, "Tumor", kind="cell"),
        box(10, 150, 20, "Tumor", kind="tile"),
    ]
    write_geojson(tmp_path / "a.geojson", objects)
    inputs = slide_inputs([grey], annotations=tmp_path / "a.geojson")

    def exported(rules: str) -> tuple[dict[int, int], int, int, int]:
        text = f'regions = ["Region*"]\nunannotated = "ignore"\n{rules}\n[[class]]\nname = "Tumor"\nvalue = 1'
        settings = ExportSettings(labels=labels_of(text), downsample=1, tissue=ALL)
        (slide,) = export_tiles(inputs, tmp_path / "out", settings, overwrite=True).slides
        audit = slide.audit
        return dict(slide.pixels), slide.detections, slide.annotations_left_out, audit.without_nucleus

    def wanted(tumor: int) -> dict[int, int]:
        return {0: 40_000 - tumor, 1: tumor, 255: 512 * 512 - 40_000}

    assert exported("") == (wanted(10_000), 4, 0, 0)
    assert exported('objects = ["annotation", "detection"]') == (wanted(10_400), 3, 0, 0)
    assert exported('objects = ["cell"]') == (wanted(800), 2, 1, 0)
    assert exported('objects = ["cell", "detection"]\ncell = "nucleus"') == (wanted(500), 1, 1, 1)


def test_nnunet_gets_consecutive_values_and_one_class_a_pixel() -> None:
    labels = consecutive_labels(labels_of(RICH.replace("value = 3", "value = 77")))
    assert [(c.name, c.value) for c in labels.classes] == [
        ("Tumor", 1),
        ("Ring", 2),
        ("Rest", 3),
        ("Unheard of", 4),
        ("boundary", 5),
    ]
    assert labels.boundary and labels.boundary.value == 5 and labels.ignore == 6
    with pytest.raises(ConfigError, match="one class a pixel"):
        ExportSettings(labels=labels_of('masks = "multi-label"\n' + RICH), store="nnunet")


def test_the_printed_table_says_which_rule_decided(study: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.toml").write_text(RICH)
    said = CliRunner().invoke(
        app, ["export", str(study), "-o", str(tmp_path / "out"), "--labels", str(tmp_path / "labels.toml")]
    )
    assert said.exit_code == 0, said.output
    for text in (
        "Which rule decided",
        "merged into Rest",
        "of: derived class",
        "[boundary]",
        "unannotated: background",
    ):
        assert text in said.output
    assert "'Unheard of' on any slide" in said.stderr


# Label images of other programs, remapped by class names


def test_tigers_stroma_against_the_rest_is_a_label_map(tmp_path: Path) -> None:
    codes = np.kron(np.random.default_rng(0).integers(0, 8, (12, 12)), np.ones((9, 9), int)).astype(np.uint8)
    names = (
        "invasive tumor",
        "tumor-associated stroma",
        "in-situ tumor",
        "healthy glands",
        "necrosis",
        "inflamed stroma",
    )
    rows = [f"{name},{code}" for code, name in enumerate((*names, "rest"), start=1)]
    (tmp_path / "codes.csv").write_text("label,value\n" + "\n".join(rows))
    tifffile.imwrite(tmp_path / "mask.tif", codes)
    labels = labels_of(
        'unannotated = "ignore"\nbackground = 9\n[[class]]\nname = "the rest"\nvalue = 0\nfrom = ["*"]\n'
        '[[class]]\nname = "stroma"\nvalue = 1\nfrom = ["tumor-associated stroma", "inflamed stroma"]'
    )
    expected = np.where(codes == 0, 255, np.isin(codes, (2, 6)))
    assert np.array_equal(remapped(tmp_path / "mask.tif", tmp_path / "codes.csv", labels, codes.shape), expected)


def test_the_classes_of_bcss_merge_into_three(shared: Path) -> None:
    folder = shared / "data/pairs/histomicstk-breast-mask"
    (path,) = folder.glob("*.png")
    codes = read_label_pixels(path).pixels
    labels = labels_of(
        'unannotated = "ignore"\nregions = ["roi"]\n[[class]]\nname = "other"\nvalue = 3\nfrom = ["*"]\n'
        '[[class]]\nname = "tumor"\nvalue = 1\nfrom = ["mostly_tumor", "angioinvasion", "mostly_dcis"]\n'
        '[[class]]\nname = "stroma"\nvalue = 2\nfrom = ["mostly_stroma"]'
    )
    expected = np.select([codes == 0, np.isin(codes, (1, 19, 20)), codes == 2], [255, 1, 2], 3)
    mask = remapped(path, folder / "sample_GTcodes.csv", labels, codes.shape)
    assert np.array_equal(mask, expected)
    assert {1, 2, 3, 255} == set(np.unique(mask).tolist())


def remapped(
    path: Path, table: Path, labels: LabelMap, shape: tuple[int, ...]
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    choices = Choices(labels=read_label_table(table), downsample=1.0, offset=(0.0, 0.0))
    (drawing,) = label_image.read(path, ImageFacts(), choices)
    height, width = shape
    return rasterize(drawing.objects, Tile(col=0, row=0, x=0, y=0, width=width, height=height), labels)
