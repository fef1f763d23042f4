"""What patches look like to an encoder that has learned from other pictures: a row of numbers for each.

A transformer of timm (DINO's ViT-B/16) gives its [CLS] token, every other encoder the mean of its deepest features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from qpkit.errors import ConfigError, FormatError
from qpkit.progress import OnProgress, no_progress
from qpkit_train.data.normalization import Normalization, named_normalization, normalize
from qpkit_train.machine.devices import choose_precision
from qpkit_train.machine.seeding import seeded
from qpkit_train.models.forward import forward
from qpkit_train.models.registry import build_model, encoder_of
from qpkit_train.recipe.settings import RUN_PREFIX, ModelConfig
from qpkit_train.run_folder.initial_network import ENCODER_NAME, PRETRAINED_NAME
from qpkit_train.run_folder.run import load_run

DINO: Final = "tu-vit_base_patch16_224.dino"
"""The features of UnSeGArmaNet: facebook's dino-vitb16, as timm has it (85.8 million parameters, 768 numbers)."""

_DINO_PAGE: Final = "hf.co/timm/vit_base_patch16_224.dino"

RANDOM: Final = "random"
"""How weights are named that have learned nothing."""

_TRANSFORMER_PX: Final = 224
"""What DINO's processor resizes to."""

_BATCH: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchEncoder:
    """An encoder, ready to look at patches.

    Args:
        described: One line: which features these are.
        encoder: On the device, in eval mode.
        normalization: Of what it sees.
        input_px: Side that patches are resized to; 0 as they are.
        is_transformer: Whether it gives a [CLS] token.
        device: Where it works.
    """

    described: str
    encoder: torch.nn.Module
    normalization: Normalization
    input_px: int
    is_transformer: bool
    device: torch.device


def open_encoder(
    text: str = "dino", *, device: torch.device, input_px: int | None = None, seed: int = 0
) -> PatchEncoder:
    """Open what patches are looked at with.

    Args:
        text: "dino" (fetched from huggingface.co) or "dino:PATH" (a file, or a folder with config.json and
            model.safetensors); ENCODER:WEIGHTS as model.encoder and model.encoder_weights of a recipe have them, such
            as resnet34:imagenet or resnet18:weights.safetensors; run:DIR, the encoder of a run or of qpkit pretrain;
            ENCODER:random for weights that have learned nothing.
        device: Where it works.
        input_px: Side that patches are resized to; 224 for transformers and as they are for others, if not said. 0 is
            as they are, which takes a transformer a fifth of the time for patches of 96 px.
        seed: Of random weights.

    Raises:
        ConfigError: There is no such encoder, run or file, or weights cannot be fetched or do not fit.
        FormatError: A run's weights are damaged.
    """
    described, encoder, normalization = _opened(text, seed)
    is_transformer = hasattr(encoder, "patch_embed") and hasattr(encoder, "num_prefix_tokens")
    side = input_px if input_px is not None else _TRANSFORMER_PX * is_transformer
    part = "[CLS] token" if is_transformer else "mean of the deepest features"
    seen = f"patches at {side} px" if side else "patches as they are"
    return PatchEncoder(
        described=f"{part} of {described}, {seen}",
        encoder=encoder.eval().to(device),
        normalization=normalization,
        input_px=side,
        is_transformer=is_transformer,
        device=device,
    )


def patch_features(
    patches: NDArray[np.uint8], encoder: PatchEncoder, *, on_progress: OnProgress = no_progress
) -> NDArray[np.float32]:
    """Describe patches, 32 at a time; in bfloat16 where the device multiplies it.

    Args:
        patches: (n, h, w, 3) RGB, at least one.
        encoder: From `open_encoder`.
        on_progress: Called with (patches done, patches, text).

    Returns:
        (n, d).
    """
    found = []
    for start in range(0, len(patches), _BATCH):
        images = torch.from_numpy(np.ascontiguousarray(patches[start : start + _BATCH])).to(encoder.device)
        found.append(_worked(encoder, images, _described).cpu().numpy())
        on_progress(min(start + _BATCH, len(patches)), len(patches), "features of patches")
    return np.concatenate(found)


def picture_tokens(picture: NDArray[np.uint8], encoder: PatchEncoder) -> NDArray[np.float32]:
    """Describe places of a picture, one every 4 px: what `segment_picture` divides.

    A transformer gets its patches every 4 px (its positions are interpolated by timm); of other encoders the features
    of stride 4 are taken.

    Args:
        picture: (h, w, 3) RGB; about 224 px, as the authors have it: tokens grow with its area, edges with the square.
        encoder: From `open_encoder`.

    Returns:
        (rows, columns, d).
    """
    images = torch.from_numpy(np.ascontiguousarray(picture)).to(encoder.device).unsqueeze(0)
    tokens = _worked(encoder, images, _tokens)[0].movedim(0, -1)
    return np.ascontiguousarray(tokens.cpu().numpy())


