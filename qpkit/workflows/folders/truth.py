"""Images with masks as slides with annotations: the masks' areas along pixel edges, so that nothing is lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import shapely

from qpkit.core.annotation import Annotation, PathClass
from qpkit.core.labels import LabelMap
from qpkit.core.tiles import SlideInfo
from qpkit.dataset import TileSet
from qpkit.errors import ConfigError, LabelError, listed
from qpkit.ops.vectors.vectorize import vectorize
from qpkit.workflows.evaluate.settings import PATIENT_KEY
from qpkit.workflows.folders.mask_facts import read_mask
from qpkit.workflows.folders.meaning import IGNORED, MaskMeaning
from qpkit.workflows.folders.membership import memberships
from qpkit.workflows.folders.numbered import number_meaning
from qpkit.workflows.folders.pairing import find_pairs
from qpkit.workflows.folders.pictures import Picture, look_at, notes_on_pictures
from qpkit.workflows.folders.plan import AnyMeaning, mask_meaning
from qpkit.workflows.folders.report import MASKS_KEY
from qpkit.workflows.folders.settings import FolderSettings
from qpkit.workflows.inputs.slides import SlideInput

WHOLE: Final = "Region*"
"""Class of the area that was annotated: a mask is all of its image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderTruth:
    """The images that a run can be judged on.

    Args:
        inputs: With the areas of their masks as objects.
        labels: The run's label map; what lies in no area is background.
        notes: What the user should know.
    """

    inputs: tuple[SlideInput, ...]
    labels: LabelMap
    notes: tuple[str, ...]


def folder_truth(folder: Path, settings: FolderSettings, *, labels: LabelMap, tiles: TileSet | None) -> FolderTruth:
    """Take the images of a folder that a run was neither trained nor chosen on.

    Args:
        folder: Of images and masks.
        settings: How they are read; dataset.toml is in them already.
        labels: Label map of the run.
        tiles: What the run was trained on, if it is still there: says which images it has seen, by their pixels, and
            what mask values mean where the settings do not.

    Raises:
        ConfigError: The run has seen all of them.
        LabelError: Masks have a class that the run does not have.
        QpkitError: As `plan_import` says.
    """
    pairing = find_pairs(folder, images=settings.images, masks=settings.masks)
    without = "skip" if settings.without_mask == "unlabelled" else settings.without_mask
    pictures, notes = look_at(pairing, folder, mpp=settings.mpp, without_mask=without)
    if tiles is not None and settings.mpp is None:
        pictures = _with_known_mpp(pictures, tiles)
    chosen, unseen = _unseen(pictures, tiles, folder)
    meaning, said = _meaning(chosen, settings, tiles)
    _require_known(meaning.labels, labels, folder)
    return FolderTruth(
        inputs=tuple(_inputs(chosen, meaning, settings, tiles)),
        labels=replace(
            labels,
            regions=tuple(dict.fromkeys((*labels.regions, WHOLE))),
            ignored=tuple(dict.fromkeys((*labels.ignored, IGNORED))),
            unannotated="ignore",
        ),
        notes=(*said, *notes, *notes_on_pictures(chosen), *unseen),
    )


def _unseen(pictures: Sequence[Picture], tiles: TileSet | None, folder: Path) -> tuple[list[Picture], list[str]]:
    """Images that the run was neither trained nor chosen on, and what to say of the others.

    Raises:
        ConfigError: There are none.
    """
    if tiles is None:
        gone = "the tiles of the run are gone: whether it has seen these images before is not checked"
        return list(pictures), [gone]
    seen = _splits_by_pixels(tiles)
    chosen = [picture for picture in pictures if seen.get(picture.pixels_sha256, "test") == "test"]
    if not chosen:
        raise ConfigError(f"{folder}: the run was trained or chosen on all {len(pictures):,} images; give others")
    left = len(pictures) - len(chosen)
    left_out = f"{left:,} of {len(pictures):,} images left out: the run was trained or chosen on them"
    return chosen, [left_out] if left else []


def _meaning(
    pictures: Sequence[Picture], settings: FolderSettings, tiles: TileSet | None
) -> tuple[AnyMeaning, list[str]]:
    """What masks mean as the settings say, else as when the tiles were made, else as their values can be read."""
    masks = None if tiles is None else tiles.info.get(MASKS_KEY)
    if tiles is None or not masks or settings.classes or settings.instances is not None:
        return mask_meaning(pictures, settings)
    facts = {picture.pair.key: picture.mask for picture in pictures if picture.mask is not None}
    if "instances" in masks:
        return number_meaning(facts, str(masks["instances"])), []
    meaning = MaskMeaning.from_builtins(masks, tiles.info["labels"])
    for mask in facts.values():
        meaning.require_explained(mask)
    return meaning, []


