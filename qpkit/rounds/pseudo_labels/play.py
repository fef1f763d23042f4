"""Rounds, read from top to bottom: label, train, judge, until a round does not help.

    OUT/settings.json                    what is played, with every setting
    OUT/round-0/run                      the base
    OUT/round-1/tiles                    tiles with pseudo-labels, and what was added
    OUT/round-1/pseudo-labels.png        tiles to which most was added, as annotated and as learned
    OUT/round-1/run                      the network that learned from them
    OUT/round-1/round.json               scores on the validation tiles, and the verdict; written last
    OUT/rounds.json, rounds.csv, rounds.png

Every step ends in a file that is whole or not there, so the same call goes on where an earlier one was killed, and ends
with what an uninterrupted one ends with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from qpkit.api.train import train
from qpkit.dataset import TileSet, read_tile_set
from qpkit.dataset.manifest import TABLE_NAME as TILES_TABLE
from qpkit.errors import FormatError, OutputError
from qpkit.files import RUN_NAME, csv_bytes, pretty_json, replace_file, sha256
from qpkit.progress import OnProgress, no_progress
from qpkit.report.figures.rounds import PlottedRound, rounds_png
from qpkit.rounds.pseudo_labels.ledger import Added, summed
from qpkit.rounds.pseudo_labels.settings import RoundsSettings
from qpkit.rounds.pseudo_labels.sheet import pseudo_label_sheet
from qpkit.rounds.pseudo_labels.tiles import check_tiles, label_tiles
from qpkit.rounds.pseudo_labels.verdict import NOTES, Scores, Verdict, judged, validation_scores

if TYPE_CHECKING:
    from qpkit_train.recipe.settings import Recipe

SETTINGS_NAME: Final = "settings.json"
ROUND_NAME: Final = "round.json"
RESULT_NAME: Final = "rounds.json"
TABLE_NAME: Final = "rounds.csv"
PICTURE_NAME: Final = "rounds.png"
SHEET_NAME: Final = "pseudo-labels.png"


class RoundResult(msgspec.Struct, frozen=True, kw_only=True):
    """One round that was played.

    Args:
        number: 0 is the base.
        recipe: Name of its recipe.
        run: Id of its run.
        teacher: Number of the round whose network labelled; None for the base.
        added: What was added, by slide and class.
        scores: On the validation tiles.
        verdict: Against the teacher; None for the base.
        notes: What the user has to know.
    """

    number: int
    recipe: str
    run: str
    teacher: int | None
    added: tuple[Added, ...]
    scores: Scores
    verdict: Verdict | None
    notes: tuple[str, ...] = ()

    @property
    def accepted(self) -> bool:
        """Whether its network is better than all before, by the rule that was set."""
        return self.verdict is None or self.verdict.accepted


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundsReport:
    """Rounds that were played.

    Args:
        root: The folder.
        rounds: In their order.
        best: Number of the last one that was accepted.
        run: Its run folder.
        planned: How many there were to play.
        notes: What the user has to know.
    """

    root: Path
    rounds: tuple[RoundResult, ...]
    best: int
    run: Path
    planned: int
    notes: tuple[str, ...]


def pseudo_label_rounds(settings: RoundsSettings, *, on_progress: OnProgress = no_progress) -> RoundsReport:
    """Play rounds of pseudo-labels, or go on with them.

    Round 0 learns from the annotations. In each later one the last accepted network labels what nobody annotated in
    the training tiles, and a network learns from annotations and labels. It is accepted if it helped on the validation
    tiles (`RoundsFile.accept`); after `patience` rounds that were not, it ends.

    Args:
        settings: Of `read_rounds`.
        on_progress: Called with (done, all, text) of the step at work.

    Raises:
        ConfigError: The tiles do not fit; said before the first training.
        OutputError: The folder holds rounds with other settings, or something else.
        QpkitError: As `train`.
    """
    tiles = read_tile_set(settings.tiles)
    truth = None if settings.truth is None else read_tile_set(settings.truth)
    check_tiles(tiles, truth)
    _claim(settings.out, _resolved(settings, tiles, truth))
    rounds: list[RoundResult] = []
    for number in range(len(settings.recipes)):
        if _is_over(rounds, settings.file.patience):
            break
        rounds.append(_round(settings, tiles, truth, number, rounds, on_progress))
        _write(settings, rounds)
    return _report(settings, rounds)


def _round(
    settings: RoundsSettings,
    tiles: TileSet,
    truth: TileSet | None,
    number: int,
    before: Sequence[RoundResult],
    on_progress: OnProgress,
) -> RoundResult:
    folder = settings.out / f"round-{number}"
    if (folder / ROUND_NAME).is_file():
        return _read(folder / ROUND_NAME)
    tell = _telling(on_progress, f"round {number} of {len(settings.recipes) - 1}")
    recipe, item, notes = settings.recipes[number], settings.file.rounds[number], list[str]()
    teacher = _last_accepted(before) if before else None
    added: tuple[Added, ...] = ()
    root = settings.tiles
    if teacher is not None:
        run, root = _run_of(settings, teacher.number), folder / "tiles"
        added = label_tiles(tiles, run, root, item.rule, agreement=item.agreement, truth=truth, on_progress=tell)
        sheet = pseudo_label_sheet(tiles, root)
        if sheet is None:
            notes.append("no pseudo-label was added: the network learns from the annotations alone")
        else:
            replace_file(folder / SHEET_NAME, sheet)
        if item.start == "teacher":
            recipe, note = _started_from(run, recipe, settings.recipes[teacher.number])
            notes += [note] if note else []
    run = folder / "run"
    report = train(root, run, recipe, resume=(run / RUN_NAME).is_file(), on_progress=tell)
    # Whatever tiles a round learns from, it is judged by the annotations of the export.
    scores = validation_scores(run, tiles, on_progress=tell)
    result = RoundResult(
        number=number,
        recipe=recipe.name,
        run=report.run,
        teacher=None if teacher is None else teacher.number,
        added=added,
        scores=scores,
        verdict=None if teacher is None else judged(scores, teacher.scores, accept=settings.file.accept),
        notes=tuple(notes),
    )
    replace_file(folder / ROUND_NAME, pretty_json(result) + b"\n")
    return result


def _started_from(run: Path, recipe: Recipe, other: Recipe) -> tuple[Recipe, str]:
    """The recipe with the weights of a run, where the networks are the same."""
    mine, theirs = (
        msgspec.structs.replace(r.model, weights="", encoder_weights="", freeze_encoder=False, dropout=0.0)
        for r in (recipe, other)
    )
    if mine != theirs:
        return recipe, 'start = "teacher": the teacher is another network, so this one starts as its recipe says'
    return msgspec.structs.replace(recipe, model=msgspec.structs.replace(recipe.model, weights=f"run:{run}")), ""


def _last_accepted(rounds: Sequence[RoundResult]) -> RoundResult:
    return next(item for item in reversed(rounds) if item.accepted)


def _is_over(rounds: Sequence[RoundResult], patience: int) -> bool:
    """Whether the last rounds, as many as patience says, did not help."""
    return 0 < patience <= len(rounds) and not any(item.accepted for item in rounds[-patience:])


def _run_of(settings: RoundsSettings, number: int) -> Path:
    return settings.out / f"round-{number}" / "run"


def _telling(on_progress: OnProgress, where: str) -> Callable[[int, int, str], None]:
    return lambda done, total, text: on_progress(done, total, f"{where}, {text}")


def _resolved(settings: RoundsSettings, tiles: TileSet, truth: TileSet | None) -> bytes:
    """Everything that decides the result, for settings.json."""
    rounds = [
        {**msgspec.to_builtins(item), "recipe": msgspec.to_builtins(recipe)}
        for item, recipe in zip(settings.file.rounds, settings.recipes, strict=True)
    ]
    for item in rounds:
        item.pop("set")
    said = {
        "tiles_sha256": sha256(tiles.root / TILES_TABLE),
        "truth_sha256": None if truth is None else sha256(truth.root / TILES_TABLE),
        "accept": settings.file.accept,
        "patience": settings.file.patience,
        "rounds": rounds,
    }
    return pretty_json(said) + b"\n"


def _claim(out: Path, settings: bytes) -> None:
    """Begin in an empty folder, or go on in one with the same settings."""
    there = out / SETTINGS_NAME
    if there.is_file():
        if there.read_bytes() != settings:
            raise OutputError(f"{out}: holds rounds with other settings, recipes or tiles; choose another folder")
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out}: there is something already that is no rounds; choose another folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise OutputError(f"{out}: cannot be made ({err.strerror}); choose another folder") from err
    replace_file(there, settings)


def _read(path: Path) -> RoundResult:
    try:
        return msgspec.json.decode(path.read_bytes(), type=RoundResult)
    except (OSError, msgspec.DecodeError) as err:
        raise FormatError(f"{path}: cannot be read ({err}); remove it, and the round is judged again") from err


def _report(settings: RoundsSettings, rounds: Sequence[RoundResult]) -> RoundsReport:
    best = _last_accepted(rounds).number
    notes = [NOTES[rounds[0].scores.unit], *(f"round {item.number}: {note}" for item in rounds for note in item.notes)]
    if len(rounds) < len(settings.recipes):
        notes.append(
            f"ended after round {rounds[-1].number} of {len(settings.recipes) - 1}: patience is "
            f"{settings.file.patience}; patience = 0 plays all"
        )
    return RoundsReport(
        root=settings.out,
        rounds=tuple(rounds),
        best=best,
        run=_run_of(settings, best),
        planned=len(settings.recipes),
        notes=tuple(filter(None, notes)),
    )


def table_rows(report: RoundsReport) -> list[dict[str, Any]]:
    """One row per round: what was added, scores, verdict; None where there is nothing to say."""
    return [_row(item) for item in report.rounds]


def _row(item: RoundResult) -> dict[str, Any]:
    classes = summed(item.added)
    right, known = (sum(getattr(row, name) or 0 for row in classes.values()) for name in ("right_px", "true_px"))
    areas = [row.mm2 for row in classes.values() if row.mm2 is not None]
    verdict = item.verdict
    return {
        "round": item.number,
        "recipe": item.recipe,
        "run": item.run,
        "teacher": item.teacher,
        "added_px": sum(row.px for row in classes.values()),
        "added_mm2": sum(areas) if areas else None,
        "precision": right / known if known else None,
        **{f"precision_{name}": row.precision if (row := classes.get(name)) else None for name in item.scores.by_class},
        "dice": item.scores.mean,
        **{f"dice_{name}": value for name, value in item.scores.by_class.items()},
        "difference": None if verdict is None else verdict.difference,
        "low": None if verdict is None else verdict.low,
        "high": None if verdict is None else verdict.high,
        "accepted": item.accepted,
    }


def _write(settings: RoundsSettings, rounds: Sequence[RoundResult]) -> None:
    report = _report(settings, rounds)
    rows = table_rows(report)
    said = {"best": report.best, "run": rounds[report.best].run, "notes": report.notes, "rounds": rounds}
    replace_file(settings.out / RESULT_NAME, pretty_json(said) + b"\n")
    replace_file(settings.out / TABLE_NAME, csv_bytes([list(rows[0]), *(list(row.values()) for row in rows)]))
    plotted = [
        PlottedRound(
            dice=item.scores.mean,
            by_class=item.scores.by_class,
            interval=(None, None) if item.verdict is None else (item.verdict.low, item.verdict.high),
            difference=None if item.verdict is None else item.verdict.difference,
            accepted=item.accepted,
            added={
                name: (row.mm2 if row.mm2 is not None else float(row.px)) for name, row in summed(item.added).items()
            },
            precision={name: row.precision for name, row in summed(item.added).items()},
        )
        for item in rounds
    ]
    unit = "mm2" if not any(row.mm2 is None for item in rounds for row in item.added) else "px"
    replace_file(
        settings.out / PICTURE_NAME, rounds_png(plotted, best=report.best, unit=unit, over=rounds[0].scores.unit)
    )
