"""What `--reader auto` promises holds for every layout of TIFF that known programs write: the table in docs/slides.md.

Small files, laid out as the programs lay them out: by tifffile, and by libvips where pyvips is installed
(`pip install pyvips pyvips-binary`; its tests are skipped without it).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from qpkit.errors import FormatError
from qpkit.slides import open_slide
from shared_data import DOCS

Pixels = NDArray[np.uint8]


def tissue(height: int = 150, width: int = 210) -> Pixels:
    """Smooth colours with some noise, so that JPEG has something to lose."""
    y, x = np.mgrid[:height, :width]
    base = np.stack([120 + 100 * np.sin(x / 40), 120 + 100 * np.cos(y / 30), 120 + 90 * np.sin((x + y) / 25)], axis=-1)
    return np.clip(base + np.random.default_rng(1).normal(0, 9, base.shape), 0, 255).astype(np.uint8)


LEVELS = [np.ascontiguousarray(tissue()[::step, ::step]) for step in (1, 2, 4)]
CM = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}


WHOLE = [np.ascontiguousarray(tissue(192, 256)[::step, ::step]) for step in (1, 2, 4)]
"""Of whole tiles of 64 px."""


def stored(pixels: Pixels, options: Mapping[str, Any]) -> Pixels:
    """As tifffile wants it: colours first where they lie in separate planes."""
    is_separate = options.get("planarconfig") == "separate"
    return np.ascontiguousarray(np.moveaxis(pixels, -1, 0)) if is_separate else pixels


def ome(
    path: Path, *, levels: int = 3, unit: str = "µm", size: float = 0.5, file: Mapping[str, Any] = {}, **options: Any
) -> None:
    """OME-TIFF with its pyramid in SubIFDs."""
    options = {"photometric": "rgb", "tile": (64, 64)} | options
    axes = "SYX" if options.get("planarconfig") == "separate" else "YXS"
    sizes = {f"PhysicalSize{a}": size for a in "XY"} | {f"PhysicalSize{a}Unit": unit for a in "XY"}
    with tifffile.TiffWriter(path, ome=True, **file) as tiff:
        tiff.write(stored(LEVELS[0], options), subifds=levels - 1, metadata={"axes": axes, **sizes}, **options)
        for pixels in LEVELS[1:levels]:
            tiff.write(stored(pixels, options), subfiletype=1, metadata=None, **options)


def pages(path: Path, *, levels: int = 3, file: Mapping[str, Any] = {}, **options: Any) -> None:
    """A pyramid of pages that are marked as reduced."""
    options = {"photometric": "rgb", "tile": (64, 64), **CM} | options
    with tifffile.TiffWriter(path, **file) as tiff:
        for number, pixels in enumerate(LEVELS[:levels]):
            tiff.write(stored(pixels, options), subfiletype=min(number, 1), metadata=None, **options)


APERIO = "Aperio Image Library v12.0.15\r\n210x150 [0,0 210x150] (64x64) JPEG/RGB Q=70|AppMag = 20|MPP = 0.5000"


def in_ycbcr(pixels: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(pixels).convert("YCbCr"))


def aperio(path: Path, **options: Any) -> None:
    """SVS: the image, a thumbnail in strips, the levels, a label."""
    change = in_ycbcr if options["compression"] == 33003 else np.asarray
    every = {"photometric": "rgb", "metadata": None}
    level = {**every, "tile": (64, 64), "description": APERIO, "contiguous": False, **options}
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(change(LEVELS[0]), **level)
        tiff.write(LEVELS[2], compression="jpeg", rowsperstrip=16, description=APERIO, **every)
        for pixels in LEVELS[1:]:
            tiff.write(change(pixels), **level)
        tiff.write(LEVELS[2], compression="lzw", subfiletype=1, description=f"{APERIO}\nlabel 53x38", **every)


SPACING = '<Attribute Name="DICOM_PIXEL_SPACING">"{0}" "{0}"</Attribute>'


def philips(path: Path) -> None:
    """TIFF of Philips IntelliSite: what it knows stands in XML."""
    parts = [
        f'<DataObject ObjectType="PixelDataRepresentation">{SPACING.format(0.0005 * d)}</DataObject>' for d in (1, 2, 4)
    ]
    text = (
        '<DataObject ObjectType="DPUfsImport"><Attribute Name="PIM_DP_SCANNED_IMAGES"><Array>'
        '<DataObject ObjectType="DPScannedImage"><Attribute Name="PIM_DP_IMAGE_TYPE">WSI</Attribute>'
        f"{SPACING.format(0.0005)}"
        f'<Attribute Name="PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE"><Array>{"".join(parts)}</Array></Attribute>'
        "</DataObject></Array></Attribute></DataObject>"
    )
    plain = {"tile": (64, 64), "photometric": "rgb", "compression": "deflate", "metadata": None, "contiguous": False}
    with tifffile.TiffWriter(path) as tiff:
        for number, pixels in enumerate(WHOLE):
            tiff.write(
                pixels,
                software="Philips DP v1.0",
                description=text if number == 0 else "",
                subfiletype=min(number, 1),
                **plain,
            )


def leica(path: Path) -> None:
    """SCN: which page is which level stands in XML, in nm."""
    sizes = "".join(
        f'<dimension sizeX="{p.shape[1]}" sizeY="{p.shape[0]}" r="{n}" ifd="{n}"/>' for n, p in enumerate(WHOLE)
    )
    text = (
        '<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01">'
        '<collection name="a" sizeX="128000" sizeY="96000"><barcode/><image name="a">'
        f'<pixels sizeX="256" sizeY="192">{sizes}</pixels><view sizeX="128000" sizeY="96000" offsetX="0" offsetY="1"/>'
        "<scanSettings><objectiveSettings><objective>20</objective></objectiveSettings><illuminationSettings>"
        "<illuminationSource>brightfield</illuminationSource></illuminationSettings></scanSettings></image></collection></scn>"
    )
    plain = {"tile": (64, 64), "photometric": "rgb", "compression": "deflate", "metadata": None, "contiguous": False}
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for number, pixels in enumerate(WHOLE):
            tiff.write(pixels, description=text if number == 0 else "", **CM, **plain)


def ventana(path: Path) -> None:
    """BIF: a label, then the levels, and how their tiles were stitched in XMP."""
    scan = '<iScan Magnification="20" ScanRes="0.5" Z-layers="1"/>'
    joint = '<TileJointInfo Confidence="100" Direction="{}" Tile1="{}" Tile2="{}" OverlapX="0" OverlapY="0"/>'
    stitched = (
        '<EncodeInfo Ver="2"><SlideStitchInfo><ImageInfo AOIScanned="1" NumRows="3" NumCols="4" Width="64" Height="64"'
        ' Pos-X="0" Pos-Y="0">'
        f"{joint.format('RIGHT', 1, 2)}{joint.format('UP', 1, 8)}</ImageInfo></SlideStitchInfo>"
        '<AoiOrigin><AOI0 OriginX="0" OriginY="0"/></AoiOrigin></EncodeInfo>'
    )
    plain = {
        "photometric": "rgb",
        "compression": "jpeg",
        "compressionargs": {"level": 95},
        "metadata": None,
        "contiguous": False,
    }

    def xmp(text: str) -> dict[str, Any]:
        return {"extratags": [(700, "B", len(text), text.encode(), True)]}

    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        tiff.write(WHOLE[2], description="Label Image", **xmp(scan), **plain)
        for number, pixels in enumerate(WHOLE):
            says = f"level={number} mag={20 / 2**number:g} quality=95"
            more = xmp(stitched) if number == 0 else {}
            tiff.write(pixels, description=says, tile=(64, 64), **more, **plain)


def imagej(path: Path) -> None:
    """As QuPath's ImageJ writer does: big-endian, one strip, um in ImageJ's own words."""
    metadata = {"unit": "micron", "axes": "YXS"}
    tifffile.imwrite(path, LEVELS[0], imagej=True, photometric="rgb", resolution=(2, 2), metadata=metadata)


def vips(path: Path, **options: Any) -> None:
    """A pyramid of libvips, whose levels are its own."""
    pyvips = pytest.importorskip("pyvips", reason="pyvips is not installed")
    image = pyvips.Image.new_from_array(LEVELS[0]).copy(xres=2000, yres=2000, interpretation="srgb")
    image.tiffsave(str(path), **{"tile": True, "tile_width": 64, "tile_height": 64, "pyramid": True} | options)


@dataclass(frozen=True, slots=True)
class Layout:
    """What a file is, and what `auto` shall make of it.

    Args:
        name: How it is laid out; Markdown.
        by: Which programs lay it out so.
        write: (path, options) -> None.
        variants: Options, each a file.
        reader, levels, mpp: What is expected.
        near: Grey levels by which pixels may differ from what tifffile reads.
        ending: Of the file.
    """

    name: str
    by: str
    write: Callable[..., None]
    variants: Sequence[Mapping[str, Any]] = ({},)
    reader: str = "tiff"
    levels: int = 3
    mpp: float = 0.5
    near: int = 0
    ending: str = ".tif"

    @property
    def row(self) -> str:
        """Its row in docs/slides.md."""
        pixels = "equal" if self.near == 0 else f"within {self.near}"
        return f"| {self.name} | {self.by} | {self.reader} | {self.levels} | {self.mpp:g} | {pixels} |"


SEPARATE = {"planarconfig": "separate"}
PLAIN = [{"compression": c} for c in (None, "lzw", "deflate", "zstd", "lzma", "packbits")]
CODECS = [*PLAIN, {"compression": "jpeg"}]
JPEG_2000 = [{"compression": c} for c in (33003, 33004, 33005, 34712)]
PREDICTED = [{"compression": c, "predictor": True} for c in ("lzw", "deflate", "zstd")]
STRIPS = {"tile": None, "rowsperstrip": 16}
ONE_STRIP = {"tile": None, "rowsperstrip": 1 << 16, "levels": 1}
ANY = [*CODECS, *PREDICTED]
ALL = "none, LZW, deflate, ZSTD, LZMA, packbits, JPEG"
APERIOS = [{"compression": c} for c in ("jpeg", "lzw", 33005)]
WEBP = {"compression": "webp"}
VIPS_OTHERS = [
    {"compression": "jpeg", "rgbjpeg": True},
    {"compression": "jpeg", "Q": 95},
    {"compression": "deflate", "predictor": "none"},
]
BIG = {"file": {"bigtiff": True, "byteorder": ">"}}
UNITS = [
    {"unit": unit, "size": size} for unit, size in (("nm", 500), ("Å", 5000), ("mm", 0.0005), ("inch", 0.5 / 25400))
]
SUBSAMPLED = {"compression": "jpeg", "photometric": "ycbcr", "subsampling": (2, 2)}


def each(variants: Sequence[Mapping[str, Any]], *more: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every variant with each of the other options."""
    return [{**variant, **options} for variant in variants for options in more]


