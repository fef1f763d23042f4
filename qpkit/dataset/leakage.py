"""What one split knows of another: slides, groups, images and patients that are in more than one of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import shapely

from qpkit.dataset.record import TileRecord
from qpkit.errors import ConfigError, listed

LeakageKind = Literal["tile", "group", "image", "patient"]
LEAKAGE_KINDS: Final[tuple[LeakageKind, ...]] = ("tile", "group", "image", "patient")

_TOUCH: Final = 1e-3
"""Fraction of a tile's width by which edges may be apart and still touch: tiles lie on whole level px."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leakage:
    """The leakage between the parts of a table; all empty and 0 if there is none.

    Args:
        slides: Slides with tiles in more than one split.
        touching: Pairs of tiles of one slide, in different splits, that touch or overlap.
        overlapping: Those of them that share pixels.
        halos: Pairs (tile, tile of another split) of which the first one's surroundings show the second one.
        groups: Groups in more than one split.
        images: Names of slides that are one image file, and in more than one split.
        patients: Patients with slides in different splits.
    """

    slides: tuple[str, ...] = ()
    touching: int = 0
    overlapping: int = 0
    halos: int = 0
    groups: tuple[str, ...] = ()
    images: tuple[tuple[str, ...], ...] = ()
    patients: tuple[str, ...] = ()

    @property
    def kinds(self) -> tuple[LeakageKind, ...]:
        """Which kinds there are."""
        found = {"tile": self.slides, "group": self.groups, "image": self.images, "patient": self.patients}
        return tuple(kind for kind in LEAKAGE_KINDS if found[kind])

    def describe(self) -> list[str]:
        """One line for each kind that there is."""
        lines: dict[LeakageKind, str] = {
            "tile": f"{_named('slide', self.slides)} with tiles in several splits, {self.touching:,} pairs of tiles "
            f"touch across splits, {self.overlapping:,} of them share pixels"
            + (f", {self.halos:,} times the surroundings of one show another" if self.halos else ""),
            "group": f"{_named('group', self.groups)} in several splits",
            "image": f"{_named('image file', [' = '.join(names) for names in self.images])} in several splits under "
            "different slide names",
            "patient": f"{_named('patient', self.patients)} with slides in different splits",
        }
        return [f"{kind}: {lines[kind]}" for kind in self.kinds]


def _named(word: str, names: Sequence[str]) -> str:
    """ "3 slides (a, b, c)", the first five by name."""
    shown = listed(names, most=5)
    return f"{len(names)} {word}{'' if len(names) == 1 else 's'} ({shown})"


def parse_leakage_kinds(texts: Iterable[str]) -> frozenset[LeakageKind]:
    """Read the kinds of leakage that somebody accepts.

    Raises:
        ConfigError: An unknown kind.
    """
    known = {str(kind): kind for kind in LEAKAGE_KINDS}
    wanted = [part.strip() for text in texts for part in text.split(",")]
    unknown = [part for part in wanted if part not in known]
    if unknown:
        raise ConfigError(f"--allow-leakage {unknown[0]!r}: has to be one of {', '.join(LEAKAGE_KINDS)}")
    return frozenset(known[part] for part in wanted)


