"""rounds.toml: which tiles, which rounds, when to stop. Everything is checked before the first training."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec

from qpkit.errors import ConfigError, listed, or_else
from qpkit.extras import extra
from qpkit.files import AnyPath
from qpkit.rounds.pseudo_labels.selection import Rule
from qpkit.settings import FRACTION, Range, bounds_of

if TYPE_CHECKING:
    from qpkit_train.recipe.settings import Recipe

_SHIPPED: Final = Path(__file__).parent / "shipped"


class Round(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One round: a recipe, and from the second round on which predictions become its labels.

    Args:
        recipe: Name of a shipped recipe (qpkit recipes), or a TOML file beside rounds.toml.
        set: Settings of the recipe that are changed, as tables: set.optim.lr = 1e-3.
        threshold: Pixels with at least this probability become labels; above 1 none does, for comparison.
        quantile: Instead of a threshold: of each class the pixels above this quantile of its own probabilities, 0..1,
            so that a rare class of which the network is less sure is labelled, too. 0.8 takes the surest fifth.
        max_px_per_class: At most so many pixels of each class, the surest ones; 0 for no bound.
        agreement: Only pixels for which the network's last weights and their moving average say the same class; the
            round before needs set.optim.ema.
        start: "recipe" starts from what the recipe says, "teacher" from the weights of the network that labels, where
            this is the same network.
    """

    recipe: str
    set: dict[str, Any] = {}
    threshold: Annotated[float | None, Range(above=0)] = None
    quantile: Annotated[float | None, FRACTION] = None
    max_px_per_class: Annotated[int, Range(at_least=0)] = 0
    agreement: bool = False
    start: Literal["recipe", "teacher"] = "recipe"

    @property
    def rule(self) -> Rule:
        """How many pixels of a class become labels."""
        return Rule(threshold=self.threshold, quantile=self.quantile, most=self.max_px_per_class)


class RoundsFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """rounds.toml. Paths start at its folder.

    Args:
        tiles: What qpkit export made; what nobody annotated is ignore in it.
        out: Folder to make, or to go on with.
        truth: The same tiles with every label, where there are: how right pseudo-labels are is counted with it.
        accept: When a round has helped: "better" if the mean difference of the validation patients' Dice to the
            network that labelled is above 0; "surely" if the lower end of its 95 % interval is, too; "always".
        patience: Rounds without help, one after the other, after which it ends; 0 plays all.
        set: Settings of the recipes of all rounds.
        rounds: The first one learns from the annotations alone.
    """

    tiles: str
    out: str
    rounds: list[Round] = msgspec.field(name="round")
    truth: str = ""
    accept: Literal["better", "surely", "always"] = "better"
    patience: Annotated[int, Range(at_least=0)] = 1
    set: dict[str, Any] = {}


class RoundsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A rounds.toml with its paths found and its recipes read.

    Args:
        file: As it was written.
        tiles, out, truth: The folders; `truth` may be None.
        recipes: One for each round.
    """

    file: RoundsFile
    tiles: Path
    out: Path
    truth: Path | None
    recipes: tuple[Recipe, ...]


def shipped_rounds() -> list[str]:
    """Name the schedules that come with qpkit, in alphabetical order."""
    return sorted(path.stem for path in _SHIPPED.glob("*.toml"))


def shipped_text(name: str) -> str:
    """A schedule that comes with qpkit, to start from.

    Raises:
        ConfigError: There is none of that name.
    """
    if name not in shipped_rounds():
        raise ConfigError(f"{name}: no such schedule; {or_else(name, shipped_rounds())}")
    return (_SHIPPED / f"{name}.toml").read_text(encoding="utf-8")


def read_rounds(path: AnyPath, overrides: Sequence[str] = ()) -> RoundsSettings:
    """Read a rounds.toml and the recipes that it names.

    Args:
        path: The file.
        overrides: "section.key=value" each, for the recipes of all rounds.

    Raises:
        ConfigError: It is not there, no TOML, or has faults: all that msgspec lets pass in one message.
        MissingExtraError: torch is not installed.
    """
    path = Path(path)
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        file = msgspec.convert(tables, RoundsFile)
    except OSError as err:
        raise ConfigError(
            f"{path}: cannot be read ({err.strerror}); start from one: qpkit rounds --example small > {path.name}"
        ) from err
    except (ValueError, msgspec.ValidationError) as err:
        raise ConfigError(f"{path}: {err}") from err
    return resolved(file, path.parent, overrides, source=str(path))


def resolved(file: RoundsFile, folder: Path, overrides: Sequence[str] = (), *, source: str) -> RoundsSettings:
    """Find the paths of a schedule and read its recipes; arguments and errors as `read_rounds`."""
    faults = list(_faults(file))
    recipes: list[Recipe] = []
    for number, item in enumerate(file.rounds):
        try:
            recipes.append(_recipe(file, item, folder, overrides))
        except ConfigError as err:
            faults.append(f"round {number}: {err}")
    if not faults:
        faults = list(_recipe_faults(file, recipes))
    if faults:
        raise ConfigError(f"{source}: {listed(faults, most=4, joint='; ')}")
    return RoundsSettings(
        file=file,
        tiles=folder / file.tiles,
        out=folder / file.out,
        truth=folder / file.truth if file.truth else None,
        recipes=tuple(recipes),
    )


def _recipe(file: RoundsFile, item: Round, folder: Path, overrides: Sequence[str]) -> Recipe:
    with extra("train"):
        from qpkit_train.recipe.load import load_recipe

    beside = folder / item.recipe
    said = [*_flat(file.set), *_flat(item.set), *overrides]
    return load_recipe(str(beside) if beside.is_file() else item.recipe, said)


def _flat(tables: Mapping[str, Any]) -> Iterator[str]:
    """Settings as `--set` takes them; what is deeper than a section's setting is its value."""
    from qpkit_train.recipe.described import toml_value

    for key, value in tables.items():
        if isinstance(value, Mapping):
            yield from (f"{key}.{name}={toml_value(part)}" for name, part in value.items())
        else:
            yield f"{key}={toml_value(value)}"


def _faults(file: RoundsFile) -> Iterator[str]:
    if len(file.rounds) < 2:
        yield "there have to be at least two [[round]]s: the base, and one that learns from its labels"
    for where, part in (("", file), *((f"round {number}: ", item) for number, item in enumerate(file.rounds))):
        for field in msgspec.structs.fields(part):
            value, bounds = getattr(part, field.name), bounds_of(field.type)
            if bounds is not None and value is not None and not bounds.holds(value):
                yield f"{where}{field.encode_name} = {value} has to be {bounds}"
    for number, item in enumerate(file.rounds):
        rules = (item.threshold is not None) + (item.quantile is not None)
        if not number and (rules or item.agreement or item.max_px_per_class or item.start == "teacher"):
            yield "round 0 learns from the annotations alone: it has no threshold, quantile, agreement, cap or teacher"
        elif number and rules != 1:
            yield f"round {number} has to have a threshold or a quantile, and not both"


def _recipe_faults(file: RoundsFile, recipes: Sequence[Recipe]) -> Iterator[str]:
    for number, (item, recipe) in enumerate(zip(file.rounds, recipes, strict=True)):
        if recipe.classifies_tiles:
            yield f"round {number}: recipe {recipe.name} classifies tiles, which labels no pixels"
        # Whichever of the earlier ones was accepted last may be the teacher.
        if item.agreement and not all(earlier.optim.ema for earlier in recipes[:number]):
            yield f"round {number}: agreement needs set.optim.ema (such as 0.99) in all rounds before"
