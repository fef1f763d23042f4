"""Rounds of suggest, annotate, train, predict and evaluate, with the annotations that are there as the pathologist."""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from qpkit.api.train import DEFAULT_RECIPE
from qpkit.errors import ConfigError, OutputError
from qpkit.extras import extra
from qpkit.files import AnyPath, pretty_json, replace_file
from qpkit.progress import OnProgress, no_progress
from qpkit.rounds.simulate.play import Player
from qpkit.rounds.simulate.result import Score, Simulation, baselines_of, points_of, scores_csv
from qpkit.rounds.simulate.settings import SimulateSettings, Strategy
from qpkit.rounds.simulate.study import Study, study_of
from qpkit.workflows.export.settings import ExportSettings
from qpkit.workflows.suggest.candidates import Look, TextureLook

if TYPE_CHECKING:
    from qpkit_train.recipe.settings import Recipe

INFO_NAME: Final = "simulate.json"
"""In the folder of a simulation."""

STEPS: Final = 500
"""Of a training, where neither the user nor the recipe says it."""

_PROLONGING: Final = ("rounds", "strategies", "seeds")
"""Settings that may change when a simulation goes on: what was played stays the same."""


def simulate(
    project: AnyPath,
    out: AnyPath,
    settings: SimulateSettings,
    export: ExportSettings,
    *,
    recipe: str = DEFAULT_RECIPE,
    overrides: Sequence[str] = (),
    look: Look | None = None,
    on_progress: OnProgress = no_progress,
) -> Simulation:
    """Play the review loop: what would have been known, and how good the model, with fewer annotations.

    The project is only read. If the process is killed, the same call goes on where it was; more rounds, seeds and
    strategies may be asked for later.

    Args:
        project: QuPath project with annotations.
        out: Folder to make, or to go on in: simulate.json, simulate.csv, simulate.png, a folder for every training.
        settings: How the loop is played.
        export: As for `qpkit export`: its split says which slides train, choose the best epoch (val) and test.
        recipe, overrides: As in `qpkit.train`. Every training has the same number of steps and no early stopping.
        look: What squares are compared by; None for colour and texture.
        on_progress: Called with (training steps done, in all, text).

    Raises:
        MissingExtraError: torch is not installed.
        ConfigError, ProjectError: As `study_of` says, or of the recipe.
        OutputError: `out` holds something else, or a simulation of other settings, slides or versions.
        QpkitError: As the verbs of which a round is made.
    """
    project, out = Path(project), Path(out)
    start = time.perf_counter()
    with extra("train"):
        from qpkit_train.recipe.load import load_recipe

    used = _with_steps(load_recipe(recipe, overrides), settings.steps)
    if used.classifies_tiles:
        raise ConfigError(f"recipe {used.name} classifies tiles; a simulation trains networks that segment")
    compared = look or TextureLook()
    study = study_of(project, settings, export, compared)
    facts = _facts(study, settings, used, compared)
    with extra("train"):  # torch, of which recipes know nothing: before a folder is made
        importlib.import_module("qpkit_train.loop")
    _claim(out, facts)
    steps = used.optim.epochs * used.optim.steps_per_epoch
    plays = [(seed, strategy) for seed in settings.seeds for strategy in settings.strategies]
    total = steps * sum(1 if strategy == "all" else settings.rounds for _, strategy in plays)
    scores: list[Score] = []
    for seed, strategy in plays:
        player = Player(
            study=study, settings=settings, recipe=_with_seed(used, seed), look=compared, seed=seed, strategy=strategy,
            root=out / f"seed-{seed}" / strategy,
        )  # fmt: skip
        for number in [0] if strategy == "all" else range(1, settings.rounds + 1):
            before = steps * len(scores)
            text = f"seed {seed}, {strategy}" + (f" {number}/{settings.rounds}" if number else "")
            scores.append(player.round(number, _within(on_progress, before, total, text)))
            on_progress(steps * len(scores), total, text)
            result = _simulation(study, settings, used, scores, steps=steps, seconds=time.perf_counter() - start)
            _write(out, facts, result, is_finished=len(scores) * steps == total)
    return result


def _within(on_progress: OnProgress, before: int, total: int, text: str) -> OnProgress:
    """Count the steps of one training among those of all."""

    def update(done: int, of: int, said: str) -> None:
        on_progress(before + done, total, text)

    return update