def find_leakage(
    tiles: Sequence[TileRecord],
    parts: Sequence[str],
    *,
    groups: Sequence[str],
    images: Mapping[str, str],
    patients: Mapping[str, str],
    context: int = 1,
) -> Leakage:
    """Look for everything that is in more than one part.

    Args:
        tiles: Of the whole table.
        parts: The split or fold of every tile.
        groups: The group of every tile.
        images: What tells image files apart, by slide; slides that are not in it are images of their own.
        patients: By slide, as far as known.
        context: How many times a tile's surroundings are shown beside it.
    """
    rows = list(zip(tiles, parts, groups, strict=True))
    slides = _split_up((tile.slide, part) for tile, part, _ in rows)
    pairs = [_contacts([(t, p) for t, p, _ in rows if t.slide == name], context) for name in slides]
    slide_parts = defaultdict[str, set[str]](set)
    for tile, part, _ in rows:
        slide_parts[tile.slide].add(part)
    return Leakage(
        slides=tuple(slides),
        touching=sum(pair[0] for pair in pairs),
        overlapping=sum(pair[1] for pair in pairs),
        halos=sum(pair[2] for pair in pairs),
        groups=tuple(_split_up((group, part) for _, part, group in rows)),
        images=tuple(names for names in same_images(slide_parts, images) if _differ(names, slide_parts)),
        patients=tuple(
            patient
            for patient, names in sorted(_by_value(slide_parts, patients).items())
            if _differ(names, slide_parts)
        ),
    )


def same_images(slides: Iterable[str], images: Mapping[str, str]) -> list[tuple[str, ...]]:
    """Names of slides that are one image file, two or more together."""
    return sorted(names for names in _by_value(slides, images).values() if len(names) > 1)


def joined_groups(
    groups_of: Mapping[str, Collection[str]], images: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """Join groups that show the same image file.

    Args:
        groups_of: The groups of each slide.
        images: What tells image files apart, by slide.

    Returns:
        What each group is drawn with, and notes.
    """
    units = {group: group for groups in groups_of.values() for group in groups}
    notes = []
    for names in same_images(groups_of, images):
        together = {units[group] for name in names for group in groups_of[name]}
        if len(together) > 1:
            notes.append(f"{' and '.join(names)} are the same image file: kept together")
        units = {group: min(together) if unit in together else unit for group, unit in units.items()}
    return units, notes


def _by_value(slides: Iterable[str], values: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    found = defaultdict[str, list[str]](list)
    for name in sorted(slides):
        if values.get(name):
            found[values[name]].append(name)
    return {value: tuple(names) for value, names in found.items()}


def _split_up(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Names that come with more than one part."""
    found = defaultdict[str, set[str]](set)
    for name, part in pairs:
        found[name].add(part)
    return sorted(name for name, seen in found.items() if len(seen) > 1)


def _differ(slides: Sequence[str], parts: Mapping[str, set[str]]) -> bool:
    """Whether two or more slides are not all in the same part."""
    return len(slides) > 1 and len(set().union(*(parts[name] for name in slides))) > 1


def _contacts(rows: Sequence[tuple[TileRecord, str]], context: int) -> tuple[int, int, int]:
    """Pairs of tiles of one slide in different parts: (that touch or overlap, that overlap, one in sight of one)."""
    edges = np.array([(t.x, t.y, t.x + t.width, t.y + t.height) for t, _ in rows], dtype=np.float64)
    slack = _TOUCH * (edges[:, 2] - edges[:, 0])
    boxes = shapely.box(*(edges + slack[:, None] * (-1, -1, 1, 1)).T)
    one, other = shapely.STRtree(boxes).query(boxes, predicate="intersects")
    parts = np.array([part for _, part in rows])
    apart = (one < other) & (parts[one] != parts[other])
    one, other = one[apart], other[apart]
    shared = np.minimum(edges[one, 2:], edges[other, 2:]) - np.maximum(edges[one, :2], edges[other, :2])
    halos = 0
    if context > 1:
        reach = (context - 1) / 2 * (edges[:, 2:] - edges[:, :2])
        wide = shapely.box(*np.hstack([edges[:, :2] - reach, edges[:, 2:] + reach]).T)
        # Made smaller: what only touches the surroundings is not in sight.
        inner = shapely.box(*(edges + slack[:, None] * (1, 1, -1, -1)).T)
        seeing, seen = shapely.STRtree(inner).query(wide, predicate="intersects")
        halos = int((parts[seeing] != parts[seen]).sum())
    return len(one), int((shared > 2 * slack[one, None]).all(axis=1).sum()), halos
