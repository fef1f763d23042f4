"""One round: which squares are annotated, tiles of them, a training, predictions, and a score.

Every step leaves a file when it is whole, and is not done again where the file is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from qpkit.api.train import train
from qpkit.dataset.manifest import INFO_NAME as EXPORT
from qpkit.errors import FormatError, LabelError, listed
from qpkit.extras import extra
from qpkit.files import pretty_json, replace_file, safe_names
from qpkit.ops.scores.baselines import ALL_THIS_CLASS
from qpkit.predictions import PredictionSet, read_predictions
from qpkit.predictions.store import INFO_NAME as PREDICTIONS
from qpkit.progress import OnProgress
from qpkit.qupath import write_geojson
from qpkit.rounds.simulate.result import Score
from qpkit.rounds.simulate.settings import SimulateSettings, Strategy
from qpkit.rounds.simulate.study import Study
from qpkit.rounds.simulate.truth import Square, only_regions, region_annotations
from qpkit.workflows.evaluate.predictions import evaluate
from qpkit.workflows.evaluate.result import Scope
from qpkit.workflows.export.settings import ExportSettings
from qpkit.workflows.export.tiles import export_tiles
from qpkit.workflows.inputs.slides import SlideInput
from qpkit.workflows.suggest.candidates import Look
from qpkit.workflows.suggest.choose import suggest

if TYPE_CHECKING:
    from qpkit_train.recipe.settings import Recipe

_REGIONS: Final = "regions.json"
_SCORES: Final = "scores.json"
_TILE_PX: Final = 256
"""Of predictions: squares lie scattered, and larger tiles would show the model much that nobody asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Player:
    """Plays rounds of one seed and one strategy.

    Args:
        study: With what.
        settings: How.
        recipe: Of every training, with the seed.
        look: What squares are compared by.
        seed: Of random regions, too.
        strategy: By which regions are chosen.
        root: Folder of this seed and strategy.
    """

    study: Study
    settings: SimulateSettings
    recipe: Recipe
    look: Look
    seed: int
    strategy: Strategy
    root: Path

    def round(self, number: int, on_progress: OnProgress) -> Score:
        """Play a round; those before it have been played. 0 is a training on everything."""
        folder = self.folder(number)
        done = folder / _SCORES
        if done.is_file():
            return msgspec.json.decode(done.read_bytes(), type=Score)
        folder.mkdir(parents=True, exist_ok=True)
        chosen = self.chosen(number) if number else self.study.everything
        items, export = self.study.annotated(chosen) if number else (list(self.study.items), self.study.export)
        note = self._train(folder, items, export, on_progress)
        found = None if note else self._judged(folder)
        mm2 = sum(square.mm2 for square in chosen)
        score = Score(
            seed=self.seed,
            strategy=self.strategy,
            round=number,
            regions=len(chosen),
            mm2=mm2,
            fraction=mm2 / sum(square.mm2 for square in self.study.everything),
            minutes=sum(square.minutes for square in chosen),
            dice={name: found.scores[name].dice if found else 0.0 for name in self._classes()},
            mean_dice=float(found.mean_dice or 0.0) if found else 0.0,
            baselines={name: found.baselines[name][ALL_THIS_CLASS].dice for name in self._classes()} if found else {},
            note=note,
        )
        replace_file(done, pretty_json(msgspec.to_builtins(score)))
        for path in (folder / "run").glob("last-*"):  # to go on with; three times what the model takes
            path.unlink()
        return score

    def folder(self, number: int) -> Path:
        """Of a round."""
        return self.root / f"round-{number}" if number else self.root

    def chosen(self, number: int) -> list[Square]:
        """What is annotated in a round, the earlier ones first."""
        if number == 0:
            return []
        folder = self.folder(number)
        file = folder / _REGIONS
        if file.is_file():
            return msgspec.json.decode(file.read_bytes(), type=list[Square])
        before = self.chosen(number - 1)
        order = self._random_order() if self.strategy == "random" else self._suggested_order(before, number)
        chosen = self.study.taken(order, before, number)
        names = [item.source.name for item in self.study.of_split("train")]
        for name, stem in zip(names, safe_names(names), strict=True):
            own = [square.region for square in chosen if square.slide == name]
            write_geojson(folder / f"{stem}.geojson", region_annotations(own))
        replace_file(file, pretty_json(msgspec.to_builtins(chosen)))
        return chosen

    def _random_order(self) -> list[Square]:
        pool = self.study.pool
        return [pool[place] for place in np.random.default_rng(self.seed).permutation(len(pool))]

    def _suggested_order(self, before: Sequence[Square], number: int) -> list[Square]:
        """All squares as `qpkit suggest` ranks them, by the predictions of the round before; the first has none."""
        of_place = {(square.slide, square.region): square for square in self.study.pool}
        report = suggest(
            [only_regions(item, before) for item in self.study.of_split("train")],
            replace(self.settings, n=len(of_place), area=None, minutes=None),
            predictions=self._predictions_of_pool(number - 1),
            look=self.look,
            among=self.study.among,
        )
        return [of_place[one.candidate.item.source.name, one.candidate.region] for one in report.suggestions]

    def _predictions_of_pool(self, number: int) -> list[PredictionSet]:
        folder = self.folder(number)
        if number == 0 or not (folder / "run" / "best.safetensors").is_file():
            return []
        items = self.study.of_split("train")
        return [self._predicted(folder, "predictions-pool", items, self.study.pool, probabilities=True)]

    def _train(self, folder: Path, items: Sequence[SlideInput], export: ExportSettings, update: OnProgress) -> str:
        """Export and train; gives why no model can be trained, "" if it was."""
        tiles = folder / "tiles"
        if not (tiles / EXPORT).is_file():
            export_tiles(items, tiles, export, classes=self.study.classes)
        try:
            train(tiles, folder / "run", self.recipe, resume=True, on_progress=update)
        except LabelError as err:
            return str(err)
        return ""

    def _classes(self) -> list[str]:
        labels = self.study.labels
        return [labels.name_of(value) for value in labels.trained_values if value != labels.background]

    def _judged(self, folder: Path) -> Scope:
        """Scores of all pixels of the held-out slides together."""
        items = self.study.of_split("test")
        squares = [square for item in items for square in self.study.truth[item.source.name]]
        found = self._predicted(folder, "predictions", items, squares, probabilities=False)
        return evaluate(found, items, labels=self.study.labels).pooled

    def _predicted(
        self, folder: Path, name: str, items: Sequence[SlideInput], squares: Sequence[Square], *, probabilities: bool
    ) -> PredictionSet:
        """Predictions inside of squares."""
        with extra("train"):
            from qpkit_train.inference.predict import predict
            from qpkit_train.inference.settings import PredictSettings

        out, areas = folder / name, self.study.areas(squares)
        if not (out / PREDICTIONS).is_file():
            sources = [item.source for item in items if item.source.name in areas]
            how = PredictSettings(probabilities=probabilities, tile_px=_TILE_PX)
            report = predict(folder / "run", sources, out, how, areas=areas)
            if report.skipped:
                raise FormatError(f"cannot be predicted: {listed(f'{slide}: {why}' for slide, why in report.skipped)}")
        return read_predictions(out)