def _require_known(masks: LabelMap, labels: LabelMap, folder: Path) -> None:
    """Raise LabelError if masks have a class that the run does not have: it would be judged as background."""
    strange = [item.name for item in masks.classes if labels.class_of((item.sources or (item.name,))[0]) is None]
    if strange:
        known = listed((repr(item.name) for item in labels.classes), most=3)
        raise LabelError(
            f"{folder}: masks have class {listed(map(repr, strange), most=2)}, the run has {known}; name them so with "
            "classes in dataset.toml"
        )


def _with_known_mpp(pictures: Sequence[Picture], tiles: TileSet) -> list[Picture]:
    """Give images that the tiles were cut from the um per px that they had there; of others nothing is known."""
    mpp = {row["name"]: row.get("mpp") for row in tiles.info.get("slides") or []}
    known = {row.get("pixels_sha256"): mpp.get(row["name"]) for row in tiles.info.get("inputs") or []}
    return [
        replace(picture, mpp=there, source=replace(picture.source, mpp=there))
        if (there := known.get(picture.pixels_sha256)) is not None
        else picture
        for picture in pictures
    ]


def _splits_by_pixels(tiles: TileSet) -> dict[str, str]:
    """The split of each image that the tiles are cut from, by the hash of its pixels; training counts most."""
    splits: dict[str, set[str]] = {}
    for tile in tiles.tiles:
        splits.setdefault(tile.slide, set()).add(tile.split)
    found: dict[str, str] = {}
    for row in tiles.info.get("inputs") or []:
        if row.get("pixels_sha256") and row["name"] in splits:
            seen = splits[row["name"]] | {found.get(row["pixels_sha256"], "test")}
            found[row["pixels_sha256"]] = next(split for split in ("train", "val", "test") if split in seen)
    return found


def _inputs(
    pictures: list[Picture], meaning: AnyMeaning, settings: FolderSettings, tiles: TileSet | None
) -> list[SlideInput]:
    groups = {} if tiles is None else {tile.slide: tile.group for tile in tiles.tiles}
    if settings.group_pattern is not None or settings.groups is not None:
        members, _, _ = memberships(pictures, replace(settings, split="group"))
        groups = {picture.name: member.group for picture, member in zip(pictures, members, strict=True)}
    return [_input(picture, meaning, groups.get(picture.name, picture.name)) for picture in pictures]


def _input(picture: Picture, meaning: AnyMeaning, group: str) -> SlideInput:
    """An image as a slide; one that is a group of its own names no patient."""
    note = "" if picture.mpp else picture.mpp_note
    return SlideInput(
        source=picture.source,
        info=SlideInfo(width=picture.width, height=picture.height, mpp=picture.mpp, mpp_note=note),
        metadata={} if group == picture.name else {PATIENT_KEY: group},
        drawn=partial(mask_areas, picture, meaning),
    )


def mask_areas(picture: Picture, meaning: AnyMeaning) -> list[Annotation]:
    """The areas of a mask as annotations, one for each area or each numbered object, and one that covers the image.

    Drawn with their label map they give the mask again, pixel for pixel.
    """
    if picture.pair.mask is None or picture.mask is None:
        return []
    whole = Annotation(geometry=shapely.box(0, 0, picture.width, picture.height), path_class=PathClass.parse(WHOLE))
    read, labels = read_mask(picture.pair.mask), meaning.labels
    names = {item.value: (item.sources or (item.name,))[0] for item in labels.classes} | {labels.ignore: IGNORED}
    if isinstance(meaning, MaskMeaning):
        areas = vectorize(meaning.decode(read, picture.pair.mask), skip={labels.background})
        return [whole, *(_area([part], names[value]) for value, parts in areas.items() for part in parts)]
    _, numbers = meaning.decode(read, picture.pair.mask, picture.pair.key)
    values = {item.number: item.value for item in meaning.instances(picture.mask.found, picture.pair.key)}
    return [whole, *(_area(parts, names[values[number]]) for number, parts in vectorize(numbers, skip={0}).items())]


def _area(parts: Sequence[shapely.Polygon], name: str) -> Annotation:
    area = parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)
    return Annotation(geometry=area, path_class=PathClass.parse(name))
