"""qpkit split: share out the tiles of an export anew, whole groups, every class evenly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from qpkit.dataset import TileRecord, TileSet
from qpkit.dataset.counts import TileCounts, count_tiles
from qpkit.dataset.leakage import Leakage, find_leakage, joined_groups
from qpkit.dataset.record import SPLITS, Split
from qpkit.dataset.resplit import NewSplit, resplit_beside, resplit_in_place
from qpkit.dataset.splits import SplitRule, draw_splits
from qpkit.dataset.stratify import Amounts, Numbers, Parts, plain_folds, stratified, unevenness
from qpkit.errors import ConfigError, OutputError, listed
from qpkit.files import AnyPath, path_of
from qpkit.workflows.tables.split_settings import SplitSettings
from qpkit.workflows.tables.tile_facts import (
    context_of,
    images_of,
    metadata_of,
    patient_key,
    patients_of,
    read_filled_table,
)

_ASIDE = 0.25
"""What background and the number of tiles weigh in a split beside a class's 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartReport:
    """One fold, or one split if there are no folds.

    Args:
        name: "train", "val", "test", or the fold's number.
        split: Where its tiles are now.
        wished: Fraction that it should have; None where metadata name the splits.
        groups: Groups in it.
        counts: What its tiles show.
    """

    name: str
    split: Split
    wished: float | None
    groups: int
    counts: TileCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitReport:
    """What a split did.

    Args:
        tiles: The set as it was before.
        parts: Folds or splits, in order.
        uneven_before: `unevenness` of the splits that were there; None with folds, or if they were other ones.
        uneven_plain: ... of a draw with the same seed that ignores classes.
        uneven: ... of what was written. None where metadata name the splits.
        leakage: What was found and allowed.
        notes: What the user should know.
        backup: The table as it was, or None if a new one was written beside.
    """

    tiles: TileSet
    parts: tuple[PartReport, ...]
    uneven_before: float | None
    uneven_plain: float | None
    uneven: float | None
    leakage: Leakage
    notes: tuple[str, ...]
    backup: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draw:
    """The part of every tile, the unevenness of three draws as in SplitReport, and what to say about it."""

    parts: list[str]
    notes: tuple[str, ...] = ()
    before: float | None = None
    plain: float | None = None
    now: float | None = None


def split_tiles(
    root: AnyPath,
    settings: SplitSettings,
    *,
    metadata: AnyPath | None = None,
    out: AnyPath | None = None,
    overwrite: bool = False,
) -> SplitReport:
    """Share out the tiles of an export folder anew.

    Args:
        root: The folder.
        settings: How.
        metadata: Project or CSV that knows the slides' metadata, for rules that need it.
        out: Folder for a second table about the same tiles; None changes `root` and keeps a backup.
        overwrite: Replace such a second table.

    Raises:
        FormatError: The table is missing, damaged or empty.
        ConfigError: Fewer groups than parts, a key that the metadata do not have, leakage that is not allowed, or an
            nnU-Net data set that would be changed in place.
        OutputError: The folder cannot be written, or holds something else.
    """
    root, metadata, out = Path(root), path_of(metadata), path_of(out)
    tiles = read_filled_table(root)
    in_place = out is None or out.resolve() == root.resolve()
    if in_place and tiles.info.get("store") == "nnunet":
        raise ConfigError(
            f"{root}: an nnU-Net data set has its split in its folders (imagesTr, imagesTs) and in splits_final.json; "
            "export again with another --split, or write a table of its own with -o (for qpkit train)"
        )
    facts = _known_metadata(tiles, settings, metadata)
    groups = _groups(tiles, settings, facts)
    images = images_of(tiles)
    if settings.by is not None and settings.by.by == "metadata":
        draw = _named(tiles, settings.by, facts)
    else:
        draw = _drawn(tiles, groups, settings, images)
    patients = _patients(tiles, settings, facts)
    together = _kept_together(tiles.tiles, groups, patients)
    leakage = find_leakage(
        tiles.tiles,
        draw.parts,
        groups=together,
        images=images,
        patients=patients,
        context=max(context_of(tiles)),
    )
    _require_allowed(leakage, settings)
    new = _new_split(tiles, draw, groups, settings, {"patients": patients, "leakage": leakage.describe()})
    parts = _reports(tiles, draw.parts, new, settings)
    backup = None
    if out is None or in_place:
        backup = resplit_in_place(tiles, new)
    else:
        resplit_beside(tiles, new, out, overwrite=overwrite)
    return SplitReport(
        tiles=tiles,
        parts=tuple(parts),
        uneven_before=draw.before,
        uneven_plain=draw.plain,
        uneven=draw.now,
        leakage=leakage,
        notes=(*draw.notes, *_empty_classes(tiles, parts)),
        backup=backup,
    )


