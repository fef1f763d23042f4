"""The folder of a cross-validation: what was asked for, the tables of the folds, and where each run lies.

    OUT/cross-validation.json            what was asked for, and what came out
    OUT/folds/fold-1 ... fold-K          a table of the tiles each; its test slides are those of that fold
    OUT/RECIPE/fold-1 ... fold-K         a run each, and beside it fold-1-evaluation, fold-1-evaluation-predictions
    OUT/RECIPE/predictions, evaluation   all slides, each by the run that has not seen it

Several processes may share the folder, also on other machines that see the same drive.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from qpkit.dataset.manifest import INFO_NAME as TILES_INFO
from qpkit.dataset.manifest import TABLE_NAME
from qpkit.errors import OutputError
from qpkit.files import one_at_a_time, pretty_json, replace_file, sha256
from qpkit.rounds.cross_validation.settings import CrossValidationSettings
from qpkit.workflows.evaluate.files import INFO_NAME as EVALUATION
from qpkit.workflows.tables.split import split_folds

if TYPE_CHECKING:
    from qpkit_train.recipe.settings import Recipe

INFO_NAME: Final = "cross-validation.json"
FORMAT: Final = "qpkit cross-validation 1"


@dataclass(frozen=True, slots=True)
class Fold:
    """One training of a cross-validation and the evaluation on the slides that it has not seen.

    Args:
        recipe: What is trained.
        number: Of the fold that is tested, from 1.
        root: Folder of the recipe.
        tiles: The fold's table.
    """

    recipe: Recipe
    number: int
    root: Path
    tiles: Path

    @property
    def name(self) -> str:
        """As progress and locks call it."""
        return f"{self.recipe.name} fold {self.number}"

    @property
    def run(self) -> Path:
        """The run folder."""
        return self.root / f"fold-{self.number}"

    @property
    def evaluation(self) -> Path:
        """Where the scores of its own test slides are."""
        return self.root / f"fold-{self.number}-evaluation"

    @property
    def predictions(self) -> Path:
        """Where these slides are predicted; `qpkit.evaluate` puts them there."""
        return self.evaluation.with_name(f"{self.evaluation.name}-predictions")

    @property
    def is_done(self) -> bool:
        """Whether all of it is there."""
        return (self.evaluation / EVALUATION).is_file()


@dataclass(frozen=True, slots=True)
class Study:
    """A cross-validation, planned.

    Args:
        root: Its folder.
        tiles: What is shared out.
        recipes: Names differ.
        settings: Of the folds.
        places: Projects, slides, or the one folder of images and masks, with the annotations.
    """

    root: Path
    tiles: Path
    recipes: tuple[Recipe, ...]
    settings: CrossValidationSettings
    places: tuple[Path, ...]

    def folds(self) -> Iterator[Fold]:
        """All trainings, recipe by recipe."""
        for recipe in self.recipes:
            yield from self.folds_of(recipe)

    def folds_of(self, recipe: Recipe) -> list[Fold]:
        """The trainings of one recipe."""
        numbers = range(1, self.settings.folds + 1)
        return [Fold(recipe, n, self.root / recipe.name, self.root / "folds" / f"fold-{n}") for n in numbers]


def open_study(study: Study, *, metadata: Path | None) -> list[str]:
    """Begin in an empty folder, or go on in one of the same tiles and folds; recipes may be added.

    Args:
        study: What is asked for.
        metadata: Project or CSV that knows the patients, as `split_folds` takes it.

    Returns:
        Notes on the folds.

    Raises:
        OutputError: The folder holds something else, or folds of other tiles or settings.
        ConfigError, FormatError: The folds cannot be drawn; see `split_folds`.
    """
    asked = _asked(study)
    try:
        study.root.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise OutputError(f"{study.root}: cannot be made ({err.strerror or err})") from err
    with one_at_a_time(study.root):
        there = read_info(study.root)
        if there is None:
            if any(study.root.iterdir()):
                raise OutputError(f"{study.root}: there is something already that is no cross-validation")
            try:
                reports = split_folds(study.tiles, study.settings.split, study.root / "folds", metadata=metadata)
            except BaseException:
                study.root.rmdir()
                raise
            there = {"format": FORMAT, "asked": asked, "notes": sorted({n for r in reports for n in r.notes})}
            replace_file(study.root / INFO_NAME, pretty_json(there))
        different = [key for key, value in asked.items() if there["asked"].get(key) != value]
        if different:
            raise OutputError(
                f"{study.root}: is a cross-validation with other {', '.join(different)}; choose another folder"
            )
    return [str(note) for note in there["notes"]]


def _asked(study: Study) -> dict[str, Any]:
    """What decides the folds."""
    settings = study.settings
    return {
        "tiles": {name: sha256(study.tiles / name) for name in (TILES_INFO, TABLE_NAME)},
        "by": settings.split.rule,
        "folds": settings.folds,
        "stratify": settings.stratify,
        "seed": settings.seed,
    }


def read_info(root: Path) -> dict[str, Any] | None:
    """What cross-validation.json says; None where there is none.

    Raises:
        OutputError: It is damaged, or of another version.
    """
    file = root / INFO_NAME
    try:
        found: dict[str, Any] = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as err:
        raise OutputError(f"{file}: cannot be read ({err}); choose another folder") from err
    if found.get("format") != FORMAT:
        raise OutputError(f"{file}: format is {found.get('format')!r}, this qpkit writes {FORMAT!r}")
    return found


def write_info(root: Path, told: Mapping[str, Any]) -> None:
    """Add what came out to cross-validation.json."""
    replace_file(root / INFO_NAME, pretty_json({**(read_info(root) or {}), **told}))


def parts_of(folds: Sequence[Fold], shard: tuple[int, int] | None) -> list[Fold]:
    """The trainings of one job of an array: every count-th from number on, the first is 1."""
    number, count = shard or (1, 1)
    return list(folds)[number - 1 :: count]
