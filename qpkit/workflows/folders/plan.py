"""What an import of a folder will do, worked out before the first tile: pairs, what masks mean, splits, tile size."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from qpkit.core.labels import LabelMap, label_map_to_builtins
from qpkit.errors import ConfigError, ProjectError
from qpkit.files import sha256
from qpkit.progress import OnProgress, no_progress
from qpkit.workflows.folders.meaning import MaskMeaning, meaning_of
from qpkit.workflows.folders.membership import Membership, memberships
from qpkit.workflows.folders.numbered import NumberMeaning, number_meaning
from qpkit.workflows.folders.pairing import find_pairs
from qpkit.workflows.folders.pictures import Picture, look_at, notes_on_pictures
from qpkit.workflows.folders.settings import FolderSettings
from qpkit.workflows.folders.stated_classes import parse_classes
from qpkit.workflows.folders.tile_size import tile_size_for
from qpkit.workflows.inputs.versions import versions

AnyMeaning = MaskMeaning | NumberMeaning


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderPlan:
    """Everything that decides what an import writes.

    Args:
        folder: Of the images.
        pictures: Images with their masks, in the order of the table.
        members: Group and split of each.
        split_by: "stated" or "group".
        meaning: What mask pixels mean.
        tile_size: px.
        settings: What was asked for.
        paired: How images and masks were paired, in words.
        notes: What the user should know.
        job: Hash of all this and of the files: two plans of one hash write the same.
    """

    folder: Path
    pictures: tuple[Picture, ...]
    members: tuple[Membership, ...]
    split_by: str
    meaning: AnyMeaning
    tile_size: int
    settings: FolderSettings
    paired: str
    notes: tuple[str, ...]
    job: str

    @property
    def labels(self) -> LabelMap:
        """What the masks of the tiles hold."""
        return self.meaning.labels


def plan_import(folder: Path, settings: FolderSettings, *, on_progress: OnProgress = no_progress) -> FolderPlan:
    """Look at all files and settle what is to be done, so that what cannot work is said before the work.

    Args:
        folder: Of images and masks.
        settings: How they are read; dataset.toml is in them already.
        on_progress: Called with (images looked at, images in all, name).

    Raises:
        ProjectError: No folder, no pairs, or images without a mask.
        FormatError: A file cannot be read, sizes differ, a mask is a JPEG or has values that no class explains.
        ConfigError, LabelError: What is said does not fit, or has to be said.
    """
    pairing = find_pairs(folder, images=settings.images, masks=settings.masks)
    pictures, notes = look_at(
        pairing, folder, mpp=settings.mpp, without_mask=settings.without_mask, on_progress=on_progress
    )
    meaning, said = mask_meaning(pictures, settings)
    members, split_by, told = memberships(pictures, settings)
    tile_size, padded = tile_size_for(pictures, settings.tile_size, settings.overlap)
    return FolderPlan(
        folder=folder,
        pictures=tuple(pictures),
        members=tuple(members),
        split_by=split_by,
        meaning=meaning,
        tile_size=tile_size,
        settings=settings,
        paired=pairing.how,
        notes=(*said, *notes, *notes_on_pictures(pictures), *told, *padded),
        job=_job_hash(pictures, members, meaning, tile_size, settings),
    )


def mask_meaning(pictures: Sequence[Picture], settings: FolderSettings) -> tuple[AnyMeaning, list[str]]:
    """What masks mean as the settings, or their values, say; and notes.

    Raises:
        ProjectError: There is no mask.
        ConfigError, FormatError, LabelError: As `meaning_of` and `number_meaning` say.
    """
    masks = {picture.pair.key: picture.mask for picture in pictures if picture.mask is not None}
    if not masks:
        raise ProjectError("no image has a mask")
    if settings.instances is not None:
        if settings.unlisted != "error":
            raise ConfigError("--unlisted is for values of classes; every number of --instances has to have a class")
        return number_meaning(masks, settings.instances), []
    return meaning_of(list(masks.values()), parse_classes(settings.classes), settings.unlisted)


def _job_hash(
    pictures: Sequence[Picture],
    members: Sequence[Membership],
    meaning: AnyMeaning,
    tile_size: int,
    settings: FolderSettings,
) -> str:
    facts = [
        [picture.name, picture.pixels_sha256, picture.mpp, member.group, member.split]
        + ([] if picture.mask is None else [sha256(picture.mask.path)])
        for picture, member in zip(pictures, members, strict=True)
    ]
    lookup = meaning.to_builtins() if isinstance(meaning, MaskMeaning) else str(meaning.classes)
    plain = [facts, label_map_to_builtins(meaning.labels), lookup, tile_size, settings.to_builtins(), versions()]
    return hashlib.sha256(msgspec.json.encode(plain, order="deterministic")).hexdigest()
