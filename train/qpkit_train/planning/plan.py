"""A plan as nnU-Net makes it: crops, network and mini-batch follow from the tiles and from the memory there is.

1. Crops are whole tiles.
2. The network halves them while 4 px are left, five times at most, and doubles its channels from 32 up to 512.
3. Where two crops do not fit the memory, crops become smaller, 32 px at a time.
4. The mini-batch is what fits, but no more than 5 % of the labelled pixels, and two crops at least.

What the recipe or the user says is taken as it is, and the rest is planned around it.

Source: Isensee et al. 2021, nnU-Net: rules and numbers; the memory is counted here (`memory.py`), not looked up.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from qpkit.dataset import TileSet
from qpkit.errors import ConfigError, listed
from qpkit_train.planning.fingerprint import Fingerprint, fingerprint
from qpkit_train.planning.memory import parameters, step_bytes
from qpkit_train.recipe.settings import PLANNED, Recipe

CROP, BATCH, CHANNELS = PLANNED

_STEP: Final = 32
"""px; crops are multiples of it, as the network takes them (`models.card.STRIDE`)."""

_LEAST_SIDE: Final = 4
"""px of the coarsest stage."""

_MOST_STAGES: Final = 6
_FIRST_CHANNELS, _MOST_CHANNELS = 32, 512
_LEAST_BATCH: Final = 2
_MOST_OF_PIXELS: Final = 0.05


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was planned.

    Args:
        crop_px: Side of the crops; 0 for whole tiles.
        batch_size: Crops per step.
        channels: Of each stage of the network, finest first.
        parameters: Of the network.
        step_gb: What a step takes, GB of 10^9 bytes, by count.
        memory_gb: What it may take.
        pixels: Fraction of the labelled pixels that a mini-batch has, 0..1.
        limited_by: What the mini-batch is limited by.
        decided: Settings that the plan has decided; the others were said.
    """

    crop_px: int
    batch_size: int
    channels: tuple[int, ...]
    parameters: int
    step_gb: float
    memory_gb: float
    pixels: float
    limited_by: str
    decided: tuple[str, ...]

    def __str__(self) -> str:
        crops = f"crops of {self.crop_px} px" if self.crop_px else "whole tiles"
        return (
            f"{crops}, {self.batch_size} a step ({self.pixels:.1%} of the labelled px, limited by {self.limited_by}), "
            f"{len(self.channels)} stages of {listed(map(str, self.channels))} channels, "
            f"{self.parameters / 1e6:.1f} M parameters; about {self.step_gb:.2g} of {self.memory_gb:g} GB a step; "
            f"planned: {listed(self.decided)}"
        )


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """A recipe with nothing left open.

    Args:
        recipe: Its plan.decides is empty.
        measured, plan: What the decisions rest on; None where there was nothing to decide.
    """

    recipe: Recipe
    measured: Fingerprint | None = None
    plan: Plan | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """Both as text, for people."""
        return () if self.plan is None else (f"fingerprint: {self.measured}", f"plan: {self.plan}")

    def record(self) -> dict[str, Any]:
        """Both as run.json keeps them; empty without a plan."""
        if self.plan is None:
            return {}
        return {"fingerprint": msgspec.to_builtins(self.measured), "plan": msgspec.to_builtins(self.plan)}


def planned(tile_set: TileSet, recipe: Recipe) -> Planned:
    """Decide what a recipe leaves open (`plan.decides`).

    Raises:
        LabelError: No training tile shows a class.
        FormatError: A tile cannot be read.
        ConfigError: Nothing fits the memory, or what was said does not.
    """
    if not recipe.plan.decides:
        return Planned(recipe=recipe)
    measured = fingerprint(tile_set)
    plan = make_plan(measured, recipe, root=tile_set.root)
    data = msgspec.structs.replace(recipe.data, crop_px=plan.crop_px, batch_size=plan.batch_size)
    model = msgspec.structs.replace(recipe.model, options={**recipe.model.options, "channels": list(plan.channels)})
    resolved = msgspec.structs.replace(
        recipe, data=data, model=model, plan=msgspec.structs.replace(recipe.plan, decides=[])
    )
    return Planned(recipe=resolved, measured=measured, plan=plan)


