"""Which images stay together, and which split each is in: by folders, by a pattern, by a table, or drawn."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from qpkit.dataset.leakage import joined_groups, same_images
from qpkit.dataset.record import SPLITS, Split
from qpkit.dataset.splits import draw_splits, split_named
from qpkit.errors import ConfigError, FormatError, listed, or_else
from qpkit.workflows.folders.pictures import Picture
from qpkit.workflows.folders.settings import FolderSettings

_GROUP_COLUMNS: Final = ("group", "patient", "patient_id", "case")
_SPLIT_COLUMN: Final = "split"


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """What an image belongs to; the split is None where nothing states it."""

    group: str
    split: Split | None


def memberships(pictures: Sequence[Picture], settings: FolderSettings) -> tuple[list[Membership], str, list[str]]:
    """Give every image its group and split.

    Returns:
        One for each image, all with a split; by what they were split ("stated" or "group"); notes.

    Raises:
        ConfigError: The pattern or the table says nothing of an image, or only some images have a stated split.
    """
    found = _stated(pictures, settings)
    without = [picture.name for picture, item in zip(pictures, found, strict=True) if item.split is None]
    is_stated = settings.split == "stated" or (settings.split == "auto" and len(without) < len(pictures))
    if not is_stated:
        return _drawn(pictures, found, settings)
    if without:
        raise ConfigError(
            f"no train, val or test is stated for {len(without):,} of {len(pictures):,} images "
            f"({listed(without, most=2)}); --split group draws the split of all"
        )
    counts = Counter(item.split for item in found)
    notes = [f"splits as stated: {', '.join(f'{name} {counts[name]:,}' for name in SPLITS if counts[name])} image(s)"]
    if not counts["train"]:
        raise ConfigError("no image is stated to be for training; --split group draws the split of all")
    if not counts["val"]:
        notes.append("no image is for validation: a training then chooses its epoch on what it learns from")
    return found, "stated", notes


def _drawn(
    pictures: Sequence[Picture], found: Sequence[Membership], settings: FolderSettings
) -> tuple[list[Membership], str, list[str]]:
    """Draw splits by group; groups that show the same image go together."""
    same = {picture.name: picture.pixels_sha256 for picture in pictures}
    units, _ = joined_groups({p.name: {m.group} for p, m in zip(pictures, found, strict=True)}, same)
    drawn = draw_splits([units[m.group] for m in found], seed=settings.seed, fractions=settings.fractions)
    every = [Membership(group=m.group, split=drawn[units[m.group]]) for m in found]
    wanted = {name for name, part in zip(SPLITS, settings.fractions, strict=True) if part}
    missing = sorted(wanted - set(drawn.values()))
    notes = [f"only {len(set(units.values()))} group(s): no {' and no '.join(missing)} split"] if missing else []
    twins = same_images([picture.name for picture in pictures], same)
    if twins:
        shown = listed((" = ".join(names) for names in twins), most=3)
        notes.append(f"{len(twins):,} image(s) are there more than once, kept together: {shown}")
    if settings.group_pattern is None and settings.groups is None and len(pictures) > 1:
        notes.append(
            "every image is a group of its own; images of one patient belong together: --group-pattern, --groups"
        )
    return every, "group", notes


def _stated(pictures: Sequence[Picture], settings: FolderSettings) -> list[Membership]:
    if settings.group_pattern is not None:
        return [_by_pattern(picture, re.compile(settings.group_pattern)) for picture in pictures]
    if settings.groups is not None:
        return _by_table(pictures, settings.groups, settings.group_column)
    return [Membership(group=picture.name, split=picture.pair.split) for picture in pictures]


def _by_pattern(picture: Picture, pattern: re.Pattern[str]) -> Membership:
    match = pattern.search(picture.pair.image.stem) or pattern.search(picture.pair.key)
    if match is None:
        raise ConfigError(f"--group-pattern {pattern.pattern!r}: does not fit {picture.pair.key!r}")
    named = match.groupdict()
    split = picture.pair.split
    if named.get(_SPLIT_COLUMN) is not None:
        split = split_named(named[_SPLIT_COLUMN])
        if split is None:
            raise ConfigError(
                f"--group-pattern: the split of {picture.pair.key!r} is {named['split']!r}, not train, val or test"
            )
    unnamed = [text for number, text in enumerate(match.groups(), start=1) if number not in _named_numbers(pattern)]
    group = named.get("group") or next((text for text in unnamed if text), picture.name)
    return Membership(group=group, split=split)


def _named_numbers(pattern: re.Pattern[str]) -> set[int]:
    return set(pattern.groupindex.values())


def _by_table(pictures: Sequence[Picture], path: Path, column: str | None) -> list[Membership]:
    rows = _rows(path)
    titles = list(rows[0])
    lower = {title.strip().lower(): title for title in titles}
    group = column or next((lower[name] for name in _GROUP_COLUMNS if name in lower), "")
    if group not in titles:
        raise ConfigError(f"{path}: no column {group or 'group'!r} for --group-column; {or_else(group, titles)}")
    known = _rows_by_file(pictures, rows, titles, path)
    missing = [picture.name for picture in pictures if picture.name not in known]
    if missing:
        raise ConfigError(f"{path}: no column names all images; nothing about {len(missing):,}, such as {missing[0]}")
    found = []
    for picture in pictures:
        row = known[picture.name]
        said = (row.get(lower.get(_SPLIT_COLUMN, ""), "") or "").strip()
        split = split_named(said) if said else picture.pair.split
        if said and split is None:
            raise ConfigError(f"{path}: split {said!r} of {picture.name} is not train, val or test")
        if not (row[group] or "").strip():
            raise ConfigError(f"{path}: the {group} of {picture.name} is empty")
        found.append(Membership(group=row[group].strip(), split=split))
    return found


def _rows_by_file(
    pictures: Sequence[Picture], rows: Sequence[Mapping[str, str]], titles: Sequence[str], path: Path
) -> dict[str, Mapping[str, str]]:
    """The row of each image, by the column that names the most of them: by path, file name, or name without ending."""
    columns = [_named_in([_file_text(row[title]) for row in rows], pictures) for title in titles]
    best = max(columns, key=len)
    twice = [name for name, numbers in best.items() if len({tuple(rows[n].items()) for n in numbers}) > 1]
    if twice:
        raise ConfigError(f"{path}: {twice[0]} is there {len(best[twice[0]])} times; keep one row")
    return {name: rows[numbers[0]] for name, numbers in best.items()}


def _named_in(texts: Sequence[str], pictures: Sequence[Picture]) -> dict[str, list[int]]:
    """Numbers of the rows that name each image."""
    places: dict[str, list[int]] = {}
    for number, text in enumerate(texts):
        places.setdefault(text, []).append(number)
    found = {}
    for picture in pictures:
        image = picture.pair.image
        known = (picture.name, picture.pair.key, image.name, image.stem)
        rows = next((places[text] for text in known if text in places), None)
        if rows:
            found[picture.name] = rows
    return found


def _file_text(cell: str) -> str:
    return PurePosixPath(cell.strip()).as_posix()


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, restval="", strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise FormatError(f"{path}: cannot be read as a CSV table ({err})") from err
    if not rows or None in rows[0]:
        raise FormatError(f"{path}: a first line with names of columns, and a row for each image, are needed")
    return rows
