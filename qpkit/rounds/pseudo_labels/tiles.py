"""The tiles of a round: those of the export with other masks, in which predictions label what nobody annotated.

Images stay where they are; the new table leads to them. A mask is written only where a label was added. An annotated
pixel is never changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from qpkit.dataset import TileRecord, TileSet, write_tile_set
from qpkit.dataset.manifest import INFO_NAME
from qpkit.dataset.resplit import path_from, slides_from
from qpkit.dataset.stores.layers import encode
from qpkit.errors import ConfigError, listed
from qpkit.extras import extra
from qpkit.files import new_folder, pretty_json, safe_names
from qpkit.progress import OnProgress, Ticker
from qpkit.rounds.pseudo_labels.ledger import LEDGER_NAME, TABLE_NAME, Added, added_csv, read_added
from qpkit.rounds.pseudo_labels.selection import Rule, Surest

if TYPE_CHECKING:
    from qpkit_train.tile_predictions import TilePredictor

_NONE: Final = 255
"""Class index of a pixel that is no candidate."""


@dataclass(slots=True)
class _Tally:
    """Pixels by (slide, class index)."""

    candidates: dict[tuple[str, int], int] = field(default_factory=dict)
    px: dict[tuple[str, int], int] = field(default_factory=dict)
    true_px: dict[tuple[str, int], int] = field(default_factory=dict)
    right_px: dict[tuple[str, int], int] = field(default_factory=dict)


def check_tiles(tiles: TileSet, truth: TileSet | None) -> None:
    """Raise where rounds cannot work on these tiles.

    Raises:
        ConfigError: They lie in shards or slides, nothing in them is unlabelled, there is nothing to validate on, or
            the truth is of other tiles or classes.
    """
    labels = tiles.labels
    if tiles.info.get("store", "files") not in ("files", "nnunet"):
        raise ConfigError(f"{tiles.root}: rounds write new masks beside images in files; export with --store files")
    if labels.masks != "single":
        raise ConfigError(f'{tiles.root}: has multi-label masks; export with masks = "single"')
    if not any(tile.pixels.get(labels.ignore) for tile in tiles.of_split("train")):
        raise ConfigError(
            f'{tiles.root}: no training pixel is unlabelled (ignore); export with unannotated = "ignore" in labels.toml'
        )
    if not any(tile.pixels.get(value) for tile in tiles.of_split("val") for value in labels.trained_values):
        raise ConfigError(
            f"{tiles.root}: no validation tile has a label, so no round can be judged; export with another --split"
        )
    if truth is None:
        return
    missing = {tile.key for tile in tiles.of_split("train")} - {tile.key for tile in truth.tiles}
    if missing or truth.tile_size != tiles.tile_size:
        raise ConfigError(
            f"{truth.root}: is not of the same tiles as {tiles.root} ({len(missing)} are not there, "
            f"{truth.tile_size} and {tiles.tile_size} px); export it with the same settings but the label map"
        )
    unknown = {item.name for item in labels.classes} - {item.name for item in truth.labels.classes}
    if unknown:
        raise ConfigError(f"{truth.root}: its labels have no class {listed(sorted(unknown))}")


def label_tiles(
    tiles: TileSet,
    run: Path,
    out: Path,
    rule: Rule,
    *,
    agreement: bool = False,
    truth: TileSet | None = None,
    on_progress: OnProgress,
) -> tuple[Added, ...]:
    """Make the tiles of a round, or find them made.

    Args:
        tiles: Of the export.
        run: The network that labels.
        out: Folder to make: tiles, and what was added as JSON and CSV. If it is there, it is whole.
        rule: How many pixels of a class become labels.
        agreement: Only those for which the run's last weights say the same class.
        truth: The same tiles with every label.
        on_progress: Called with (tiles done, twice the tiles in all, text).

    Returns:
        By slide and class; classes without a candidate are left out.
    """
    if (out / LEDGER_NAME).is_file():
        return read_added(out)
    with extra("train"):
        from qpkit_train.tile_predictions import LEVELS, TilePredictor

    teacher = TilePredictor(run)
    second = TilePredictor(run, last_weights=True) if agreement else None
    train = [tile for tile in tiles.of_split("train") if tile.pixels.get(tiles.labels.ignore)]
    ticker = Ticker(2 * len(train), on_progress)
    with new_folder(out, marker=INFO_NAME) as folder, TemporaryDirectory(dir=folder) as proposals:
        work = _Labelling(tiles, train, Path(proposals), out.resolve(), truth)
        counts = work.propose(teacher, second, LEVELS, ticker)
        surest = Surest(counts, [rule.kept(row) for row in counts])
        records = work.label(surest, folder, teacher.id, LEVELS, ticker)
        added = work.added([None if level > LEVELS else level / LEVELS for level in surest.least])
        info = {key: value for key, value in tiles.info.items() if key not in ("format", "job")}
        said = {"run": teacher.id, "of": str(tiles.root.resolve()), "agreement": agreement, "rule": _plain(rule)}
        write_tile_set(folder, records, {**info, **slides_from(out.resolve(), tiles), "pseudo_labels": said})
        (folder / TABLE_NAME).write_bytes(added_csv(added))
        (folder / LEDGER_NAME).write_bytes(pretty_json(added) + b"\n")
    return added


def _plain(rule: Rule) -> dict[str, Any]:
    return {"threshold": rule.threshold, "quantile": rule.quantile, "max_px_per_class": rule.most}


class _Labelling:
    """The two passes over the training tiles: what is predicted, then what of it is kept."""

    def __init__(
        self, tiles: TileSet, train: Sequence[TileRecord], proposals: Path, out: Path, truth: TileSet | None
    ) -> None:
        self._tiles, self._train, self._proposals, self._out, self._truth = tiles, train, proposals, out, truth
        self._values = tiles.labels.trained_values
        self._sizes = {
            row["name"]: (row["width"], row["height"]) for row in tiles.info.get("slides", []) if row.get("width")
        }
        self._tally = _Tally()
        self._true_tiles = {} if truth is None else {tile.key: tile for tile in truth.tiles}
        names = list(dict.fromkeys(tile.slide for tile in tiles.tiles))
        self._stems = dict(zip(names, safe_names(names), strict=True))

    def propose(
        self, teacher: TilePredictor, second: TilePredictor | None, levels: int, ticker: Ticker
    ) -> NDArray[np.int64]:
        """Predict what nobody annotated, and keep it on disk.

        Returns:
            (classes, levels + 1) int64 candidates by class and probability.
        """
        counts = np.zeros((len(self._values), levels + 1), np.int64)
        others = None if second is None else second.predict(self._tiles, self._train)
        for number, (tile, (classes, sure)) in enumerate(teacher.predict(self._tiles, self._train)):
            candidate = (self._tiles.read_mask(tile) == self._tiles.labels.ignore) & self._on_slide(tile)
            if others is not None:
                candidate &= next(others)[1][0] == classes
            classes = np.where(candidate, classes, np.uint8(_NONE))
            for index in range(len(self._values)):
                own = classes == index
                counts[index] += np.bincount(sure[own], minlength=levels + 1)
                _add(self._tally.candidates, (tile.slide, index), int(own.sum()))
            np.savez_compressed(self._proposals / f"{number}.npz", classes=classes, sure=sure)
            ticker("predict")
        return counts

    def label(self, surest: Surest, folder: Path, run: str, levels: int, ticker: Ticker) -> list[TileRecord]:
        """Write the masks that change; gives the whole table."""
        changed: dict[str, TileRecord] = {}
        for number, tile in enumerate(self._train):
            with np.load(self._proposals / f"{number}.npz") as kept:
                classes, sure = kept["classes"], kept["sure"]
            chosen = surest.of(classes, sure)
            if chosen.any():
                mean = float(sure[chosen].mean(dtype=np.float64)) / levels
                changed[tile.key] = self._labelled(tile, classes, chosen, folder, run, mean)
            ticker("label")
        root = self._tiles.root.resolve()
        return [
            changed.get(tile.key) or self._led_back(tile, root, origins=self._origins(tile, 0) if changed else None)
            for tile in self._tiles.tiles
        ]

    def _labelled(
        self,
        tile: TileRecord,
        classes: NDArray[np.uint8],
        chosen: NDArray[np.bool_],
        folder: Path,
        run: str,
        probability: float,
    ) -> TileRecord:
        mask = self._tiles.read_mask(tile).copy()
        mask[chosen] = np.array(self._values, np.uint8)[classes[chosen]]
        stem = self._stems[tile.slide]
        path = folder / "masks" / stem / f"{stem}_c{tile.col}_r{tile.row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(mask, ".png"))
        truth = self._truth_of(tile)
        for index in range(len(self._values)):
            own = chosen & (classes == index)
            _add(self._tally.px, (tile.slide, index), int(own.sum()))
            if truth is not None:
                _add(self._tally.true_px, (tile.slide, index), int((own & (truth != _NONE)).sum()))
                _add(self._tally.right_px, (tile.slide, index), int((own & (truth == index)).sum()))
        values, pixels = np.unique(mask, return_counts=True)
        number = int(chosen.sum())
        before = tile.origins.get("predicted", 0)
        known = [(tile.predicted_probability, before)] if before and tile.predicted_probability is not None else []
        parts = [*known, (probability, number)]
        moved = self._led_back(tile, self._tiles.root.resolve(), origins=self._origins(tile, number))
        return replace(
            moved,
            mask=path.relative_to(folder).as_posix(),
            pixels=dict(zip(values.tolist(), pixels.tolist(), strict=True)),
            predicted_by=", ".join(dict.fromkeys(filter(None, [*tile.predicted_by.split(", "), run]))),
            predicted_probability=sum(p * n for p, n in parts) / sum(n for _, n in parts),
        )

    def _origins(self, tile: TileRecord, number: int) -> dict[str, int]:
        """Where labels come from once `number` are added; of tiles that do not say it people drew all."""
        labelled = sum(tile.pixels.get(value, 0) for value in self._values)
        before = dict(tile.origins) or {"human": labelled}
        return {**before, "predicted": before.get("predicted", 0) + number}

    def _led_back(self, tile: TileRecord, root: Path, *, origins: dict[str, int] | None) -> TileRecord:
        def led(path: str) -> str:
            return path and path_from(self._out, root / path)

        return replace(
            tile,
            image=led(tile.image),
            mask=led(tile.mask),
            others={layer: led(path) for layer, path in tile.others.items()},
            origins=tile.origins if origins is None else origins,
        )

    def _on_slide(self, tile: TileRecord) -> NDArray[np.bool_]:
        """(h, w) whether pixels lie on the slide: nothing beside it is worth a label."""
        side = self._tiles.tile_size
        width, height = self._sizes.get(tile.slide, (np.inf, np.inf))
        middles = (np.arange(side) + 0.5) * tile.downsample
        return np.asarray((tile.y + middles < height)[:, np.newaxis] & (tile.x + middles < width))

    def _truth_of(self, tile: TileRecord) -> NDArray[np.uint8] | None:
        """(h, w) true class indices, 255 where nothing is known."""
        if self._truth is None:
            return None
        theirs, table = self._truth.labels, np.full(256, _NONE, np.uint8)
        index_of = {self._tiles.labels.name_of(value): index for index, value in enumerate(self._values)}
        for value in theirs.trained_values:
            # A class that the rounds do not have is none of theirs.
            table[value] = index_of.get(theirs.name_of(value), len(self._values))
        return np.asarray(table[self._truth.read_mask(self._true_tiles[tile.key])])

    def added(self, least: Sequence[float | None]) -> tuple[Added, ...]:
        """Everything that was counted."""
        return tuple(self._rows(least))

    def _rows(self, least: Sequence[float | None]) -> Iterator[Added]:
        tally, mpp = self._tally, self._tiles.mpp
        for (slide, index), candidates in sorted(tally.candidates.items()):
            if not candidates:
                continue
            px = tally.px.get((slide, index), 0)
            yield Added(
                slide=slide,
                class_name=self._tiles.labels.name_of(self._values[index]),
                candidates_px=candidates,
                px=px,
                mm2=None if np.isnan(mpp) else px * mpp**2 / 1e6,
                least_probability=least[index],
                true_px=None if self._truth is None else tally.true_px.get((slide, index), 0),
                right_px=None if self._truth is None else tally.right_px.get((slide, index), 0),
            )


def _add(counts: dict[tuple[str, int], int], key: tuple[str, int], number: int) -> None:
    counts[key] = counts.get(key, 0) + number
