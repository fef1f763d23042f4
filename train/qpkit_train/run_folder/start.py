"""A run folder at its start: what run.json says before the first epoch, and whether the folder may be used."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import torch

from qpkit.core.labels import label_map_to_builtins
from qpkit.dataset import TileSet
from qpkit.dataset.manifest import TABLE_NAME
from qpkit.dataset.stores.slides import exported_colors
from qpkit.errors import OutputError, QpkitError
from qpkit.files import RUN_NAME, require_run_folder, sha256, this_process
from qpkit.slides import AS_IN_FILE, Colors
from qpkit_train.appearance import Appearance
from qpkit_train.data.normalization import Normalization
from qpkit_train.data.training_tiles import TrainingTiles
from qpkit_train.machine.devices import choose_precision, device_name
from qpkit_train.machine.processes import rank
from qpkit_train.recipe.settings import Recipe
from qpkit_train.run_folder.initial_network import InitialNetwork, count_parameters
from qpkit_train.run_folder.records import (
    BEST_NAME,
    FORMAT,
    STATE_NAME,
    RunFile,
    read_run_file,
    run_id,
    versions,
)
from qpkit_train.run_folder.tensorboard import EVENTS_FOLDER


def run_file(
    tile_set: TileSet,
    recipe: Recipe,
    data: TrainingTiles,
    device: torch.device,
    *,
    plan: Mapping[str, Any] = MappingProxyType({}),
    notes: Sequence[str] = (),
) -> RunFile:
    """Describe a run before its first epoch; `plan` and `notes` are what is known beside recipe and tiles."""
    table = sha256(tile_set.root / TABLE_NAME)
    downsamples = {tile.downsample for tile in tile_set.tiles}
    colors = _colors_of(tile_set)
    return RunFile(
        format=FORMAT,
        id=run_id(recipe, data.labels, table, colors if any(shown != _plain(AS_IN_FILE) for shown in colors) else ()),
        status="running",
        recipe=msgspec.to_builtins(recipe),
        labels=label_map_to_builtins(data.labels),
        mpp=None if math.isnan(tile_set.mpp) else tile_set.mpp,
        downsample=downsamples.pop() if len(downsamples) == 1 else None,
        tile_size_px=tile_set.tile_size,
        tiles={
            "path": str(tile_set.root.resolve()),
            "sha256": table,
            "train": len(data.train),
            "val": len(tile_set.of_split("val")),
            "validated_on": data.validated_on,
            **({"colors": colors} if colors else {}),
        },
        sampler=data.sampler.describe(),
        notes=[*notes, *data.notes],
        plan=dict(plan),
        versions=versions(),
        device=device_name(device),
        process=this_process(),
        precision=choose_precision(recipe.precision, device.type),
    )


def _colors_of(tile_set: TileSet) -> list[dict[str, Any]]:
    """In which colours the slides of the tiles were shown, each once; empty for tiles that do not say it."""
    slides = {tile.slide for tile in tile_set.tiles}
    shown = {colors for name, colors in exported_colors(tile_set.info).items() if name in slides}
    return [_plain(colors) for colors in sorted(shown, key=str)]


def _plain(colors: Colors) -> dict[str, Any]:
    """As run.json has it once it is read again: with lists, no tuples."""
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(colors))
    return plain


def with_network(
    file: RunFile, started: InitialNetwork, normalization: Normalization, appearance: Appearance | None
) -> RunFile:
    """Add what is known once there is a network: its size, where its weights are from, what it is fed."""
    return msgspec.structs.replace(
        file,
        normalization=normalization,
        appearance=appearance,
        parameters=count_parameters(started.network),
        origins={**file.origins, **started.origins},
        notes=[*file.notes, *started.notes],
    )


def resumed_run_file(root: Path, file: RunFile, note: str = "") -> RunFile:
    """run.json of a run that goes on: what its start measured and loaded stays as it was; `note` is added."""
    there = read_run_file(root)
    notes = [*there.notes, *([note] if note else [])]
    return msgspec.structs.replace(
        file,
        normalization=there.normalization,
        appearance=there.appearance,
        origins=there.origins,
        plan=there.plan,
        notes=notes,
    )


def claim_folder(root: Path, file: RunFile, *, resume: bool) -> None:
    """Make the run folder, or make sure that it may be gone on with.

    Raises:
        OutputError: It holds something else, or this run and `resume` is not set, or it cannot be made.
        FormatError: Its run.json is damaged.
    """
    if (root / RUN_NAME).is_file() and (there := read_run_file(root)).id != file.id:
        raise OutputError(
            f"{root}: holds run {there.id}; this recipe and these tiles make {file.id}; choose another folder"
        )
    require_run_folder(root, resume=resume)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise OutputError(f"{root}: cannot be made ({err.strerror})") from err


@contextmanager
def cleared_on_failure(root: Path) -> Iterator[None]:
    """Leave nothing in the run folder where a training fails before its first whole epoch, and no empty folder ever.

    So the same command works once the recipe is mended. A killed process leaves its folder, for `resume`.
    """
    try:
        yield
    except QpkitError:
        if rank() == 0 and not (root / STATE_NAME).exists():
            _empty(root)
        raise
    finally:
        if rank() == 0 and root.is_dir() and not any(root.iterdir()):
            root.rmdir()


def _empty(root: Path) -> None:
    """Take away what a first epoch may leave, as far as the disk allows."""
    with suppress(OSError):
        for path in (root / RUN_NAME, root / BEST_NAME, *root.glob("last-*.safetensors")):
            path.unlink(missing_ok=True)
        shutil.rmtree(root / EVENTS_FOLDER, ignore_errors=True)
