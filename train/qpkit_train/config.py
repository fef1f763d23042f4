"""What a training is: the recipe, read from TOML and overridden with `--set optim.lr=3e-4`. Imports no torch."""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from qpkit.errors import ConfigError

RECIPES: Final = Path(__file__).parent / "recipes"


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every table of a recipe has in common."""


class ModelConfig(_Section, frozen=True, kw_only=True):
    """The network.

    Args:
        architecture: A segmentation_models_pytorch architecture in any case: unet, unetplusplus, fpn, deeplabv3plus ...
        encoder: Name of an encoder, "resnet34"; timm's come as "tu-<name>".
        encoder_weights: "none", the name of published weights ("imagenet"), or a local .safetensors or .pth file.
        encoder_depth: Number of times the encoder halves the image, 3..5; 0 takes the architecture's own default.
        options: Further keywords of the architecture, such as decoder_channels.
    """

    architecture: str = "unet"
    encoder: str = "resnet34"
    encoder_weights: str = "imagenet"
    encoder_depth: int = 0
    options: dict[str, Any] = {}


class DataConfig(_Section, frozen=True, kw_only=True):
    """How tiles reach the network.

    Args:
        batch_size: Tiles or crops per step.
        crop_px: Side of the random crop out of each tile; 0 takes the whole tile.
        free_crops: Crops may reach beyond their tile, so that the same lesion is seen in changing surroundings; for
            tiles that are read from the slides (qpkit export --store none).
        normalization: "imagenet" (mean and standard deviation of ImageNet), "unit" (0..1) or "signed" (-1..1).
        workers: Threads that read tiles ahead; 0 reads between steps.
        cache_mb: Decoded tiles kept in memory, MB.
    """

    batch_size: int = 8
    crop_px: int = 0
    free_crops: bool = False
    normalization: Literal["imagenet", "unit", "signed"] = "imagenet"
    workers: int = 2
    cache_mb: int = 1024


class SamplerConfig(_Section, frozen=True, kw_only=True):
    """What a batch shows.

    Args:
        ratio: [positive, negative] tiles, or a share for each class by name ("background" = no class in the tile;
            share 0 leaves a class out).
        balance: "slide" or "group" (what the split kept together: patients) lets each count alike among the tiles of
            one kind, however many tiles it has; "none" counts tiles.
        area_power: Tiles count by the pixels of what they are drawn for, to this power: 0 counts them alike, 0.5 shows
            a tile full of lesion twice as often as one with a quarter of it. Every positive tile is shown anyway.
        hard_negatives: Share of the tiles without a class that is drawn by the model's own errors in the epoch
            before, 0..1.
    """

    ratio: list[float] | dict[str, float] = msgspec.field(default_factory=lambda: [1.0, 3.0])
    balance: Literal["none", "slide", "group"] = "none"
    area_power: float = 0.0
    hard_negatives: float = 0.0


class AugmentConfig(_Section, frozen=True, kw_only=True):
    """Random changes of every training crop.

    Args:
        hflip, vflip: Probabilities, 0..1.
        rot90: Turn by a random multiple of 90 degrees.
        brightness, contrast, saturation: Factors are drawn from 1 +- strength, 0..1.
        hue: Turns of the colour circle, drawn from +- strength, 0..0.5.
        stain: Haematoxylin, eosin and DAB densities are scaled by 1 +- strength, 0..1.
    """

    hflip: float = 0.5
    vflip: float = 0.5
    rot90: bool = True
    brightness: float = 0.15
    contrast: float = 0.15
    saturation: float = 0.15
    hue: float = 0.02
    stain: float = 0.0


LOSS_TERMS: Final = ("bce", "ce", "dice", "focal", "lovasz", "ohem", "tversky")


class LossConfig(_Section, frozen=True, kw_only=True):
    """What is made small.

    Args:
        terms: Sum of terms, each with a factor if wanted: "ce+dice", "0.5*ce + dice + 0.3*focal". There are bce, ce,
            dice, focal, lovasz, ohem and tversky. "bce" takes each class against the rest, with a sigmoid, in all
            terms; without it they take a softmax.
        class_weights: "none", "balanced" (inverse to the pixels an epoch shows), "dynamic" (1 - share of the class in
            the batch) or a weight by class name.
        focal_gamma: How much less a pixel counts the surer the model is of it.
        ohem_share: Share of the known pixels, the hardest ones, that "ohem" looks at, 0..1.
        tversky_alpha, tversky_beta: What false positives and false negatives cost in "tversky"; 0.5 both is Dice.
    """

    terms: str = "ce+dice"
    class_weights: Literal["none", "balanced", "dynamic"] | dict[str, float] = "none"
    focal_gamma: float = 2.0
    ohem_share: float = 0.25
    tversky_alpha: float = 0.3
    tversky_beta: float = 0.7


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


class OptimConfig(_Section, frozen=True, kw_only=True):
    """How it is made small.

    Args:
        name: "adamw", "adam" or "sgd" (momentum 0.9).
        lr: Learning rate after the warm-up.
        weight_decay: As torch's optimizer means it.
        epochs: At most; early stopping may end sooner.
        steps_per_epoch: 0 for as many as show every positive tile once.
        schedule: "constant", "cosine" (to lr * final_factor), "poly" (lr * (1 - progress) ** poly_power), "step" (times
            gamma at each of `milestones`), "cyclic" (times gamma after each epoch, from lr again every `cycle_epochs`)
            or "plateau" (times gamma after `plateau_patience` epochs without a better metric).
        milestones: Epochs, counted from 1, after which "step" multiplies.
        gamma: Factor of "step", "cyclic" and "plateau".
        cycle_epochs: Length of a cycle of "cyclic".
        poly_power: Of "poly".
        plateau_patience: Epochs.
        final_factor: Where "cosine" ends, as a share of lr.
        warmup_steps: Steps over which lr rises from zero.
        clip_norm: Largest norm of the gradient; 0 does not clip.
        accumulate: Batches whose gradients are added up before a step; the last step of an epoch may have fewer.
        ema: Share of the old that a moving average of the weights keeps at each step, such as 0.999; 0 keeps none.
            With it the average is what is measured and kept.
    """

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = 5e-4
    weight_decay: float = 1e-4
    epochs: int = 30
    steps_per_epoch: int = 0
    schedule: Literal["constant", "cosine", "poly", "step", "cyclic", "plateau"] = "cosine"
    milestones: list[int] = []
    gamma: float = 0.1
    cycle_epochs: int = 5
    poly_power: float = 0.9
    plateau_patience: int = 3
    final_factor: float = 0.01
    warmup_steps: int = 0
    clip_norm: float = 0.0
    accumulate: int = 1
    ema: float = 0.0


class EarlyStoppingConfig(_Section, frozen=True, kw_only=True):
    """When the best epoch is kept and when there is no point in going on.

    Args:
        metric: Of the validation tiles: mean "dice" or "iou" over the classes without background, or "loss".
        patience: Epochs without a better metric; 0 never stops early.
        min_delta: What counts as better.
        tiles: Validation tiles that are measured after an epoch, at most: an even choice with as large a share that
            shows a class; 0 for all.
    """

    metric: Literal["dice", "iou", "loss"] = "dice"
    patience: int = 10
    min_delta: float = 1e-4
    tiles: int = 0


Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]


class Recipe(_Section, frozen=True, kw_only=True):
    """Everything that decides a training but the tiles.

    Args:
        name: What runs and predictions are called after.
        precision: "auto" takes what the device is fast at; otherwise as Lightning Fabric names it.
        seed: Of everything random.
    """

    name: str
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    sampler: SamplerConfig = SamplerConfig()
    augment: AugmentConfig = AugmentConfig()
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    early_stopping: EarlyStoppingConfig = EarlyStoppingConfig()
    precision: Precision = "auto"
    seed: int = 0


def list_recipes() -> list[str]:
    """Name the recipes that come with qpkit, in alphabetical order."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply overrides.

    Args:
        name_or_path: One of list_recipes(), or the path of a .toml file.
        overrides: "section.key=value" each; the value is TOML, or plain text if it is not.

    Raises:
        ConfigError: No such recipe, not TOML, or unknown or wrong settings: all of them in one message.
    """
    path = _find(name_or_path)
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise ConfigError(f"{path}: not valid TOML: {err}") from err
    faults = [fault for text in overrides if (fault := _override(tables, text))]
    return _parse(tables, source=str(path), faults=faults)


def recipe_from_builtins(tables: Mapping[str, Any], *, source: str) -> Recipe:
    """Build a recipe from plain tables, as run.json keeps them.

    Raises:
        ConfigError: Unknown or wrong settings, all in one message that starts with `source`.
    """
    return _parse(tables, source=source, faults=[])


def _find(name_or_path: str) -> Path:
    if name_or_path in list_recipes():
        return RECIPES / f"{name_or_path}.toml"
    path = Path(name_or_path)
    if path.is_file():
        return path
    known = list_recipes()
    close = difflib.get_close_matches(name_or_path, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise ConfigError(f"{name_or_path}: no such recipe or file; {hint}recipes that come with qpkit: {', '.join(known)}")


def _override(tables: dict[str, Any], text: str) -> str | None:
    """Set one value in place; say what is wrong with the text, if anything is."""
    key, equals, value = text.partition("=")
    *sections, last = key.strip().split(".")
    if not equals or not last or not all(sections):
        return f"--set {text!r} is not section.key=value"
    table = tables
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            return f"--set {text!r}: {section} is a value, not a table"
    table[last] = _toml_value(value.strip())
    return None


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        return text


def _parse(tables: Mapping[str, Any], *, source: str, faults: list[str]) -> Recipe:
    faults = [*faults, *_type_faults(tables, Recipe, prefix="")]
    if not faults:
        recipe = msgspec.convert(tables, Recipe)
        faults = list(_range_faults(recipe))
        if not faults:
            return recipe
    raise ConfigError(f"{source}: " + "; ".join(faults))


def _type_faults(tables: Mapping[str, Any], kind: type[msgspec.Struct], prefix: str) -> Iterator[str]:
    """Name every unknown key and every value of a wrong type; msgspec alone stops at the first."""
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    for key, value in tables.items():
        if key not in fields:
            close = difflib.get_close_matches(key, fields, n=1)
            hint = f", did you mean {close[0]!r}?" if close else f" (known: {', '.join(fields)})"
            yield f"unknown setting {prefix}{key}{hint}"
        elif isinstance(wanted := fields[key].type, type) and issubclass(wanted, msgspec.Struct):
            if isinstance(value, Mapping):
                yield from _type_faults(value, wanted, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key} = {value!r} has to be a table"
        else:
            try:
                msgspec.convert(value, fields[key].type)
            except msgspec.ValidationError as err:
                yield f"{prefix}{key} = {value!r}: {err}"
    for name, field in fields.items():
        if field.required and name not in tables:
            yield f"{prefix}{name} is missing"


def _range_faults(recipe: Recipe) -> Iterator[str]:
    data, augment, optim = recipe.data, recipe.augment, recipe.optim
    checks = [
        (bool(recipe.name.strip()), "name must not be blank"),
        (recipe.seed >= 0, "seed must not be negative"),
        (recipe.model.encoder_depth in (0, 3, 4, 5), "model.encoder_depth has to be 3, 4, 5 or 0 (default)"),
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
        (0 <= augment.hue <= 0.5, "augment.hue has to be in 0..0.5"),
    ]
    yield from (message for holds, message in checks if not holds)
    for name in ("hflip", "vflip", "brightness", "contrast", "saturation", "stain"):
        if not 0 <= getattr(augment, name) <= 1:
            yield f"augment.{name} = {getattr(augment, name)} has to be in 0..1"
    yield from _ratio_faults(recipe.sampler.ratio)
    try:
        parse_terms(recipe.loss.terms)
    except ConfigError as err:
        yield str(err)
    weights = recipe.loss.class_weights
    if isinstance(weights, dict) and any(weight < 0 for weight in weights.values()):
        yield "loss.class_weights must not be negative"


def _ratio_faults(ratio: list[float] | dict[str, float]) -> Iterator[str]:
    shares = list(ratio.values()) if isinstance(ratio, dict) else ratio
    if any(share < 0 or share > 1000 for share in shares):
        yield f"sampler.ratio = {ratio} has a share outside 0..1000"
    if isinstance(ratio, list) and (len(ratio) != 2 or ratio[0] <= 0):
        yield f"sampler.ratio = {ratio} has to be [positive, negative], the first above 0, or a table by class name"
    if isinstance(ratio, dict) and not any(share > 0 for name, share in ratio.items() if name != "background"):
        yield "sampler.ratio has no class with a share above 0"
