"""Which files of a folder are images, which are their masks: by words in the names of folders and files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final, Literal

from qpkit.dataset.record import Split
from qpkit.dataset.splits import split_named
from qpkit.errors import FormatError, ProjectError, listed

LOSSY: Final = (".jpg", ".jpeg")
"""Endings of images that no mask can have: its values would not be those that were drawn."""

SUFFIXES: Final = (".png", *LOSSY, ".tif", ".tiff", ".bmp")

Role = Literal["image", "mask"]

_IMAGE_WORDS: Final = "image images img imgs rgb rgbs input inputs"
_MASK_WORDS: Final = (
    "mask masks label labels labelled gt gts truth groundtruth anno annotation annotations seg segmentation "
    "segmentations target targets instance instances"
)
_WORDS: Final[dict[Role, frozenset[str]]] = {
    "image": frozenset(_IMAGE_WORDS.split()),
    "mask": frozenset(_MASK_WORDS.split()),
}
_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")
_ROLE_AT_END: Final = re.compile(
    r"(?P<name>.+?)[ _.-]+(?:(?P<mask>masks?|labels?|labelled|gt|groundtruth|ground_truth|anno|annotations?|seg|"
    r"segmentations?|instances?)|(?P<image>images?|img|rgb))$",
    re.IGNORECASE,
)
_NNUNET: Final = {"tr": "train", "ts": "test"}
"""Behind images and labels, as nnU-Net calls its folders; its images end in the number of their channel."""

_MADE_BY_QPKIT: Final = ("export.json", "run.json", "predictions.json", "evaluation.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """An image and its mask.

    Args:
        key: What both are called: the path in the folder without what says that it is an image or a mask.
        image: The file.
        mask: The file, or None.
        split: What its folders say.
    """

    key: str
    image: Path
    mask: Path | None
    split: Split | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """What was found in a folder.

    Args:
        pairs: In the order of their keys; images without a mask, too.
        lonely_masks: Masks without an image.
        unused: Pictures that are neither, as they lie beside folders of images.
        how: Where both lie, in words.
    """

    pairs: tuple[Pair, ...]
    lonely_masks: tuple[Path, ...]
    unused: tuple[Path, ...]
    how: str

    @property
    def without_mask(self) -> tuple[Pair, ...]:
        """Images without a mask."""
        return tuple(pair for pair in self.pairs if pair.mask is None)


@dataclass(frozen=True, slots=True)
class _Found:
    path: Path
    role: Role | None
    key: str
    short_key: str
    """Without the other words of the folder that says the role: "colorNormalized" of "rgbs_colorNormalized"."""


def holds_pictures(folder: Path) -> bool:
    """Say whether there is a picture in a folder or below that qpkit did not make."""
    return folder.is_dir() and next(_pictures(folder), None) is not None


def find_pairs(folder: Path, *, images: str | None = None, masks: str | None = None) -> Pairing:
    """Pair the images and masks of a folder and those below.

    Images lie in folders such as images, img, rgb (or have no word that says something else), masks in folders such as
    masks, labels, gt, or beside the images with a name that ends in _mask, _label, _gt. Both have one name. Where
    nothing says so, JPEGs are images and files of their names with another ending are masks.

    Args:
        folder: Where to look.
        images, masks: Folders, or patterns whose * is the name that both share; both or none.

    Raises:
        ProjectError: There is no such folder, no picture in it, or no mask for any image.
        FormatError: Two images, or two masks, have one name.
    """
    if not folder.is_dir():
        raise ProjectError(f"{folder}: there is no such folder")
    files = list(_pictures(folder))
    if images is not None and masks is not None:
        by_pattern: dict[Role, str] = {"image": images, "mask": masks}
        found = [item for role, text in by_pattern.items() for item in _fitting(folder, files, role, text)]
        unused: list[Path] = []
    else:
        every = [_found(folder, path) for path in files]
        in_folders = any(item.role == "image" and _folder_role(item.path, folder) == "image" for item in every)
        found = [item if item.role or in_folders else replace(item, role="image") for item in every]
        unused = [item.path for item in found if item.role is None]
        found = found if any(item.role == "mask" for item in found) else _by_ending(found)
    short = [replace(item, key=item.short_key) for item in found]
    return _paired(folder, found if _shared(found) >= _shared(short) else short, unused)


def _paired(folder: Path, found: Sequence[_Found], unused: Sequence[Path]) -> Pairing:
    images, masks = _by_key(found, "image"), _by_key(found, "mask")
    if not images.keys() & masks.keys():
        said = f"{len(images):,} image(s) and {len(masks):,} mask(s)"
        names = f", such as {next(iter(masks.values())).name}" if masks else ""
        raise ProjectError(
            f"{folder}: {said}{names}, and none belong together by their names; say --images and --masks, such as "
            '--images "rgb/*.png" --masks "gt/*_gt.png"'
        )
    pairs = tuple(
        Pair(key=key, image=path, mask=masks.get(key), split=_split_of(path, folder))
        for key, path in sorted(images.items())
    )
    used = [pair for pair in pairs if pair.mask is not None]
    places = [sorted({_place(path, folder) for path in paths}) for paths in (
        [pair.image for pair in used], [pair.mask for pair in used if pair.mask])]  # fmt: skip
    how = (
        f"{len(used):,} image(s) in {listed(places[0], most=3)}, masks in {listed(places[1], most=3)}, "
        f"such as {used[0].image.name} and {used[0].mask.name if used[0].mask else ''}"
    )
    lonely = tuple(path for key, path in sorted(masks.items()) if key not in images)
    return Pairing(pairs=pairs, lonely_masks=lonely, unused=tuple(unused), how=how)


def _by_ending(found: Sequence[_Found]) -> list[_Found]:
    """Where names alone say nothing: a PNG, TIFF or BMP beside a JPEG of one name is its mask, which no JPEG can be."""
    photos = {item.key for item in found if item.path.suffix.lower() in LOSSY}
    return [
        replace(item, role="mask") if item.key in photos and item.path.suffix.lower() not in LOSSY else item
        for item in found
    ]


def _shared(found: Sequence[_Found]) -> int:
    """How many keys images and masks have in common."""
    keys: list[set[str]] = [{item.key for item in found if item.role == role} for role in _WORDS]
    return len(set.intersection(*keys))


def _place(path: Path, folder: Path) -> str:
    inside = path.parent.relative_to(folder).as_posix()
    return folder.name if inside == "." else inside


def _by_key(found: Sequence[_Found], role: Role) -> dict[str, Path]:
    result: dict[str, Path] = {}
    for item in found:
        if item.role == role:
            if item.key in result:
                names = f"{result[item.key].name} and {item.path.name}"
                raise FormatError(f"{item.path.parent}: {names} are both the {role} of {item.key!r}; keep one of them")
            result[item.key] = item.path
    return result


def _pictures(folder: Path) -> Iterator[Path]:
    """Every picture below, in order, also in linked folders; not what is hidden, and not what qpkit made."""
    seen: set[Path] = set()
    for place, below, names in os.walk(folder, followlinks=True):
        here = Path(place).resolve()
        if here in seen:  # a link in a circle, or two to one folder
            below.clear()
            continue
        seen.add(here)
        below[:] = sorted(name for name in below if not name.startswith((".", "__")) and ".partial-" not in name)
        if set(names) & set(_MADE_BY_QPKIT):
            below.clear()
            continue
        yield from (
            Path(place) / name
            for name in sorted(names)
            if not name.startswith(".") and PurePosixPath(name).suffix.lower() in SUFFIXES
        )


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(name)]


def _role_of_words(words: Sequence[str]) -> Role | None:
    """What words say; "image_masks" are masks."""
    roles: tuple[Role, Role] = ("mask", "image")
    return next((role for role in roles for word in words if word in _WORDS[role]), None)


def _folder_role(path: Path, folder: Path) -> Role | None:
    """What the deepest folder says whose name has a word of either."""
    roles = [_role_of_words(_words(part)) for part in path.parent.relative_to(folder).parts]
    return next((role for role in reversed(roles) if role), None)


def _found(folder: Path, path: Path) -> _Found:
    parts = list(path.parent.relative_to(folder).parts)
    role = _folder_role(path, folder)
    is_nnunet, short = False, parts
    for number in range(len(parts) - 1, -1, -1):
        words = _words(parts[number])
        if _role_of_words(words) is not None:
            rest = [word for word in words if all(word not in known for known in _WORDS.values())]
            is_nnunet = role == "image" and rest[-1:] != [] and rest[-1] in _NNUNET
            short = [*parts[:number], *parts[number + 1 :]]
            parts[number] = "_".join(rest)
            break
    stem = path.stem.removesuffix("_0000") if is_nnunet else path.stem
    ending = _ROLE_AT_END.fullmatch(stem)
    if ending is not None and (ending["mask"] or role != "mask"):
        role, stem = ("mask" if ending["mask"] else "image"), ending["name"]
    return _Found(path, role, *("/".join([*filter(None, kept), stem]) for kept in (parts, short)))


def _fitting(folder: Path, files: Sequence[Path], role: Role, pattern: str) -> Iterator[_Found]:
    """Files in a folder, or that fit a pattern; the key is what its stars stand for."""
    is_pattern = "*" in pattern
    compiled = _compiled(pattern.strip("/")) if is_pattern else None
    for path in files:
        inside = path.relative_to(folder)
        if compiled is not None:
            match = compiled.fullmatch(inside.as_posix())
            if match is not None:
                key = "/".join(part.strip("/") for part in match.groups() if part)
                yield _Found(path, role, key, key)
        elif inside.is_relative_to(pattern):
            stem = inside.relative_to(pattern).with_suffix("").as_posix()
            ending = _ROLE_AT_END.fullmatch(stem)
            key = ending["name"] if ending is not None and ending[role] else stem
            yield _Found(path, role, key, key)


def _compiled(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*/|\*)", pattern)
    meanings = {"**/": r"((?:.+/)?)", "*": r"([^/]*)"}
    return re.compile("".join(meanings.get(part, re.escape(part)) for part in parts))


def _split_of(path: Path, folder: Path) -> Split | None:
    """What the deepest folder says whose name has a word for a split."""
    for part in reversed(path.parent.relative_to(folder).parts):
        words = _words(part)
        named = [split_named(word) for word in words]
        if _role_of_words(words) is not None:
            named += [split_named(_NNUNET[word]) for word in words if word in _NNUNET]
        if any(named):
            return next(split for split in named if split)
    return None