def make_plan(measured: Fingerprint, recipe: Recipe, *, root: Path) -> Plan:
    """Work out the plan; see the module. `root` is the folder that errors name.

    Raises:
        ConfigError: As `planned`.
    """
    open_settings, limit = set(recipe.plan.decides), recipe.plan.memory_gb * 1e9
    batch = None if BATCH in open_settings else recipe.data.batch_size
    side = measured.tile_px if CROP in open_settings else min(recipe.data.crop_px or measured.tile_px, measured.tile_px)
    while CROP in open_settings and _bytes(recipe, measured, side, batch or _LEAST_BATCH) > limit and side > _STEP:
        side = (side - 1) // _STEP * _STEP
    fixed = _bytes(recipe, measured, side, 0)
    fitting = int((limit - fixed) / (_bytes(recipe, measured, side, 1) - fixed))
    of_pixels = int(_MOST_OF_PIXELS * measured.labelled_px / side**2)
    chosen = batch or max(_LEAST_BATCH, min(fitting, of_pixels))
    taken = _bytes(recipe, measured, side, chosen)
    if taken > limit:
        raise ConfigError(
            f"{root}: plan: {chosen} crops of {side} px take {taken / 1e9:.2g} GB a step, plan.memory_gb is "
            f"{recipe.plan.memory_gb:g}; raise it, or lower {_lowered(open_settings)}"
        )
    channels = _channels(recipe, side)
    return Plan(
        crop_px=0 if side == measured.tile_px else side,
        batch_size=chosen,
        channels=channels,
        parameters=parameters(channels, classes=len(measured.classes), coarser=_coarser(recipe, channels)),
        step_gb=round(taken / 1e9, 3),
        memory_gb=recipe.plan.memory_gb,
        pixels=round(chosen * side**2 / measured.labelled_px, 4),
        limited_by=_limit(batch, chosen, fitting, of_pixels),
        decided=tuple(name for name in PLANNED if name in open_settings),
    )


def check_memory(plan: Plan, there: int | None, device: str) -> None:
    """Make sure before the first step that a device can have what a step takes.

    Args:
        plan: Of the training.
        there: Bytes of the device; None where nobody knows.
        device: Its name.

    Raises:
        ConfigError: It cannot.
    """
    if there is not None and plan.step_gb * 1e9 > there:
        raise ConfigError(
            f"plan: a step takes about {plan.step_gb:.2g} GB, and {device} has {there / 1e9:.2g}; "
            f"plan for it: --set plan.memory_gb={there / 1e9 * 0.8:.2g}"
        )


def _limit(said: int | None, chosen: int, fitting: int, of_pixels: int) -> str:
    if said is not None:
        return "what was said"
    if chosen > of_pixels:
        return "the least that there is"
    return "memory" if fitting <= of_pixels else f"{_MOST_OF_PIXELS:.0%} of the labelled px"


def _lowered(open_settings: set[str]) -> str:
    """What was said, or if nothing was, what the smallest crop is left with."""
    said = [name for name in PLANNED if name not in open_settings]
    return listed(said) if said else "the number of stages (model.options.channels)"


def _bytes(recipe: Recipe, measured: Fingerprint, side: int, batch: int) -> int:
    channels = _channels(recipe, side)
    return step_bytes(
        channels,
        classes=len(measured.classes),
        side=side + -side % _STEP,
        batch=batch,
        optimizer=recipe.optim,
        coarser=_coarser(recipe, channels),
    )


def _channels(recipe: Recipe, side: int) -> tuple[int, ...]:
    """What the recipe says, or as many stages as a crop takes."""
    if CHANNELS not in recipe.plan.decides:
        return tuple(recipe.model.options["channels"])
    padded, stages = side + -side % _STEP, 1
    while stages < _MOST_STAGES and padded // 2**stages >= _LEAST_SIDE:
        stages += 1
    return tuple(min(_FIRST_CHANNELS * 2**stage, _MOST_CHANNELS) for stage in range(stages))


def _coarser(recipe: Recipe, channels: Sequence[int]) -> int:
    """Answers of the network beside the finest, as `models/own/nnunet.py` makes them."""
    return len(channels[1:-2]) if recipe.model.options.get("deep_supervision", True) else 0
