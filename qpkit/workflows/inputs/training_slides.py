"""Which slides a run has learned from, as far as its tiles still say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from qpkit.dataset import TileSet, read_tile_set
from qpkit.errors import ConfigError, FormatError, listed
from qpkit.predictions import PredictionSet, SlidePrediction
from qpkit.workflows.inputs.slides import SlideInput


def splits_of_slides(tiles: Path) -> dict[str, set[str]]:
    """The splits that each slide of a folder of tiles is in, by slide name.

    Raises:
        FormatError: The folder is not there or damaged.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for tile in read_tile_set(tiles).tiles:
        found[tile.slide].add(tile.split)
    return dict(found)


def origins_of(tiles: TileSet) -> list[Path]:
    """Where the annotations of a folder of tiles came from: projects, or a folder of images and masks.

    Raises:
        ConfigError: The tiles do not say it, or it is not there any more.
    """
    told = {str(row.get("origin") or "") for row in tiles.info.get("slides", [])}
    found = [Path(text) for text in sorted(told)]
    if not found or "" in told or any(path.suffix in (".geojson", ".json") for path in found):
        raise ConfigError(
            f"{tiles.root}: does not say in which project its annotations are; name it: ... {tiles.root.name} PROJECT"
        )
    gone = [str(path) for path in found if not path.exists()]
    if gone:
        raise ConfigError(f"{listed(gone)}: is not there any more; name the place: ... {tiles.root.name} PROJECT")
    return found


def training_notes(predictions: PredictionSet, slides: Sequence[SlidePrediction]) -> list[str]:
    """Say which slides the run was trained or chosen on; nothing for predictions that name no tiles."""
    trained = predictions.info.get("trained")
    tiles = trained.get("tiles") if isinstance(trained, Mapping) else None
    path = tiles.get("path") if isinstance(tiles, Mapping) else None
    if not path:
        return []
    try:
        splits = splits_of_slides(Path(str(path)))
    except FormatError:
        return [f"the tiles of the run are not at {path}: whether it has seen these slides before is not checked"]
    notes = []
    for split, words in (("train", "was trained on"), ("val", "was chosen (best epoch) on")):
        seen = [slide.name for slide in slides if split in splits.get(slide.name, set())]
        if seen:
            notes.append(f"the run {words} {listed(seen)}: the figures of these say nothing about new slides")
    return notes


def test_slides(tiles: Path, inputs: Sequence[SlideInput]) -> list[SlideInput]:
    """Those of the slides that a run was neither trained nor chosen on, by the split of its tiles.

    Args:
        tiles: Folder of tiles that the run was trained on.
        inputs: Slides; they have the names that they had when the tiles were exported.

    Raises:
        ConfigError: The tiles are gone, or none of the slides is a test slide.
    """
    try:
        splits = splits_of_slides(tiles)
    except FormatError as err:
        raise ConfigError(
            f"the tiles of the run are not at {tiles}, so its test slides are not known; name slides with --entry"
        ) from err
    chosen = [item for item in inputs if splits.get(item.source.name) == {"test"}]
    if not chosen:
        there = listed(f"{name} {'/'.join(sorted(found))}" for name, found in sorted(splits.items()))
        raise ConfigError(f"{tiles}: none of the slides given is a test slide of it ({there}); name one with --entry")
    return chosen