def _worked(encoder: PatchEncoder, images: Tensor, work: Callable[[PatchEncoder, Tensor], Tensor]) -> Tensor:
    """float32 of (n, h, w, 3) uint8 on the device."""
    short = choose_precision("auto", encoder.device.type) == "bf16-mixed"
    with torch.inference_mode(), torch.autocast(encoder.device.type, torch.bfloat16, enabled=short):
        return work(encoder, images.movedim(-1, 1).float() / 255).float()


def _described(encoder: PatchEncoder, images: Tensor) -> Tensor:
    if encoder.input_px:
        size = (encoder.input_px, encoder.input_px)
        images = F.interpolate(images, size=size, mode="bicubic", antialias=True).clamp(0, 1)
    network: Any = encoder.encoder
    if encoder.is_transformer:
        tokens: Tensor = network.forward_features(normalize(images, encoder.normalization))
        return tokens[:, 0]
    return forward(lambda seen: network(seen)[-1], images, encoder.normalization).mean(dim=(2, 3))


def _tokens(encoder: PatchEncoder, images: Tensor) -> Tensor:
    """(1, 3, h, w) in 0..1 to (1, d, rows, columns)."""
    network: Any = encoder.encoder
    height, width = images.shape[-2:]
    if not encoder.is_transformer:
        found = forward(lambda seen: network(seen)[2], images, encoder.normalization)
        return found[..., : -(-height // 4), : -(-width // 4)]
    convolution = network.patch_embed.proj
    before = convolution.stride
    convolution.stride = (4, 4)
    try:
        tokens: Tensor = network.forward_features(normalize(images, encoder.normalization))
    finally:
        convolution.stride = before
    side = network.patch_embed.patch_size[0]
    rows, columns = (height - side) // 4 + 1, (width - side) // 4 + 1
    return tokens[:, network.num_prefix_tokens :].movedim(1, -1).reshape(1, -1, rows, columns)


def _opened(text: str, seed: int) -> tuple[str, torch.nn.Module, Normalization]:
    """One line about an encoder, the encoder, and what it sees."""
    if text.startswith(RUN_PREFIX):
        return _of_run(Path(text.removeprefix(RUN_PREFIX)))
    name, colon, weights = text.partition(":")
    if name == "dino":
        name, weights = DINO, weights or "timm"
    elif not colon or not weights:
        raise ConfigError(
            f"--features {text}: say dino, dino:FOLDER, run:DIR, or ENCODER:WEIGHTS such as resnet34:imagenet"
        )
    if weights == "none":
        raise ConfigError(f"--features {text}: has learned nothing; say {name}:{RANDOM} if that is what you want")
    described = f"{name} with {'random weights, which have learned nothing' if weights == RANDOM else weights}"
    config = _config(name, "none" if weights == RANDOM else weights)
    try:
        with seeded(seed, 0, torch.device("cpu")):
            encoder = encoder_of(build_model(config, 2), config)
    except ConfigError as err:
        raise _not_had(text, name, err) from err
    return described, encoder, named_normalization("imagenet")


def _not_had(text: str, name: str, err: ConfigError) -> ConfigError:
    """What to give where an encoder or its weights cannot be had."""
    is_dino = name == DINO
    if "cannot be fetched" in str(err):
        file = f"dino:FOLDER with config.json and model.safetensors of {_DINO_PAGE}" if is_dino else f"{name}:FILE"
        return ConfigError(f"--features {text}: its weights are not here and cannot be fetched; say {file}, or run:DIR")
    tail = f"; take the folder of {_DINO_PAGE}" if is_dino else ""
    return ConfigError(f"--features {text}: {str(err).removeprefix('model.encoder_weights: ')}{tail}")


def _config(encoder: str, weights: str) -> ModelConfig:
    """A network around an encoder: transformers of timm are whole, others lie in a U-Net."""
    architecture = "vit" if encoder.startswith("tu-vit") else "unet"
    return ModelConfig(architecture=architecture, encoder=encoder, encoder_weights=weights)


def _of_run(folder: Path) -> tuple[str, torch.nn.Module, Normalization]:
    """The encoder of a run of qpkit train or pretrain."""
    record = folder / PRETRAINED_NAME
    if record.is_file():
        name = _encoder_named(record)
        config = _config(name, str(folder / ENCODER_NAME))
        encoder = encoder_of(build_model(config, 2), config)
        return f"{name} pre-trained in {folder}", encoder, named_normalization("imagenet")
    run = load_run(folder)
    if len(run.recipe.model.factors) > 1:
        raise ConfigError(f"--features {RUN_PREFIX}{folder}: sees surroundings; name a run that sees one image")
    encoder = encoder_of(run.load_model(), run.recipe.model)
    return f"{run.recipe.model.encoder} of run {run.id}", encoder, run.normalization


class _Encoder(msgspec.Struct):
    encoder: str


class _Record(msgspec.Struct):
    settings: _Encoder


def _encoder_named(record: Path) -> str:
    """The encoder that qpkit pretrain says it trained."""
    try:
        return msgspec.json.decode(record.read_bytes(), type=_Record).settings.encoder
    except (msgspec.DecodeError, OSError) as err:
        raise FormatError(f"{record} names no encoder ({err}); pre-train again") from err
