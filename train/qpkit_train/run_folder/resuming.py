"""A training that goes on: with the settings of its run.json, possibly for longer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from qpkit.core.labels import label_map_from_builtins
from qpkit.errors import ConfigError, OutputError, listed
from qpkit.files import RUN_NAME
from qpkit_train.recipe.load import load_recipe, recipe_from_builtins
from qpkit_train.recipe.settings import Recipe
from qpkit_train.run_folder.records import RunFile, State, read_run_file
from qpkit_train.schedule import learning_rate

PROLONGING: Final = ("optim.epochs", "early_stopping.patience")
"""Settings that may change when a training goes on: they decide when it ends."""


def tiles_and_recipe(
    run_root: Path | None, tiles: Path | None, recipe: str, overrides: Sequence[str], *, resume: bool, default: str
) -> tuple[Path, Recipe]:
    """What a training works on and with: said by the user, or where it goes on by run.json.

    Args:
        run_root: The run folder.
        tiles: Folder of tiles; None for those of the run.
        recipe: Name or file; "" for that of the run, or `default` where there is none yet.
        overrides: "section.key=value" each.
        resume: Whether an earlier training goes on.
        default: Name of a recipe.

    Raises:
        ConfigError: No tiles are named and there is no run, or the settings are wrong.
        FormatError: The run is damaged.
    """
    there = None
    if resume and run_root is not None and (run_root / RUN_NAME).is_file():
        there = read_run_file(run_root)
    if tiles is None and there is None:
        raise ConfigError("TILES is missing: the folder that qpkit export made")
    place = tiles if tiles is not None else Path(str((there and there.tiles["path"]) or ""))
    if there is None or recipe:
        return place, load_recipe(recipe or default, overrides)
    return place, recipe_from_builtins(there.recipe, source=f"{run_root}/{RUN_NAME}", overrides=overrides)


def of_the_run_there(root: Path, file: RunFile, *, resume: bool) -> RunFile:
    """Give run.json of a training that goes on the id of the run there; a longer one stays the same run.

    Args:
        root: Run folder; it may be missing.
        file: As this training would begin it.
        resume: Whether it goes on.

    Raises:
        OutputError: The run there is another one; the message names what differs.
        FormatError: Its run.json is damaged.
    """
    if not (root / RUN_NAME).is_file():
        return file
    there = read_run_file(root)
    if there.id == file.id or not resume:
        return file
    differences = _differences(root, there, file)
    if set(differences) - set(PROLONGING):
        raise OutputError(
            f"{root}: holds run {there.id}, which differs in {listed(differences, most=4)}; choose another folder, or "
            f"go on with what the run has (only {' and '.join(PROLONGING)} can change)"
        )
    return msgspec.structs.replace(file, id=there.id)


def prolonging_note(root: Path, file: RunFile, state: State, steps_per_epoch: int) -> str:
    """Say what a longer training keeps and what its schedule does; "" if it is not longer.

    Raises:
        ConfigError: It would end at once, as the run there has run out of patience.
    """
    there = read_run_file(root)
    before, now = (recipe_from_builtins(f.recipe, source=RUN_NAME) for f in (there, file))
    changed = [key for key in PROLONGING if key in _differences(root, there, file)]
    if not changed:
        return ""
    if state.watch.should_stop(now.early_stopping.patience):
        raise ConfigError(
            f"{root}: stopped after {state.watch.without_better} epochs without a better one; to go on, raise the "
            f"patience, too: --set early_stopping.patience={2 * state.watch.without_better}, or 0 for none"
        )
    rates = [
        learning_rate(
            recipe.optim,
            step=state.steps - 1 + later,
            steps_per_epoch=steps_per_epoch,
            plateau_factor=state.watch.plateau_factor,
        )
        for recipe, later in ((before, 0), (now, 1))
    ]
    said = ", ".join(f"{key} {_value(there.recipe, key)} -> {_value(file.recipe, key)}" for key in changed)
    return (
        f"goes on after epoch {state.epoch} with {said}: weights, optimizer and the best epoch "
        f"({state.watch.best_epoch}) are kept; the learning rate follows the schedule of {now.optim.epochs} epochs "
        f"from here on, from {rates[0]:.2e} to {rates[1]:.2e}"
    )


def _differences(root: Path, there: RunFile, file: RunFile) -> list[str]:
    """Settings, and what else, in which two runs differ."""
    old, new = (
        _leaves(msgspec.to_builtins(recipe_from_builtins(f.recipe, source=f"{root}/{RUN_NAME}"))) for f in (there, file)
    )
    found = [key for key in new if key not in ("purpose", "source") and old.get(key) != new[key]]
    if label_map_from_builtins(there.labels) != label_map_from_builtins(file.labels):
        found.append("label map")
    return found if _same_tiles(there, file) else [*found, "tiles"]


def _leaves(tables: Mapping[str, Any]) -> dict[str, Any]:
    sections = {name for name, value in tables.items() if isinstance(value, Mapping)}
    plain = {name: value for name, value in tables.items() if name not in sections}
    return plain | {f"{name}.{key}": value for name in sections for key, value in tables[name].items()}


def _value(recipe: Mapping[str, Any], key: str) -> Any:
    section, _, name = key.partition(".")
    return recipe[section][name]


def _same_tiles(there: RunFile, file: RunFile) -> bool:
    """Whether two runs have one table of tiles, from slides in the same colours; runs of earlier versions say none."""
    colors = there.tiles.get("colors", file.tiles.get("colors"))
    return bool(there.tiles["sha256"] == file.tiles["sha256"] and colors == file.tiles.get("colors"))
