"""Several recipes on the same tiles: one run folder each, one table and one figure of all.

A comparison that was killed goes on: runs that are finished are taken over, one that stopped is resumed. A recipe that
cannot be trained is named, and the others go on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from qpkit.errors import ConfigError, OutputError, QpkitError, listed
from qpkit.files import RUN_NAME, csv_bytes, replace_file
from qpkit.ops.scores.confusion import ClassScore
from qpkit.progress import OnProgress, no_progress
from qpkit.report.figures import curves as figures
from qpkit_train.loop import fit
from qpkit_train.recipe.settings import Recipe
from qpkit_train.run_folder.fit_report import FitReport
from qpkit_train.run_folder.records import read_run_file, read_state

TABLE_NAME: Final = "compare.csv"
FIGURE_NAME: Final = "compare.png"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One model of a comparison.

    Args:
        fit: The report of its training.
        architecture, encoder: Of the network.
        taken_over: Whether its run was finished before.
        history: One row per epoch, as in curves.csv.
    """

    fit: FitReport
    architecture: str
    encoder: str
    taken_over: bool
    history: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonReport:
    """The result of a comparison.

    Args:
        root: Folder with the runs, the table and the figure.
        models: Those that were trained, in the order asked for.
        failed: (recipe, reason) of those that were not.
    """

    root: Path
    models: tuple[Compared, ...]
    failed: tuple[tuple[str, str], ...]


def compare(
    tiles_root: Path, root: Path, recipes: Sequence[Recipe], *, on_progress: OnProgress = no_progress
) -> ComparisonReport:
    """Train several recipes on the same tiles and compare them on the same validation tiles.

    Args:
        tiles_root: What `qpkit export` wrote.
        root: Folder to make or to go on with; each recipe's run lies in a folder of its name.
        recipes: At least two, all of segmentation, with names that differ.
        on_progress: Called with (steps done, steps in all, text) of the recipe at work.

    Raises:
        ConfigError: Two recipes have one name, one is for tiles, there is only one, or none could be trained.
        OutputError: `root` is a run folder itself, or cannot be written.
    """
    _check(root, recipes)
    models: list[Compared] = []
    failed: list[tuple[str, str]] = []
    for number, recipe in enumerate(recipes, start=1):
        # `where` as a default: a closure would have the name of the last recipe.
        def tell(done: int, total: int, text: str, where: str = f"{number}/{len(recipes)} {recipe.name}") -> None:
            on_progress(done, total, f"{where} {text}")

        try:
            models.append(_trained(tiles_root, root / recipe.name, recipe, tell))
        except QpkitError as err:
            failed.append((recipe.name, str(err)))
            continue
        _write(root, models)
    if not models:
        names = listed(name for name, _ in failed)
        raise ConfigError(f"no recipe could be trained ({names}); the first: {failed[0][1]}")
    return ComparisonReport(root=root, models=tuple(models), failed=tuple(failed))


def _check(root: Path, recipes: Sequence[Recipe]) -> None:
    faults = [f"{name} is there {n} times" for name, n in Counter(r.name for r in recipes).items() if n > 1]
    faults += [
        f"{recipe.name} classifies tiles (qpkit train-classifier)" for recipe in recipes if recipe.classifies_tiles
    ]
    if len(recipes) < 2:
        faults.append("there have to be at least two recipes")
    if faults:
        raise ConfigError(f"--compare: {listed(faults, joint='; ')}")
    if (root / RUN_NAME).is_file() or (root.exists() and not root.is_dir()):
        raise OutputError(f"{root}: is a run or a file; a comparison takes a folder of its own")


def _trained(tiles_root: Path, run_root: Path, recipe: Recipe, on_progress: OnProgress) -> Compared:
    was_finished = (run_root / RUN_NAME).is_file() and read_run_file(run_root).status == "finished"
    report = fit(tiles_root, run_root, recipe, resume=True, on_progress=on_progress)
    state = read_state(run_root, run=report.run)
    assert state is not None  # fit() has ended well
    return Compared(
        fit=report,
        architecture=recipe.model.architecture,
        encoder=recipe.model.encoder,
        taken_over=was_finished,
        history=tuple(state.history),
    )


def _write(root: Path, models: Sequence[Compared]) -> None:
    replace_file(root / TABLE_NAME, _csv(models))
    curves = {model.fit.recipe: model.history for model in models}
    ends = {model.fit.recipe: (model.fit.mean_dice, model.fit.mean_iou) for model in models}
    sizes = {
        model.fit.recipe: f"{model.fit.parameters['all'] / 1e6:.1f} M parameters, {model.fit.seconds:,.0f} s"
        for model in models
    }
    where = models[0].fit.validated_on
    replace_file(root / FIGURE_NAME, figures.comparison_png(curves, ends, sizes=sizes, where=where))


def _csv(models: Sequence[Compared]) -> bytes:
    names = [score.name for score in models[0].fit.scores]
    plain = ["recipe", "run", "architecture", "encoder", "mean_dice", "mean_iou", "accuracy"]
    sizes = ["parameters", "learning", "epochs", "best_epoch", "steps", "seconds", "seconds_per_step"]
    by_class = [f"{metric}_{name}" for metric in ("dice", "iou") for name in names]
    rows: list[list[Any]] = [[*plain, *sizes, "device", "precision", "measured_on", "taken_over", *by_class]]
    for model in models:
        fitted = model.fit
        rows.append(
            [
                *(fitted.recipe, fitted.run, model.architecture, model.encoder),
                *(fitted.mean_dice, fitted.mean_iou, fitted.accuracy),
                *(fitted.parameters["all"], fitted.parameters["learning"], fitted.epochs, fitted.best_epoch),
                *(fitted.steps, fitted.seconds, fitted.seconds_per_step),
                *(fitted.device, fitted.precision, fitted.validated_on, model.taken_over),
                *_of_classes(fitted.scores, "dice"),
                *_of_classes(fitted.scores, "iou"),
            ]
        )
    return csv_bytes(rows)


def _of_classes(scores: Sequence[ClassScore], metric: str) -> list[float | None]:
    return [getattr(score, metric) for score in scores]