OME = {"write": ome, "ending": ".ome.tif"}
BOTH = "colours interleaved or separate"
PACKED = [{"compression": c} for c in ("none", "lzw", "deflate", "packbits", "jpeg")]
WITHOUT_TILES = each(PACKED, {"tile": False, "pyramid": False})
LAYOUTS = (
    Layout(f"OME: tiles of {ALL}", "Bio-Formats, QuPath", variants=CODECS, **OME),
    Layout("OME: the same, each colour in a plane of its own", "Bio-Formats", variants=each(CODECS, SEPARATE), **OME),
    Layout(f"OME: JPEG 2000, {BOTH}", "Bio-Formats, QuPath", variants=each(JPEG_2000, {}, SEPARATE), **OME),
    Layout(f"OME: with a predictor, {BOTH}", "tifffile", variants=each(PREDICTED, {}, SEPARATE), **OME),
    Layout(f"OME: BigTIFF, big-endian, {BOTH}", "Bio-Formats", variants=each(CODECS, BIG, {**BIG, **SEPARATE}), **OME),
    Layout(f"OME: strips, {BOTH}", "Bio-Formats", variants=each(ANY, STRIPS, {**STRIPS, **SEPARATE}), **OME),
    Layout("OME: one strip", "tifffile", variants=each(CODECS, ONE_STRIP, {**ONE_STRIP, **SEPARATE}), levels=1, **OME),
    Layout("OME: um/px in nm, Å, mm or inches", "any", variants=UNITS, **OME),
    Layout(f"tiles, pages marked as reduced, {BOTH}", "many", pages, each(ANY, {}, SEPARATE)),
    Layout(f"strips, pages marked as reduced, {BOTH}", "many", pages, each(ANY, STRIPS, {**STRIPS, **SEPARATE})),
    Layout("JPEG in YCbCr 4:2:0, tiles or strips", "many", pages, [SUBSAMPLED, {**SUBSAMPLED, **STRIPS}]),
    Layout("SVS: JPEG, LZW, JPEG 2000 in RGB", "Aperio", aperio, [*APERIOS, SUBSAMPLED], ending=".svs"),
    Layout("SVS: JPEG 2000 in YCbCr", "Aperio", aperio, [{"compression": 33003}], "openslide", near=3, ending=".svs"),
    Layout("Philips TIFF", "Philips", philips, reader="openslide"),
    Layout("SCN", "Leica", leica, reader="openslide", ending=".scn"),
    Layout("BIF", "Ventana", ventana, reader="openslide", ending=".bif"),
    Layout("pages marked as reduced, BigTIFF", "VIPS", vips, each([*PACKED, WEBP], {}, {"bigtiff": True})),
    Layout("SubIFDs", "VIPS", vips, each([*PACKED, WEBP], {"subifd": True})),
    Layout("JPEG in RGB, JPEG 4:4:4, no predictor", "VIPS", vips, VIPS_OTHERS),
    Layout("tiles or strips without levels", "VIPS", vips, [{"pyramid": False}, *WITHOUT_TILES], levels=1),
    Layout("one strip, um in ImageJ's words", "QuPath (ImageJ)", imagej, levels=1),
)