def split_folds(
    root: Path, settings: SplitSettings, out: Path, *, metadata: Path | None = None, overwrite: bool = False
) -> list[SplitReport]:
    """Write every fold as a table of its own, `out`/fold-1 to fold-K, each about the same tiles.

    Args:
        root: The tiles.
        settings: How; with folds, and each fold in its turn is the tested one.
        out: Folder to make them in.
        metadata: As for split_tiles.
        overwrite: Replace tables that an earlier split wrote.

    Returns:
        A report per fold.

    Raises:
        FormatError, ConfigError: As split_tiles.
        OutputError: As split_tiles, or one of the folders is there already; then none is written.
    """
    folders = {fold: out / f"fold-{fold}" for fold in range(1, (settings.folds or 0) + 1)}
    there = [str(folder) for folder in folders.values() if folder.exists()]
    if there and not overwrite:
        raise OutputError(f"{listed(there)}: there already; add --overwrite to replace it")
    return [
        split_tiles(root, replace(settings, fold=fold), metadata=metadata, out=folder, overwrite=overwrite)
        for fold, folder in folders.items()
    ]


def _known_metadata(tiles: TileSet, settings: SplitSettings, source: Path | None) -> Mapping[str, Mapping[str, str]]:
    """Metadata by slide: of the source, the patients of an earlier split, or what the export has written down.

    Raises:
        ConfigError: The rule needs metadata and there are none.
    """
    if settings.by is None or not settings.by.key or source is not None:
        return metadata_of(tiles, source)
    if settings.by.by == "patient" and settings.by.key == patient_key(tiles):
        patients = patients_of(tiles)
        key = settings.by.key
        return {t.slide: {key: patients[t.slide]} if t.slide in patients else {} for t in tiles.tiles}
    told = metadata_of(tiles, None)
    if any(settings.by.key in found for found in told.values()):
        return told
    raise ConfigError(
        f"--by {settings.by}: the table does not know {settings.by.key!r}; add --metadata with the QuPath project or "
        "a CSV (first column the slide)"
    )


def _groups(tiles: TileSet, settings: SplitSettings, facts: Mapping[str, Mapping[str, str]]) -> list[str]:
    """What every tile is kept together with; the table's own groups where the rule says nothing about it."""
    rule = settings.by
    by_tile = all(t.group == t.key for t in tiles.tiles)
    if rule is None or (rule.by == "metadata" and not by_tile):
        return [t.group for t in tiles.tiles]
    if rule.by == "tile":
        return [t.key for t in tiles.tiles]
    return [rule.group_of(t.slide, facts[t.slide]) for t in tiles.tiles]


