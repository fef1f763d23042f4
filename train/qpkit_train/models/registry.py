"""Build a network from its names: one of our own, or any of segmentation_models_pytorch."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from qpkit.errors import ConfigError, listed, or_else
from qpkit_train.clicks.discs import CHANNELS
from qpkit_train.machine.torchvision_shim import ensure_torchvision
from qpkit_train.models.own import Architecture, own_architectures
from qpkit_train.models.published import encoder_state
from qpkit_train.recipe.settings import TILE_CLASSIFIER, ModelConfig

_OLD_DENSENET: Final = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")
"""Published DenseNets still say norm.1 where torchvision says norm1."""


_MOST_OPTIONS: Final = 40
"""Characters of a network's options that an error quotes."""

_SIZES: Final = "; say the image size and further options of those weights in model.options.vit"
"""Where the positions of a transformer do not fit."""


def build_model(config: ModelConfig, classes: int) -> torch.nn.Module:
    """Make a network that maps (n, 3, h, w) float to (n, classes, h, w) logits; h and w multiples of its stride.

    One that sees surroundings or takes clicks has more channels: `config.channels`.

    A tile classifier gives (n, classes, 1, 1). Weights of other runs: `qpkit_train.run_folder.initial_network`.

    Args:
        config: Names and weights.
        classes: Output channels, background included.

    Raises:
        ConfigError: Unknown architecture, encoder or weights, options that do not fit, or weights that cannot be
            fetched or read.
    """
    model = build_untrained(config, classes)
    if config.encoder_weights != "none":
        for encoder in encoders_of(model, config):
            load_encoder(encoder, encoder_state(encoder, config), source=config.encoder_weights)
    return model


def build_untrained(config: ModelConfig, classes: int) -> torch.nn.Module:
    """As build_model, but with random weights whatever `encoder_weights` says: what a checkpoint is loaded into."""
    name = config.architecture.lower()
    own = own_architectures().get(name)
    _check(name, [*own_architectures(), *_foreign()], "architecture")
    _check_images(own, config)
    try:
        model = _build_foreign(config, classes) if own is None else _build_own(own, config, classes)
    # A ValueError, too.
    except ConfigError:
        raise
    except (TypeError, ValueError, KeyError, RuntimeError, NotImplementedError, AssertionError) as err:
        encoder = "" if own is not None and not own.has_encoder else f" with encoder {config.encoder}"
        raise ConfigError(
            f"model: {config.architecture}{encoder} and options {_short(config.options)} cannot be built: {err}"
        ) from err
    if config.dropout:
        _head_of(model, config).append(torch.nn.Dropout(config.dropout))
    return model


def encoder_of(model: torch.nn.Module, config: ModelConfig) -> torch.nn.Module:
    """The part of a network that pretrained weights are for.

    Raises:
        ConfigError: It has none.
    """
    encoder = getattr(model, "encoder", None)
    if not isinstance(encoder, torch.nn.Module):
        raise ConfigError(f"model: {config.architecture} has no encoder")
    return encoder


def encoders_of(model: torch.nn.Module, config: ModelConfig) -> list[torch.nn.Module]:
    """`encoder_of`, and its like for surroundings: all that weights are loaded into and that freezing holds still."""
    return [encoder_of(model, config), *getattr(model, "context_encoders", [])]


def encoder_depth(config: ModelConfig) -> int:
    """How often the encoder of a recipe halves the image, the architecture's default resolved; 0 without one."""
    if config.encoder_depth:
        return config.encoder_depth
    own = own_architectures().get(config.architecture.lower())
    if own is not None:
        return own.default_depth
    return int(inspect.signature(_foreign()[config.architecture.lower()]).parameters["encoder_depth"].default)


def load_encoder(encoder: torch.nn.Module, state: Mapping[str, Tensor], *, source: str) -> None:
    """Load strictly: every tensor of the encoder has to be there with its shape; further ones (a classifier) may be.

    Where the encoder takes the channels of k images, the weights for one stand for each, divided by k. Those for
    channels of clicks stay as they are, random.

    Raises:
        ConfigError: One is missing or of another shape.
    """
    state = {_OLD_DENSENET.sub(r"\1\2", key): value for key, value in state.items()}
    # Old published weights lack this counter.
    wanted = {key: value for key, value in encoder.state_dict().items() if not key.endswith("num_batches_tracked")}
    state = {key: _for_images(value, wanted.get(key)) for key, value in state.items()}
    wrong = [key for key, value in wanted.items() if key not in state or state[key].shape != value.shape]
    if wrong:
        raise ConfigError(
            f"model.encoder_weights: {source} does not fit the encoder; {len(wrong)} of {len(wanted)} tensors are "
            f"missing or of another shape, first {wrong[0]!r}" + _SIZES * wrong[0].endswith("pos_embed")
        )
    mine = {key: value for key, value in state.items() if key in encoder.state_dict()}
    torch.nn.Module.load_state_dict(encoder, mine, strict=False)  # some encoders' own take no `strict`


