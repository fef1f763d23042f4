"""What tiles look like beside each other: a map of them, coloured by slide, split and what the slides' metadata say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import numpy as np

from qpkit.dataset import TileRecord, TileSet
from qpkit.errors import ConfigError, or_else
from qpkit.ops.projection import neighbour_plane, principal_plane
from qpkit.progress import OnProgress, no_progress
from qpkit.report.figures.tile_map import draw_tile_map
from qpkit.settings import Range, Settings
from qpkit.workflows.suggest.candidates import Look, TextureLook

Projection = Literal["pca", "tsne", "none"]

_UNKNOWN: Final = "(not stated)"
_GLASS: Final = 0.1
"""Tiles with less tissue say how much glass they show, not how they are stained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapSettings(Settings):
    """How the map of tiles is made.

    Args:
        map: "pca" (the directions in which tiles differ most), "tsne" (near ones stay near; needs scikit-learn) or
            "none".
        by: Colour the map by this metadata key of the slides, too, such as Stain or Scanner (repeatable).
        map_tiles: Tiles on the map at most, as many of each slide.
    """

    map: Projection = "pca"
    by: tuple[str, ...] = ()
    map_tiles: Annotated[int, Range(at_least=2, at_most=20_000)] = 600


DEFAULT_MAP: Final = MapSettings()


@dataclass(frozen=True, slots=True)
class TileMap:
    """The map as a page shows it.

    Args:
        picture: Content of a PNG file.
        caption: What it is made of.
    """

    picture: bytes
    caption: str


def tile_map(
    tiles: TileSet, settings: MapSettings, look: Look | None = None, *, on_progress: OnProgress = no_progress
) -> TileMap | None:
    """Look at tiles with tissue and draw where each lies; None if the map is off or fewer than two have tissue.

    Args:
        tiles: The export.
        settings: How.
        look: What describes a tile; None for colour and texture.
        on_progress: Called with tiles done and in all.

    Raises:
        ConfigError: No slide has such metadata.
        FormatError: A tile cannot be read.
        MissingExtraError: t-SNE is not installed.
    """
    if settings.map == "none":
        return None
    named = _metadata_of(tiles, settings.by)
    chosen = _chosen(tiles, settings.map_tiles)
    if len(chosen) < 2:
        return None
    seen, looks = look or TextureLook(), []
    for number, tile in enumerate(chosen, start=1):
        looks.append(seen(tiles.read_image(tile)))
        on_progress(number, len(chosen), tile.slide)
    features = np.array(looks)
    if settings.map == "tsne":
        places, axes = neighbour_plane(features), ("t-SNE 1", "t-SNE 2")
    else:
        places, (first, second) = principal_plane(features)
        axes = f"PCA 1 ({first:.0%} of the variance)", f"PCA 2 ({second:.0%})"
    groups: dict[str, list[str]] = {"slide": [tile.slide for tile in chosen], "split": [tile.split for tile in chosen]}
    if any(tile.group != tile.slide for tile in chosen):
        groups["group"] = [tile.group for tile in chosen]
    groups |= {key: [values.get(tile.slide, _UNKNOWN) for tile in chosen] for key, values in named.items()}
    caption = f"{len(chosen):,} of {len(tiles.tiles):,} tiles, by {seen.name}; alike ones lie beside each other."
    return TileMap(draw_tile_map(places, groups, axes=axes), caption)


def _chosen(tiles: TileSet, most: int) -> list[TileRecord]:
    """As many tiles with tissue of each slide, evenly out of all of its own."""
    of_slide: dict[str, list[TileRecord]] = defaultdict(list)
    for tile in tiles.tiles:
        if not tile.tissue < _GLASS:  # NaN where it is not known
            of_slide[tile.slide].append(tile)
    count = max(1, most // max(1, len(of_slide)))
    return [tile for own in of_slide.values() for tile in own[:: -(-len(own) // count)]]


def _metadata_of(tiles: TileSet, keys: tuple[str, ...]) -> Mapping[str, Mapping[str, str]]:
    """By key and slide, what the slides' metadata say.

    Raises:
        ConfigError: No slide has such a key.
    """
    rows: list[dict[str, Any]] = tiles.info.get("slides") or []
    found = {}
    for key in keys:
        found[key] = {row["name"]: row["metadata"][key] for row in rows if key in (row.get("metadata") or {})}
        if not found[key]:
            there = sorted({name for row in rows for name in row.get("metadata") or {}})
            raise ConfigError(f"--by {key}: no slide in {tiles.root} has such metadata; {or_else(key, there)}")
    return found
