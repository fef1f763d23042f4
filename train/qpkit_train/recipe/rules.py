"""Which settings of a recipe make sense: bounds of each, what single sections say, what goes with what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from qpkit.settings import bounds_of, is_number
from qpkit_train.augment.transforms import transforms
from qpkit_train.losses.terms import loss_terms
from qpkit_train.recipe.settings import Recipe
from qpkit_train.section import Section


def recipe_faults(recipe: Recipe) -> Iterator[str]:
    """Name every setting of a recipe that is out of its bounds or does not go with another."""
    yield from _no_numbers(msgspec.to_builtins(recipe))
    yield from _bounds(recipe)
    yield from recipe.faults()
    yield from _prompt_faults(recipe)
    sections = [value for value in msgspec.structs.asdict(recipe).values() if isinstance(value, Section)]
    registered = [
        *(kind.of(recipe.augment) for kind in transforms()),
        *(kind.of(recipe.loss) for kind in loss_terms().values()),
    ]
    for section in (*sections, *registered):
        yield from section.faults()


def _prompt_faults(recipe: Recipe) -> Iterator[str]:
    """Name what does not go with a network that takes clicks."""
    ratio = recipe.sampler.ratio
    without = ratio.get("background", 0) if isinstance(ratio, Mapping) else sum(ratio[1:])
    if not recipe.model.click_px:
        return
    if without or recipe.sampler.foreground:
        yield "sampler.ratio has to be [1, 0] with model.click_px: tiles without a class show nothing to click on"
    for name, is_set in (
        ("model.context", len(recipe.model.factors) > 1),
        ("data.free_crops", recipe.data.free_crops),
        ("semi.weight", recipe.semi.weight > 0),
        ("plan.decides", bool(recipe.plan.decides)),
        ("loss.class_weights", recipe.loss.class_weights not in ("none", "dynamic")),
    ):
        if is_set:
            yield f"{name} does not go with model.click_px: what is clicked on is one object, whatever its class"


def _no_numbers(value: Any, name: str = "") -> Iterator[str]:
    """Name what is infinite, huge or not a number, however deep: comparisons with limits let it pass."""
    if isinstance(value, int | float) and not is_number(value):
        yield f"{name} = {str(value)[:20]} is no number to train with"
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _no_numbers(part, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for part in value:
            yield from _no_numbers(part, name)


def _bounds(section: Section, prefix: str = "") -> Iterator[str]:
    """Name every field that is out of its bounds, sections below included."""
    for field in msgspec.structs.fields(section):
        value, bounds = getattr(section, field.name), bounds_of(field.type)
        if isinstance(value, Section):
            yield from _bounds(value, f"{prefix}{field.name}.")
        # What is no number has been named already.
        elif bounds is not None and is_number(value) and not bounds.holds(value):
            yield f"{prefix}{field.name} = {value} has to be {bounds}"