def cases() -> list[Any]:
    return [
        pytest.param(one, dict(v), id=f"{one.by}: {one.name} {n}")
        for one in LAYOUTS
        for n, v in enumerate(one.variants)
    ]


def as_tifffile_reads(path: Path, width: int, height: int) -> Pixels:
    """The first page of that size, interleaved."""
    with tifffile.TiffFile(path) as tiff:
        all_pages = [page for series in tiff.series for level in series.levels for page in level.pages]
        page = next(p for p in all_pages if (p.keyframe.imagewidth, p.keyframe.imagelength) == (width, height))
        pixels = page.asarray()
    return np.moveaxis(pixels, 0, -1) if pixels.shape[0] == 3 else pixels


@pytest.mark.parametrize(("layout", "options"), cases())
def test_auto_keeps_levels_pixels_and_um_per_px_of_every_layout(
    tmp_path: Path, layout: Layout, options: dict[str, Any]
) -> None:
    path = tmp_path / f"a{layout.ending}"
    layout.write(path, **options)
    with open_slide(path) as slide:
        assert (slide.reader.name, len(slide.info.downsamples)) == (layout.reader, layout.levels)
        assert slide.info.mpp == pytest.approx(layout.mpp, rel=1e-6)
        assert slide.info.downsamples == (1.0, 2.0, 4.0)[: layout.levels]
        for level in range(layout.levels):
            width, height = slide.reader.level_size(level)
            whole = slide.reader.read_level(level, x=0, y=0, width=width, height=height)
            part = slide.reader.read_level(level, x=5, y=7, width=width - 9, height=height - 11)
            assert np.array_equal(part, whole[7:-4, 5:-4])
            expected = as_tifffile_reads(path, width, height)
            if options.get("compression") == 33003 and layout.by == "Aperio":
                expected = np.asarray(Image.fromarray(expected, "YCbCr").convert("RGB"))
            assert np.abs(whole.astype(int) - expected).max() <= layout.near


