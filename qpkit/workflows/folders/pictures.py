"""The images and masks of a folder, looked at one by one before anything is written."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from qpkit.core.tiles import Tile
from qpkit.errors import FormatError, ProjectError, listed
from qpkit.progress import OnProgress, Ticker, no_progress
from qpkit.slides import SlideSource, open_source
from qpkit.slides.tiff_levels import pages_of_one_size
from qpkit.workflows.folders.mask_facts import MaskFacts, mask_facts
from qpkit.workflows.folders.pairing import Pair, Pairing
from qpkit.workflows.folders.settings import WithoutMask

_ROWS: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An image with its mask.

    Args:
        pair: Its files.
        source: How the image is opened; its name is unique in the folder.
        width, height: px.
        mpp: um per px, or None.
        mpp_note: Why it is None.
        reader: What reads the image.
        pages: Pages of its size in the image's file; the first is read.
        pixels_sha256: Of the image's pixels, whatever file they lie in.
        mask: What the mask holds, or None.
    """

    pair: Pair
    source: SlideSource
    width: int
    height: int
    mpp: float | None
    mpp_note: str
    reader: str
    pages: int
    pixels_sha256: str
    mask: MaskFacts | None

    @property
    def name(self) -> str:
        """Unique in the folder."""
        return self.source.name


def look_at(
    pairing: Pairing,
    folder: Path,
    *,
    mpp: float | None = None,
    without_mask: WithoutMask = "error",
    on_progress: OnProgress = no_progress,
) -> tuple[list[Picture], list[str]]:
    """Read every image and mask once.

    Args:
        pairing: Of the folder.
        folder: Names start there where files of two folders have one name.
        mpp: um per px that overrides the files.
        without_mask: What becomes of images without one.
        on_progress: Called with (images done, images in all, name).

    Returns:
        The pictures in the order of the pairs, and notes.

    Raises:
        ProjectError: Images have no mask, and that is not allowed.
        FormatError: A file cannot be read, is a JPEG mask, or the sizes of image and mask differ.
    """
    lonely = [pair.image.name for pair in pairing.without_mask]
    if lonely and without_mask == "error":
        raise ProjectError(
            f"{folder}: {len(lonely):,} image(s) without a mask ({listed(lonely, most=2)}); "
            "--without-mask skip leaves them out, unlabelled makes them unknown"
        )
    pairs = [pair for pair in pairing.pairs if pair.mask is not None or without_mask == "unlabelled"]
    tick = Ticker(len(pairs), on_progress)
    pictures = []
    for pair, name in zip(pairs, _names(pairs, folder), strict=True):
        pictures.append(_picture(pair, name, mpp))
        tick(name)
    done = {"skip": "left out", "unlabelled": "unknown (ignore) everywhere", "error": ""}[without_mask]
    notes = [f"{len(lonely):,} image(s) without a mask {done}: {listed(lonely)}"] if lonely else []
    if pairing.lonely_masks:
        names = listed(path.name for path in pairing.lonely_masks)
        notes.append(f"{len(pairing.lonely_masks):,} mask(s) without an image left out: {names}")
    if pairing.unused:
        names = listed(path.relative_to(folder).as_posix() for path in pairing.unused)
        notes.append(f"{len(pairing.unused):,} picture(s) beside the folders of images not used: {names}")
    return pictures, notes


def _names(pairs: Sequence[Pair], folder: Path) -> list[str]:
    """The images' file names, or where two have one their paths."""
    counts = Counter(pair.image.name for pair in pairs)
    return [
        pair.image.name if counts[pair.image.name] == 1 else pair.image.relative_to(folder).as_posix() for pair in pairs
    ]


def _picture(pair: Pair, name: str, mpp: float | None) -> Picture:
    source = SlideSource(name=name, path=pair.image, mpp=mpp)
    mask = None if pair.mask is None else mask_facts(pair.mask)
    with open_source(source) as slide:
        width, height = slide.info.width, slide.info.height
        if mask is not None and (mask.width, mask.height) != (width, height):
            raise FormatError(
                f"{mask.path}: is {mask.width} x {mask.height} px, its image {pair.image.name} {width} x {height}; "
                "they have to be of one size"
            )
        digest = hashlib.sha256(f"{width} {height} ".encode())
        for y in range(0, height, _ROWS):
            strip = Tile(col=0, row=0, x=0, y=y, width=width, height=min(_ROWS, height - y))
            digest.update(slide.read(strip).tobytes())
        return Picture(
            pair=pair,
            source=replace(source, mpp=slide.info.mpp),
            width=width,
            height=height,
            mpp=slide.info.mpp,
            mpp_note=slide.info.mpp_note,
            reader=slide.reader.name,
            pages=pages_of_one_size(pair.image),
            pixels_sha256=digest.hexdigest(),
            mask=mask,
        )


def notes_on_pictures(pictures: Sequence[Picture]) -> list[str]:
    """Say of which images only one page is used, of how many um/px are unknown, and whether they differ."""
    several = [f"{picture.name} ({picture.pages})" for picture in pictures if picture.pages > 1]
    unknown = [picture for picture in pictures if picture.mpp is None]
    notes = []
    if several:
        notes.append(f"{len(several):,} image(s) with several pages, of which the first is used: {listed(several)}")
    if unknown:
        notes.append(
            f"um/px of {len(unknown):,} image(s) is unknown ({unknown[0].mpp_note or 'not stated'}); --mpp states it"
        )
    sizes = sorted({picture.mpp for picture in pictures if picture.mpp is not None})
    if len(sizes) > 1:
        notes.append(f"images are of different um/px, {sizes[0]:.4g} to {sizes[-1]:.4g}; none is resampled")
    return notes