def _for_images(weights: Tensor, wanted: Tensor | None) -> Tensor:
    """Repeat a first layer's (out, 3, h, w) weights for (out, 3 k, h, w); others as they are."""
    if wanted is None or weights.ndim != 4 or weights.shape[1] != 3 or wanted.ndim != 4:
        return weights
    if wanted.shape[1] == 3 + CHANNELS:
        return torch.cat([weights, wanted[:, 3:].to(weights.dtype)], dim=1)
    if wanted.shape[1] % 3:
        return weights
    images = wanted.shape[1] // 3
    return weights if images == 1 else weights.repeat(1, images, 1, 1) / images


def _check_images(own: Architecture | None, config: ModelConfig) -> None:
    """Raise unless a network takes as many images as a recipe has, and its clicks.

    Raises:
        ConfigError: It takes more or fewer, or no clicks.
    """
    least, most = (1, 1) if own is None else own.images
    if own is not None and config.click_px:
        raise ConfigError(
            f"model.click_px: {config.architecture} takes no clicks; take a network of segmentation_models_pytorch, "
            "such as unet"
        )
    wider = len(config.factors) - 1
    if wider + 1 < least:
        raise ConfigError(
            f"model.architecture {config.architecture} sees surroundings; say which with model.context, such as [4]"
        )
    if wider + 1 > most:
        there = (other for other in own_architectures().values() if other.name != TILE_CLASSIFIER)
        others = listed([other.name for other in there if wider + 1 <= other.images[1]])
        raise ConfigError(
            f"model.context: {config.architecture} takes {most} image{'s' * (most > 1)}, and with surroundings of "
            f"{listed(map(str, config.factors[1:]))} times there are {wider + 1}; leave some out, or take {others}"
        )


def _foreign() -> dict[str, Any]:
    """Architectures of segmentation_models_pytorch by name."""
    return dict(_library().MODEL_ARCHITECTURES_MAPPING)


def _library() -> Any:
    """segmentation_models_pytorch, which imports torchvision."""
    ensure_torchvision()
    import segmentation_models_pytorch as smp

    return smp


def _build_foreign(config: ModelConfig, classes: int) -> torch.nn.Module:
    _check_encoder(config.encoder)
    options = dict(config.options)
    if config.encoder_depth:
        options["encoder_depth"] = config.encoder_depth
    model: torch.nn.Module = _library().create_model(
        config.architecture.lower(),
        encoder_name=config.encoder,
        encoder_weights=None,
        in_channels=config.channels,
        classes=classes,
        **options,
    )
    return model


def _build_own(own: Architecture, config: ModelConfig, classes: int) -> torch.nn.Module:
    seen: dict[str, Any] = {"factors": config.factors} if own.images[1] > 1 else {}
    if own.has_encoder:
        _check_encoder(config.encoder)
        depth = config.encoder_depth or own.default_depth
        return own.build(classes, encoder=config.encoder, depth=depth, **seen, **config.options)
    if config.encoder != "none" or config.encoder_weights != "none" or config.encoder_depth or config.freeze_encoder:
        raise ConfigError(
            f"model: {own.name} has no encoder; set model.encoder=none and model.encoder_weights=none, and leave "
            "encoder_depth and freeze_encoder out"
        )
    return own.build(classes, **seen, **config.options)


def _check_encoder(name: str) -> None:
    if not name.startswith("tu-"):
        _check(name, _library().encoders.get_encoder_names(), "encoder")


def _head_of(model: torch.nn.Module, config: ModelConfig) -> torch.nn.Sequential:
    head = getattr(model, "segmentation_head", None)
    if not isinstance(head, torch.nn.Sequential):
        raise ConfigError(f"model.dropout: {config.architecture} has no head that could drop its output")
    return head


def _short(options: Mapping[str, Any]) -> str:
    """Options as text, cut where what is wrong would be lost behind them."""
    text = str(options)
    return text if len(text) <= _MOST_OPTIONS else f"{text[:_MOST_OPTIONS]} ...}}"


def _check(name: str, known: Sequence[str], what: str) -> None:
    if name in known:
        return
    raise ConfigError(f"model.{what} {name!r} is unknown; {or_else(name, sorted(known))}")