def test_the_table_of_layouts_is_in_the_docs() -> None:
    text = (DOCS / "slides.md").read_text(encoding="utf-8")
    missing = [layout.row for layout in LAYOUTS if layout.row not in text]
    assert not missing, "\n".join(missing)


def channels(path: Path) -> None:
    pixels = np.zeros((3, 64, 64), np.uint8)
    tifffile.imwrite(path, pixels, photometric="minisblack", ome=True, metadata={"axes": "CYX"})


def imagej_channels(path: Path) -> None:
    tifffile.imwrite(path, np.zeros((3, 64, 64), np.uint8), imagej=True, metadata={"axes": "CYX"})


def deep(path: Path) -> None:
    tifffile.imwrite(path, np.zeros((64, 64, 3), np.uint16), photometric="rgb", tile=(16, 16))


def jpeg_xl(path: Path) -> None:
    tifffile.imwrite(path, np.zeros((64, 64, 3), np.uint8), photometric="rgb", tile=(16, 16), compression=50002)


def ventana_without_stitching(path: Path) -> None:
    """Its first page is the label, which is not to be shown for the slide."""
    ventana(path)
    path.write_bytes(path.read_bytes().replace(b"SlideStitchInfo", b"SlideStitchNone"))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (channels, "3 channels of uint8 cannot be shown as 8-bit RGB"),
        (imagej_channels, "3 channels of uint8 cannot be shown as 8-bit RGB"),
        (deep, "3 channels of uint16 cannot be shown as 8-bit RGB"),
        (jpeg_xl, "TIFF compression 50002 is not known here"),
        (ventana_without_stitching, "OpenSlide cannot open it"),
    ],
)
def test_layouts_that_are_refused_are_one_clear_line(
    tmp_path: Path, write: Callable[[Path], None], message: str
) -> None:
    write(tmp_path / "a.tif")
    with pytest.raises(FormatError, match=message) as refused:
        open_slide(tmp_path / "a.tif")
    line = str(refused.value).replace(str(tmp_path), "")
    assert "\n" not in line and len(line) < 200