def _patients(tiles: TileSet, settings: SplitSettings, facts: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    if settings.by is not None and settings.by.by == "patient":
        return {slide: found[settings.by.key] for slide, found in facts.items()}
    return patients_of(tiles)


def _named(tiles: TileSet, rule: SplitRule, facts: Mapping[str, Mapping[str, str]]) -> _Draw:
    """Take the splits that the metadata name.

    Raises:
        ConfigError: A value names no split, or none names training.
    """
    parts: list[str] = [rule.named_split(t.slide, facts[t.slide]) or "train" for t in tiles.tiles]
    if "train" not in parts:
        raise ConfigError(f"--by {rule}: the metadata name no slide for training")
    return _Draw(parts=parts)


def _drawn(tiles: TileSet, groups: Sequence[str], settings: SplitSettings, images: Mapping[str, str]) -> _Draw:
    """Draw the part of every tile; groups that show the same image go together unless that leakage is allowed.

    Raises:
        ConfigError: There are not enough groups.
    """
    groups_of: dict[str, set[str]] = {}
    for tile, group in zip(tiles.tiles, groups, strict=True):
        groups_of.setdefault(tile.slide, set()).add(group)
    units, notes = joined_groups(groups_of, {} if "image" in settings.allow else images)
    unit_of_tile = [units[group] for group in groups]
    names = sorted(set(unit_of_tile))
    _require_groups(names, settings)
    number = {name: index for index, name in enumerate(names)}
    index = np.array([number[unit] for unit in unit_of_tile])
    amounts, wished = _amounts(tiles, index, len(names)), np.array(settings.wished)
    plain = _plain(names, settings)
    parts = stratified(amounts, plain, wished, seed=settings.seed) if settings.stratify else plain
    return _Draw(
        parts=[settings.parts[part] for part in parts[index]],
        notes=tuple(notes),
        before=_unevenness_before(tiles, settings, wished),
        plain=unevenness(amounts, plain, wished),
        now=unevenness(amounts, parts, wished),
    )


def _require_groups(names: Sequence[str], settings: SplitSettings) -> None:
    wanted = settings.parts
    if len(names) >= len(wanted):
        return
    shown = ", ".join(names[:5])
    what = f"{len(wanted)} folds" if settings.folds else f"the splits {listed(wanted)}"
    if len(names) == 1:
        advice = "a table of one group cannot be split without leakage"
    elif settings.folds:
        advice = f"use --folds {len(names)} or fewer"
    else:
        advice = "use --fractions 8:2:0"
    raise ConfigError(f"there are {len(names)} group(s) ({shown}) by {settings.rule}, not enough for {what}; {advice}")


def _amounts(tiles: TileSet, index: Parts, count: int) -> Amounts:
    """Pixels of every class and of the background, and tiles, by unit."""
    labels = tiles.labels
    values = labels.trained_values
    per_tile = np.array([[t.pixels.get(value, 0) for value in values] + [1] for t in tiles.tiles], dtype=np.float64)
    units: Numbers = np.zeros((count, per_tile.shape[1]))
    np.add.at(units, index, per_tile)
    weights = [_ASIDE if value == labels.background else 1.0 for value in values]
    return Amounts(units, np.array([*weights, _ASIDE]))


def _plain(names: Sequence[str], settings: SplitSettings) -> Parts:
    """A draw that ignores classes: for fractions the one that `qpkit export` makes."""
    if settings.folds is not None:
        return plain_folds(len(names), settings.folds, seed=settings.seed)
    splits = draw_splits(names, seed=settings.seed, fractions=settings.drawn)
    return np.array([settings.parts.index(splits[name]) for name in names])


def _unevenness_before(tiles: TileSet, settings: SplitSettings, wished: Numbers) -> float | None:
    """How even the splits are that the table has; None if they are not those of the settings."""
    found = [t.split for t in tiles.tiles]
    if settings.folds is not None or not set(found) <= set(settings.parts):
        return None
    index = np.arange(len(found))
    parts = np.array([settings.parts.index(split) for split in found])
    return unevenness(_amounts(tiles, index, len(found)), parts, wished)


def _kept_together(tiles: Sequence[TileRecord], groups: Sequence[str], patients: Mapping[str, str]) -> list[str]:
    """What must not be separated: the groups, and the table's own ones that hold several slides.

    Where patients are known they say what those groups say, and more exactly.
    """
    slides: dict[str, set[str]] = {}
    for tile in tiles:
        slides.setdefault(tile.group, set()).add(tile.slide)
    wide = set() if patients else {group for group, names in slides.items() if len(names) > 1}
    return [tile.group if tile.group in wide else group for tile, group in zip(tiles, groups, strict=True)]


def _require_allowed(leakage: Leakage, settings: SplitSettings) -> None:
    """Refuse what leaks without being allowed to.

    Raises:
        ConfigError: Names every such kind, and how to allow it.
    """
    refused = [kind for kind in leakage.kinds if kind not in settings.allow]
    if refused:
        lines = [line for line in leakage.describe() if line.startswith(tuple(f"{kind}:" for kind in refused))]
        raise ConfigError(
            f"this split leaks and was not made: {listed(lines, joint='; ')}; keep them together with another --by, or "
            f"if that is wanted, add --allow-leakage {','.join(refused)}"
        )


def _new_split(
    tiles: TileSet, draw: _Draw, groups: Sequence[str], settings: SplitSettings, found: Mapping[str, Any]
) -> NewSplit:
    """The columns to write and what export.json shall say, `found` with it."""
    by_patient = settings.by is not None and settings.by.by == "patient"
    record = settings.to_builtins() | {
        "unevenness": {"before": draw.before, "ignoring_classes": draw.plain, "now": draw.now},
        "patient_key": settings.by.key if settings.by and by_patient else patient_key(tiles),
        **found,
    }
    return NewSplit(
        splits=[settings.split_of(part) for part in draw.parts],
        groups=groups,
        folds=[int(part) for part in draw.parts] if settings.folds else None,
        record=record,
    )


def _reports(tiles: TileSet, parts: Sequence[str], new: NewSplit, settings: SplitSettings) -> list[PartReport]:
    named = settings.by is not None and settings.by.by == "metadata"
    names = list(SPLITS) if named else settings.parts
    wished = [None] * len(names) if named else settings.wished
    found = []
    for name, fraction in zip(names, wished, strict=True):
        rows = [row for row, part in enumerate(parts) if part == name]
        counts = count_tiles([tiles.tiles[row] for row in rows], tiles.labels)
        inside = len({new.groups[row] for row in rows})
        found.append(
            PartReport(name=name, split=settings.split_of(name), wished=fraction, groups=inside, counts=counts)
        )
    return found


def _empty_classes(tiles: TileSet, parts: Sequence[PartReport]) -> list[str]:
    """Parts without tiles, and classes that a part does not show."""
    notes = []
    for part in parts:
        what = part.name if part.name == part.split else f"fold {part.name}"
        if not part.counts.tiles:
            notes.append(f"no tile is in {what}")
            continue
        missing = [c.name for c in tiles.labels.classes if not part.counts.pixels[c.value]]
        if missing:
            notes.append(f"{what} shows no pixel of {listed(missing)}")
    return notes
