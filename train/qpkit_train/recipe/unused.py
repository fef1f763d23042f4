"""Settings that somebody changed and that decide nothing, because what they belong to is off."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from qpkit.errors import listed
from qpkit_train.augment.transforms import transforms
from qpkit_train.losses.sums import parse_terms
from qpkit_train.losses.terms import loss_terms
from qpkit_train.recipe.settings import Recipe
from qpkit_train.section import Section

_OPTIM: Final = (
    (("milestones",), "schedule", ("step",)),
    (("gamma",), "schedule", ("step", "cyclic", "plateau")),
    (("cycle_epochs",), "schedule", ("cyclic",)),
    (("poly_power",), "schedule", ("poly",)),
    (("plateau_patience", "min_lr"), "schedule", ("plateau",)),
    (("final_factor",), "schedule", ("cosine",)),
    (("momentum",), "name", ("sgd",)),
)
"""Settings of [optim], and with which values of another one they count."""


def unused_settings(recipe: Recipe) -> list[str]:
    """Name them, each line with the setting that would have to change.

    They are no faults: a recipe may keep what it would switch on.
    """
    found, as_it_comes = [], Recipe(name=recipe.name)
    for section, names, because in _off(recipe):
        values, defaults = getattr(recipe, section), getattr(as_it_comes, section)
        changed = [name for name in names if getattr(values, name) != getattr(defaults, name)]
        if changed:
            found.append(f"{listed(f'{section}.{name}' for name in changed)}: without effect, {because}")
    return found


def _off(recipe: Recipe) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Sections, settings in them that do nothing, and why."""
    for transform in transforms():
        strengths = [name for name, _, _ in transform.shown]
        if not any(getattr(recipe.augment, name) for name in strengths):
            off = listed(f"augment.{name}" for name in strengths)
            yield "augment", _others(transform, *strengths), f"{off} is 0"
    terms = {name for _, name in parse_terms(recipe.loss.terms)}
    for name, term in loss_terms().items():
        if name not in terms:
            yield "loss", _others(term), f"loss.terms has no {name}"
    for names, key, values in _OPTIM:
        value: Any = getattr(recipe.optim, key)
        if value not in values:
            yield "optim", names, f"optim.{key} is {value}"
    if not recipe.semi.weight:
        yield "semi", _others(type(recipe.semi), "weight"), "semi.weight is 0"
    if not recipe.model.click_px:
        yield "prompts", _others(type(recipe.prompts)), "the network takes no clicks (qpkit train --prompts)"


def _others(kind: type[Section], *names: str) -> tuple[str, ...]:
    return tuple(name for name in kind.__struct_fields__ if name not in names)