def test_colours_of_a_tile_that_were_never_written(tmp_path: Path) -> None:
    """All of them: white, as OpenSlide shows it; one of them: a damaged file."""
    pages(tmp_path / "a.tif", levels=1, **SEPARATE)
    content = (tmp_path / "a.tif").read_bytes()
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        sizes = tiff.pages[0].tags["TileByteCounts"]
        tiles, counts = sizes.count // 3, sizes.value
    for gone, name in ((range(3), "none.tif"), ((1,), "one.tif")):
        (tmp_path / name).write_bytes(content)
        left = [0 if n % tiles == 0 and n // tiles in gone else size for n, size in enumerate(counts)]
        with tifffile.TiffFile(tmp_path / name, mode="r+") as tiff:
            tiff.pages[0].tags["TileByteCounts"].overwrite(left)
    with open_slide(tmp_path / "none.tif") as slide:
        shown = slide.reader.read_level(0, x=0, y=0, width=128, height=64)
    assert (shown[:, :64] == 255).all()
    assert np.array_equal(shown[:, 64:], LEVELS[0][:64, 64:128])
    with open_slide(tmp_path / "one.tif") as slide, pytest.raises(FormatError, match="only 2 of its 3 colours"):
        slide.reader.read_level(0, x=0, y=0, width=64, height=64)


@pytest.mark.parametrize("rows", [1, 7, 53, 150])
@pytest.mark.parametrize("options", [{}, SEPARATE])
def test_plain_strips_are_cut_into_lower_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int, options: dict[str, Any]
) -> None:
    monkeypatch.setattr("qpkit.slides.tiff_pages._PLAIN_STRIP_PX", 210 * 9)
    pages(tmp_path / "a.tif", levels=1, tile=None, rowsperstrip=rows, **options)
    with open_slide(tmp_path / "a.tif", reader="tiff") as slide:
        assert slide.reader._levels[0][0].tile_height <= 9  # type: ignore[attr-defined]
        assert np.array_equal(slide.reader.read_level(0, x=3, y=5, width=200, height=140), LEVELS[0][5:145, 3:203])


def test_strips_that_do_not_hold_the_image_are_damage(tmp_path: Path) -> None:
    pages(tmp_path / "a.tif", levels=1, tile=None, rowsperstrip=16)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as tiff:
        tiff.pages[0].tags["ImageWidth"].overwrite(211)
    with pytest.raises(FormatError, match="its strips are not as long as its rows; the file is damaged"):
        open_slide(tmp_path / "a.tif", reader="tiff")


@pytest.mark.parametrize("tile", [None, (64, 64)])
def test_masks_and_pages_of_other_proportions_are_no_levels(tmp_path: Path, tile: tuple[int, int] | None) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        for kind, pixels in ((0, LEVELS[0]), (5, LEVELS[1][..., 0] > 99), (1, LEVELS[2]), (4, LEVELS[2][..., 0] > 99)):
            tiff.write(pixels, tile=tile, subfiletype=kind, metadata=None, contiguous=False)
        if tile is None:
            tiff.write(LEVELS[0][:60, :60], subfiletype=1, photometric="rgb", metadata=None)
    with open_slide(tmp_path / "a.tif") as slide:
        assert (slide.reader.name, slide.info.downsamples) == ("tiff", (1.0, 4.0))


def test_grey_of_all_kinds_is_read(tmp_path: Path) -> None:
    grey = LEVELS[0][..., 0]
    tifffile.imwrite(tmp_path / "dark.tif", grey, photometric="miniswhite", tile=(64, 64), metadata=None)
    alpha = np.dstack([grey, np.full_like(grey, 255)])
    tifffile.imwrite(
        tmp_path / "alpha.tif", alpha, photometric="minisblack", extrasamples=["unassalpha"], tile=(64, 64)
    )
    for name, expected in (("dark.tif", 255 - grey), ("alpha.tif", grey)):
        with open_slide(tmp_path / name, reader="tiff") as slide:
            shown = slide.reader.read_level(0, x=0, y=0, width=210, height=150)
        assert np.array_equal(shown, np.repeat(expected[..., None], 3, axis=-1))


def test_a_palette_is_read_by_raster_with_its_um_per_px(tmp_path: Path) -> None:
    table = np.random.default_rng(0).integers(0, 256, (3, 256)).astype(np.uint16) * 257
    grey = LEVELS[0][..., 0]
    tifffile.imwrite(tmp_path / "a.tif", grey, photometric="palette", colormap=table, metadata=None, **CM)
    with open_slide(tmp_path / "a.tif") as slide:
        assert (slide.reader.name, slide.info.mpp) == ("raster", pytest.approx(0.5))
        shown = slide.reader.read_level(0, x=0, y=0, width=210, height=150)
    assert np.array_equal(shown, (table // 257).T[grey])
