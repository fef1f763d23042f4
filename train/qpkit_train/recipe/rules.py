"""Which settings make sense: everything that a type cannot say."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from qpkit.errors import ConfigError
from qpkit_train.recipe.settings import AugmentConfig, Recipe

LOSS_TERMS: Final = ("bce", "ce", "dice", "focal", "lovasz", "ohem", "tversky")

_AUGMENT_HIGHEST: Final = {"rotate": 180.0, "shear": 45.0, "shift": 0.5, "grid": 0.9, "hue": 0.5, "gamma": 3.0,
                           "clahe": 10.0, "blur_px": 8.0, "elastic_px": 256.0, "elastic_cell_px": 1024.0}  # fmt: skip
"""Largest value of a setting of [augment], 1 for the others; the smallest is 0."""


RUN_PREFIX: Final = "run:"
"""How weights begin that come from another run; its folder follows."""


def parse_terms(text: str) -> list[tuple[float, str]]:
    """Read the terms of a loss: (factor, name) each.

    Raises:
        ConfigError: An unknown name, a factor that is no positive number, a term twice, or bce beside ce.
    """
    terms = []
    for part in text.split("+"):
        factor, star, name = part.rpartition("*")
        name = name.strip()
        if name not in LOSS_TERMS:
            close = difflib.get_close_matches(name, LOSS_TERMS, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise ConfigError(f"loss.terms = {text!r}: no term {name!r}; {hint}there are {', '.join(LOSS_TERMS)}")
        try:
            weight = float(factor) if star else 1.0
        except ValueError:
            weight = math.nan
        if not 0 < weight < math.inf:
            raise ConfigError(f"loss.terms = {text!r}: {factor.strip()!r} is no factor; write it like 0.5*{name}")
        terms.append((weight, name))
    names = [name for _, name in terms]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"loss.terms = {text!r}: {name} is there twice; add up the factors")
    if {"bce", "ce"} <= set(names):
        raise ConfigError(f"loss.terms = {text!r}: bce (sigmoid) and ce (softmax) exclude each other")
    return terms


def range_faults(recipe: Recipe) -> Iterator[str]:
    """Name every setting of a recipe that is out of its range or does not go with another."""
    data, optim = recipe.data, recipe.optim
    yield from _no_numbers(msgspec.to_builtins(recipe))
    checks = [
        (bool(recipe.name.strip()), "name must not be blank"),
        (recipe.seed >= 0, "seed must not be negative"),
        (recipe.model.encoder_depth in (0, 3, 4, 5), "model.encoder_depth has to be 3, 4, 5 or 0 (default)"),
        (0 <= recipe.model.dropout < 1, "model.dropout has to be in 0..1, not 1"),
        (data.batch_size >= 1, "data.batch_size has to be at least 1"),
        (data.crop_px == 0 or data.crop_px >= 32, "data.crop_px has to be 0 (whole tile) or at least 32"),
        (not data.free_crops or data.crop_px > 0, "data.free_crops needs data.crop_px"),
        (recipe.sampler.area_power >= 0, "sampler.area_power must not be negative"),
        (0 <= recipe.sampler.hard_negatives <= 1, "sampler.hard_negatives has to be in 0..1"),
        (data.workers >= 0, "data.workers must not be negative"),
        (data.cache_mb >= 0, "data.cache_mb must not be negative"),
        (optim.lr > 0, "optim.lr has to be positive"),
        (optim.weight_decay >= 0, "optim.weight_decay must not be negative"),
        (optim.epochs >= 1, "optim.epochs has to be at least 1"),
        (optim.steps_per_epoch >= 0, "optim.steps_per_epoch must not be negative"),
        (optim.schedule != "step" or bool(optim.milestones), "optim.schedule step needs optim.milestones"),
        (0 < optim.gamma <= 1, "optim.gamma has to be in 0..1, not 0"),
        (optim.plateau_patience >= 0, "optim.plateau_patience must not be negative"),
        (0 <= optim.min_lr <= optim.lr, "optim.min_lr has to be in 0..optim.lr"),
        (0 <= optim.final_factor <= 1, "optim.final_factor has to be in 0..1"),
        (optim.warmup_steps >= 0, "optim.warmup_steps must not be negative"),
        (optim.cycle_epochs >= 1, "optim.cycle_epochs has to be at least 1"),
        (optim.poly_power > 0, "optim.poly_power has to be positive"),
        (optim.accumulate >= 1, "optim.accumulate has to be at least 1"),
        (0 <= optim.ema < 1, "optim.ema has to be in 0..1, not 1"),
        (optim.clip_norm >= 0, "optim.clip_norm must not be negative"),
        (recipe.early_stopping.patience >= 0, "early_stopping.patience must not be negative"),
        (recipe.early_stopping.tiles >= 0, "early_stopping.tiles must not be negative"),
        (recipe.early_stopping.min_delta >= 0, "early_stopping.min_delta must not be negative"),
        (recipe.loss.focal_gamma >= 0, "loss.focal_gamma must not be negative"),
        (0 < recipe.loss.ohem_share <= 1, "loss.ohem_share has to be in 0..1, not 0"),
        (recipe.loss.tversky_alpha > 0 and recipe.loss.tversky_beta > 0, "loss.tversky_alpha and _beta: positive"),
    ]
    yield from (message for holds, message in checks if not holds)
    yield from _augment_faults(recipe.augment)
    yield from _start_faults(recipe)
    yield from _ratio_faults(recipe.sampler.ratio)
    try:
        parse_terms(recipe.loss.terms)
    except ConfigError as err:
        yield str(err)
    weights = recipe.loss.class_weights
    if isinstance(weights, dict) and any(weight < 0 for weight in weights.values()):
        yield "loss.class_weights must not be negative"


def _no_numbers(value: Any, name: str = "") -> Iterator[str]:
    """Name what is infinite or not a number, however deep: comparisons with limits let it pass."""
    if isinstance(value, float) and not math.isfinite(value):
        yield f"{name} = {value} is no number to train with"
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _no_numbers(part, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for part in value:
            yield from _no_numbers(part, name)


def _augment_faults(augment: AugmentConfig) -> Iterator[str]:
    for name in augment.__struct_fields__:
        value, highest = getattr(augment, name), _AUGMENT_HIGHEST.get(name, 1.0)
        if not 0 <= value <= highest:
            yield f"augment.{name} = {value} has to be in 0..{highest:g}"
    if 0 < augment.clahe < 1:
        yield f"augment.clahe = {augment.clahe} has to be 0 or in 1..10"
    if augment.elastic_cell_px < 4:
        yield f"augment.elastic_cell_px = {augment.elastic_cell_px} has to be at least 4"
    if augment.elastic_px > augment.elastic_cell_px / 4:
        yield (
            f"augment.elastic_px = {augment.elastic_px} has to be at most {augment.elastic_cell_px / 4:g}, a quarter "
            "of augment.elastic_cell_px: tissue would be folded over itself"
        )


def _start_faults(recipe: Recipe) -> Iterator[str]:
    model = recipe.model
    if model.weights and not is_run(model.weights):
        yield f"model.weights = {model.weights!r} has to be run:PATH, the run folder of qpkit train to start from"
    if recipe.positive and not recipe.asks_tiles:
        yield "positive is for tile classifiers (qpkit train-classifier); the classes of masks are the label map's"


def is_run(weights: str) -> bool:
    """Say whether weights are named by the run that they come from."""
    return weights.startswith(RUN_PREFIX)


def _ratio_faults(ratio: list[float] | dict[str, float]) -> Iterator[str]:
    shares = list(ratio.values()) if isinstance(ratio, dict) else ratio
    if any(share < 0 or share > 1000 for share in shares):
        yield f"sampler.ratio = {ratio} has a share outside 0..1000"
    if isinstance(ratio, list) and (len(ratio) != 2 or ratio[0] <= 0):
        yield f"sampler.ratio = {ratio} has to be [positive, negative], the first above 0, or a table by class name"
    if isinstance(ratio, dict) and not any(share > 0 for name, share in ratio.items() if name != "background"):
        yield "sampler.ratio has no class with a share above 0"
