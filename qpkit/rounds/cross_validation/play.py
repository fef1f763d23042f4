"""qpkit cross-validate: splits, trains, predicts and evaluates every fold, and puts them together.

Whoever works on a fold has its lock, so any number of processes, of one machine or of several, may run the same
command; a fold that was begun is gone on with. The one that finds all folds done writes the tables.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from qpkit.api.evaluate import evaluate
from qpkit.api.import_tiles import tiles_of
from qpkit.api.train import DEFAULT_RECIPE, train
from qpkit.claims import claimed
from qpkit.core.labels import LabelMap
from qpkit.dataset import read_tile_set
from qpkit.errors import ConfigError, QpkitError, listed
from qpkit.extras import extra
from qpkit.files import AnyPath, one_at_a_time, path_of, paths_of, replace_file
from qpkit.progress import OnProgress, no_progress
from qpkit.rounds.cross_validation.result import (
    RecipeComparison,
    RecipeResult,
    compared,
    comparison_csv,
    result_of,
    scores_csv,
    unit_of,
)
from qpkit.rounds.cross_validation.settings import CrossValidationSettings
from qpkit.rounds.cross_validation.study import Fold, Study, open_study, parts_of, write_info
from qpkit.rounds.cross_validation.unseen import write_unseen
from qpkit.workflows.evaluate.settings import EvaluateSettings
from qpkit.workflows.inputs.settings import ALL_SLIDES, SlideSettings
from qpkit.workflows.inputs.slides import slide_inputs
from qpkit.workflows.inputs.training_slides import origins_of
from qpkit.workflows.inputs.within import areas_within

if TYPE_CHECKING:
    from qpkit_train.inference.settings import PredictSettings
    from qpkit_train.recipe.settings import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossValidation:
    """The result of a cross-validation.

    Args:
        root: Its folder.
        recipes: Those whose folds are all done, in the order asked for; none while folds are missing.
        comparisons: Of every two of them.
        failed: (recipe and fold, reason) of what could not be trained, predicted or evaluated.
        missing: Folds that other processes still have to do; the last of them writes the tables.
        notes: What the user has to know.
        seconds: Of this call.
    """

    root: Path
    recipes: tuple[RecipeResult, ...]
    comparisons: tuple[RecipeComparison, ...]
    failed: tuple[tuple[str, str], ...]
    missing: int
    notes: tuple[str, ...]
    seconds: float


def cross_validate(
    tiles: AnyPath,
    out: AnyPath,
    recipes: Recipe | str | Sequence[Recipe | str] = (DEFAULT_RECIPE,),
    settings: CrossValidationSettings | None = None,
    *,
    places: AnyPath | Sequence[AnyPath] = (),
    overrides: Sequence[str] = (),
    metadata: AnyPath | None = None,
    slides: SlideSettings = ALL_SLIDES,
    evaluation: EvaluateSettings | None = None,
    prediction: PredictSettings | None = None,
    shard: tuple[int, int] | None = None,
    on_progress: OnProgress = no_progress,
) -> CrossValidation:
    """Train a model for every fold and judge it on the slides of that fold, for one recipe or several.

    If the process is killed, the same call goes on where it was. Recipes may be added later.

    Args:
        tiles: What `export` or `import_tiles` wrote; or a folder of images and masks, of which tiles are made beside
            `out`.
        out: Folder to make, or to go on in; see `qpkit.rounds.cross_validation.study`.
        recipes, overrides: As in `train`; all are trained on the same folds.
        settings: How the folds are drawn.
        places: QuPath projects or slides with the annotations, or the one folder of images and masks. Default: where
            the tiles were made from.
        metadata: Project or CSV that knows the patients, where the tiles do not.
        slides: How slides are read; all of `places` that the tiles know are judged, so entries cannot be chosen.
        evaluation: How predictions are judged; the patient's key is that of `settings`, if folds are drawn by it.
        prediction: How slides are predicted.
        shard: (number, count): do every count-th training only; the first is 1. For array jobs.
        on_progress: Called with (work done, work in all, text) of the step at work.

    Raises:
        MissingExtraError: torch is not installed.
        ConfigError: There are fewer groups than folds, two recipes have one name, one classifies tiles, or the tiles do
            not say where their annotations are.
        OutputError: `out` holds something else, or folds of other tiles or settings.
        QpkitError: Nothing could be trained: as `train`, `predict` and `evaluate` say.
    """
    start = time.perf_counter()
    settings, judged = settings or CrossValidationSettings(), evaluation or EvaluateSettings()
    if slides.chooses_entries:
        raise ConfigError("--entry and --where do not go with folds: every slide of the tiles is tested once")
    chosen = _recipes(recipes, overrides)
    place, made = tiles_of(Path(tiles), Path(out), on_progress=on_progress)
    where = tuple(paths_of(places)) or tuple(origins_of(read_tile_set(place)))
    if prediction is not None:
        _require_predictable(prediction, read_tile_set(place).labels, where, slides)
    study = Study(Path(out), place, chosen, settings, where)
    notes = [*(made.notes if made is not None else ()), *open_study(study, metadata=path_of(metadata))]
    judged = replace(judged, patient=judged.patient or settings.patient)
    worker = _Worker(study, slides, judged, prediction)
    failed = worker.work(parts_of(list(study.folds()), shard), on_progress)
    with one_at_a_time(study.root):
        missing = sum(not fold.is_done for fold in study.folds()) - len(failed)
        done = [recipe for recipe in chosen if all(fold.is_done for fold in study.folds_of(recipe))]
        results = () if missing else tuple(worker.together(recipe, on_progress) for recipe in done)
        pairs = compared(results, seed=judged.seed, resamples=judged.resamples)
        found = CrossValidation(
            root=study.root,
            recipes=results,
            comparisons=pairs,
            failed=tuple(failed),
            missing=missing,
            notes=tuple(dict.fromkeys(notes)),
            seconds=time.perf_counter() - start,
        )
        if results:
            _write(found)
    if failed and not results and not missing:
        raise ConfigError(f"no recipe could be cross-validated; the first, {failed[0][0]}: {failed[0][1]}")
    return found


def _require_predictable(
    prediction: PredictSettings, labels: LabelMap, places: Sequence[Path], slides: SlideSettings
) -> None:
    """Refuse what every fold would be refused for once it is trained.

    Raises:
        ConfigError: A threshold of a class that there is not, or no annotation inside which to predict.
    """
    with extra("train"):
        from qpkit_train.inference.thresholds import threshold_levels

    if isinstance(prediction.thresholds, Mapping):
        threshold_levels(prediction.thresholds, labels)
    if prediction.within is not None:
        areas_within(slide_inputs(places, slides, broken={}), prediction.within)


def _recipes(recipes: Recipe | str | Sequence[Recipe | str], overrides: Sequence[str]) -> tuple[Recipe, ...]:
    """Load recipes that are named.

    Raises:
        ConfigError: There is none, two have one name, or one is for tiles.
    """
    with extra("train"):
        from qpkit_train.recipe.load import load_recipe

    recipes = recipes if isinstance(recipes, Sequence) and not isinstance(recipes, str) else [recipes]
    if overrides and any(not isinstance(recipe, str) for recipe in recipes):
        raise ConfigError("overrides change recipes that are named; change the recipe itself")
    found = tuple(load_recipe(recipe, overrides) if isinstance(recipe, str) else recipe for recipe in recipes)
    faults = [f"{name} is there {n} times" for name, n in Counter(r.name for r in found).items() if n > 1]
    faults += [f"{recipe.name} classifies tiles" for recipe in found if recipe.classifies_tiles]
    faults += [f"{recipe.name} answers clicks" for recipe in found if recipe.model.click_px]
    if not found:
        faults.append("there is no recipe")
    if faults:
        raise ConfigError(f"cross-validation: {listed(faults, joint='; ')}")
    return found


class _Worker:
    """Does folds: trains, predicts, evaluates."""

    def __init__(
        self, study: Study, slides: SlideSettings, judged: EvaluateSettings, prediction: PredictSettings | None
    ) -> None:
        self._study, self._slides, self._judged, self._prediction = study, slides, judged, prediction

    def work(self, folds: Sequence[Fold], on_progress: OnProgress) -> list[tuple[str, str]]:
        """Do those of the folds that no other living process has; gives (fold, reason) of those that failed."""
        failed = []
        for number, fold in enumerate(folds, start=1):

            def tell(done: int, total: int, text: str, where: str = f"{number}/{len(folds)} {fold.name}") -> None:
                on_progress(done, total, f"{where} {text}")

            with claimed(self._study.root, fold.name.replace(" ", "-")) as claim:
                if claim is None or fold.is_done:
                    continue
                try:
                    self._do(fold, tell)
                except QpkitError as err:
                    failed.append((fold.name, str(err)))
        return failed

    def _do(self, fold: Fold, on_progress: OnProgress) -> None:
        train(fold.tiles, fold.run, fold.recipe, resume=True, on_progress=on_progress)
        evaluate(
            fold.run,
            self._study.places,
            self._judged,
            slides=self._slides,
            prediction=self._prediction,
            out=fold.evaluation,
            overwrite=True,
            on_progress=on_progress,
        )

    def together(self, recipe: Recipe, on_progress: OnProgress) -> RecipeResult:
        """Judge all slides of a recipe whose folds are done, each by the run that has not seen it."""
        with extra("train"):
            from qpkit_train.inference.running.ensemble import write_ensemble

        folds, root = self._study.folds_of(recipe), self._study.root / recipe.name
        write_ensemble(root, [fold.run for fold in folds])
        unit = unit_of([fold.evaluation for fold in folds])
        predictions = write_unseen(folds, root / "predictions")
        judged = replace(self._judged, patient=None if unit == "slide" else unit, by=() if unit == "slide" else (unit,))
        evaluate(
            predictions.root, self._study.places, judged, slides=self._slides, out=root / "evaluation", overwrite=True,
            on_progress=lambda done, total, text: on_progress(done, total, f"{recipe.name} all folds {text}"),
        )  # fmt: skip
        return result_of(
            recipe.name,
            root / "evaluation",
            {fold.run.name: fold.evaluation for fold in folds},
            unit=unit,
            seed=judged.seed,
            resamples=judged.resamples,
        )


def _write(found: CrossValidation) -> None:
    """Tables and the page."""
    from qpkit.rounds.cross_validation.page import write_page

    replace_file(found.root / "scores.csv", scores_csv(found.recipes))
    if found.comparisons:
        replace_file(found.root / "comparison.csv", comparison_csv(found.comparisons))
    write_info(found.root, {"recipes": found.recipes, "comparisons": found.comparisons})
    write_page(found.root, found.recipes, found.comparisons, found.notes)