def _with_steps(recipe: Recipe, steps: int | None) -> Recipe:
    """The recipe with a fixed number of steps, all of which are done."""
    optim = recipe.optim
    if steps is not None or not optim.steps_per_epoch:
        optim = msgspec.structs.replace(optim, steps_per_epoch=math.ceil((steps or STEPS) / optim.epochs))
    early = msgspec.structs.replace(recipe.early_stopping, patience=0)
    return msgspec.structs.replace(recipe, optim=optim, early_stopping=early)


def _with_seed(recipe: Recipe, seed: int) -> Recipe:
    return msgspec.structs.replace(recipe, seed=seed)


def _facts(study: Study, settings: SimulateSettings, recipe: Recipe, look: Look) -> dict[str, Any]:
    """What decides every score."""
    plain = {name: getattr(settings, name) for name in settings.__dataclass_fields__ if name not in _PROLONGING}
    return {
        "settings": {**plain, "where": dict(settings.where)},
        "export": study.export.to_builtins(),
        "whole_export": study.job,
        "recipe": msgspec.to_builtins(_with_seed(recipe, 0)),
        "look": look.name,
    }


def _claim(out: Path, facts: Mapping[str, Any]) -> None:
    """Begin in an empty folder, or go on in one of the same facts."""
    file = out / INFO_NAME
    if file.is_file():
        there = msgspec.json.decode(file.read_bytes()).get("asked", {})
        asked = msgspec.json.decode(msgspec.json.encode(facts))
        different = [name for name, value in asked.items() if there.get(name) != value]
        if different:
            raise OutputError(
                f"{out}: holds a simulation of other settings ({', '.join(different)}); choose another folder, or say "
                "what was said then (only --rounds, --seeds and --strategy can change)"
            )
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out}: there is something already that is no simulation; choose another folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise OutputError(f"{out}: cannot be written ({err.strerror or err})") from err
    replace_file(file, pretty_json({"asked": facts, "finished": False, "scores": []}))


def _simulation(
    study: Study, settings: SimulateSettings, recipe: Recipe, scores: Sequence[Score], *, steps: int, seconds: float
) -> Simulation:
    slides = {split: tuple(item.source.name for item in study.of_split(split)) for split in ("train", "val", "test")}
    every = study.everything
    notes = [
        f"every training has {steps:,} steps from the same start (recipe {recipe.name}), whatever is annotated, "
        "without early stopping"
    ]
    notes.append(
        f"the best epoch is chosen on {len(slides['val'])} validation slide(s), annotated in full and not counted"
        if slides["val"]
        else "there is no validation slide: the best epoch is chosen on the training tiles"
    )
    return Simulation(
        scores=tuple(scores),
        slides=slides,
        regions=len(study.pool),
        annotated_mm2=sum(square.mm2 for square in every),
        annotated_minutes=sum(square.minutes for square in every),
        budget=settings.budget,
        steps=steps,
        recipe=recipe.name,
        notes=(*notes, *dict.fromkeys(f"{s.strategy} {s.round}: no model ({s.note})" for s in scores if s.note)),
        seconds=seconds,
    )


def _write(out: Path, facts: Mapping[str, Any], result: Simulation, *, is_finished: bool) -> None:
    """Write what is known so far; the picture once all is."""
    from qpkit.report.figures.budgets import Curve, draw_budgets

    told = msgspec.to_builtins(replace(result, seconds=round(result.seconds, 1)))
    replace_file(out / "simulate.csv", scores_csv(result.scores, result.classes))
    points = points_of(result.scores)
    names: tuple[Strategy, ...] = ("suggest", "random", "all")
    curves = [
        Curve(
            name=name,
            mm2=[p.mm2 for p in points if p.strategy == name],
            minutes=[p.minutes for p in points if p.strategy == name],
            dice=[p.dice for p in points if p.strategy == name],
        )
        for name in names
        if any(p.strategy == name for p in points)
    ]
    replace_file(out / "simulate.png", draw_budgets(curves, ("mean", *result.classes), baselines_of(result.scores)))
    replace_file(out / INFO_NAME, pretty_json({"asked": facts, "finished": is_finished, **told}))
