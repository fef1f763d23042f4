"""Build a network from its names, and fetch or load its encoder's weights without surprises.

Weights are the part that fails on other people's machines: without network, huggingface_hub retries for 23 to 46 s
before it gives up (measured with 2.4.0). So the cache is asked first, then the network with a short probe.
"""

from __future__ import annotations

import difflib
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch

from qpkit.errors import ConfigError
from qpkit_train.settings import ModelConfig
from qpkit_train.torchvision_shim import ensure_torchvision

_PROBE_SECONDS: Final = 4.0
_OFFLINE_VALUES: Final = {"1", "ON", "YES", "TRUE"}


def build_model(config: ModelConfig, classes: int) -> torch.nn.Module:
    """Make a network that maps (n, 3, h, w) float to (n, classes, h, w) logits; h and w multiples of its stride.

    Args:
        config: Names and weights.
        classes: Output channels, background included.

    Raises:
        ConfigError: Unknown architecture, encoder or weights, options that do not fit, or weights that cannot be
            fetched or read.
    """
    model = build_untrained(config, classes)
    if config.encoder_weights != "none":
        _load_encoder(model, config)
    return model


def build_untrained(config: ModelConfig, classes: int) -> torch.nn.Module:
    """As build_model, but with random weights whatever `encoder_weights` says: what a checkpoint is loaded into."""
    ensure_torchvision()
    import segmentation_models_pytorch as smp

    architectures = smp.MODEL_ARCHITECTURES_MAPPING
    _check(config.architecture.lower(), list(architectures), "architecture")
    if not config.encoder.startswith("tu-"):
        _check(config.encoder, smp.encoders.get_encoder_names(), "encoder")
    options = dict(config.options)
    if config.encoder_depth:
        options["encoder_depth"] = config.encoder_depth
    try:
        model: torch.nn.Module = smp.create_model(
            config.architecture.lower(),
            encoder_name=config.encoder,
            encoder_weights=None,
            in_channels=3,
            classes=classes,
            **options,
        )
    except (TypeError, ValueError, KeyError, RuntimeError, NotImplementedError) as err:
        raise ConfigError(
            f"model: {config.architecture} with encoder {config.encoder} and options {options} cannot be built: {err}"
        ) from err
    return model


def _check(name: str, known: Sequence[str], what: str) -> None:
    if name in known:
        return
    close = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {', '.join(close)}?" if close else f"known are {', '.join(sorted(known)[:20])} ..."
    raise ConfigError(f"model.{what} {name!r} is unknown; {hint}")


def _load_encoder(model: torch.nn.Module, config: ModelConfig) -> None:
    encoder: torch.nn.Module = getattr(model, "encoder")  # noqa: B009 (a Module attribute has no static type)
    weights = config.encoder_weights
    path = Path(weights)
    if path.suffix in {".safetensors", ".pth", ".pt", ".bin"} or path.is_file():
        state = _encoder_part(_read_weights(path))
    elif config.encoder.startswith("tu-"):
        state = _timm_weights(encoder, config)
    else:
        state = _read_weights(_published(config))
    _load_matching(encoder, state, source=weights)


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read a flat table of tensors; .pth only as tensors, never as pickled objects."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise ConfigError(f"model.encoder_weights: no file {path}")
    try:
        loaded: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError) as err:
        raise ConfigError(f"model.encoder_weights: {path} cannot be read ({err})") from err
    except Exception as err:  # torch.load raises pickle.UnpicklingError and more on foreign files
        raise ConfigError(f"model.encoder_weights: {path} is no file of weights ({type(err).__name__})") from err
    table = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else {}
    return {str(key): value for key, value in table.items() if isinstance(value, torch.Tensor)}


def _encoder_part(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Take the encoder out of a whole model's weights (as another run keeps them); an encoder's stay as they are."""
    part = {key.removeprefix("encoder."): value for key, value in state.items() if key.startswith("encoder.")}
    return part or state


def _load_matching(encoder: torch.nn.Module, state: dict[str, torch.Tensor], *, source: str) -> None:
    """Load strictly: every tensor of the encoder has to be there with its shape; further ones (a classifier) may be."""
    wanted = {key: value for key, value in encoder.state_dict().items() if not key.endswith("num_batches_tracked")}
    wrong = [key for key, value in wanted.items() if key not in state or state[key].shape != value.shape]
    if wrong:
        raise ConfigError(
            f"model.encoder_weights: {source} does not fit the encoder; {len(wrong)} of {len(wanted)} tensors are "
            f"missing or of another shape, first {wrong[0]!r}"
        )
    encoder.load_state_dict({key: value for key, value in state.items() if key in encoder.state_dict()}, strict=False)


def _published(config: ModelConfig) -> Path:
    """Path of published weights in huggingface's cache; fetched if there is a network."""
    import segmentation_models_pytorch as smp

    settings = smp.encoders.encoders[config.encoder]["pretrained_settings"]
    if config.encoder_weights not in settings:
        raise ConfigError(
            f"model.encoder_weights {config.encoder_weights!r} is neither a file nor published for {config.encoder}; "
            f"published are {', '.join(settings) or 'none'}"
        )
    chosen = settings[config.encoder_weights]
    return fetch(chosen["repo_id"], "model.safetensors", revision=chosen["revision"], encoder=config.encoder)


def _timm_weights(encoder: torch.nn.Module, config: ModelConfig) -> dict[str, torch.Tensor]:
    """Weights of a timm encoder; its name says which ("tu-<model>.<tag>"), `encoder_weights` that they are wanted."""
    import segmentation_models_pytorch as smp
    import timm

    name = config.encoder.removeprefix("tu-")
    published = timm.models.get_pretrained_cfg(name)
    if published is None or not published.hf_hub_id:
        raise ConfigError(f"model.encoder_weights: timm has none for {name}; take --set model.encoder_weights=none")
    fetch(published.hf_hub_id, "model.safetensors", revision=None, encoder=config.encoder)
    depth = len(getattr(encoder, "out_channels")) - 1  # noqa: B009
    trained: torch.nn.Module = smp.encoders.get_encoder(config.encoder, depth=depth, weights=True)
    return trained.state_dict()


def fetch(repo: str, filename: str, *, revision: str | None, encoder: str) -> Path:
    """Find a file in huggingface's cache, or fetch it there; without network fail within seconds.

    Raises:
        ConfigError: It is not in the cache and cannot be fetched; the message says what else to do.
    """
    import huggingface_hub as hub

    cached = hub.try_to_load_from_cache(repo, filename, revision=revision)
    if isinstance(cached, str):
        return Path(cached)
    reason = _unreachable()
    if reason is None:
        try:
            return Path(hub.hf_hub_download(repo, filename, revision=revision))
        except Exception as err:  # noqa: BLE001 (hub, httpx and OS errors; all mean the same to the user)
            reason = f"{type(err).__name__}: {str(err).splitlines()[0] if str(err) else 'no reason given'}"
    raise ConfigError(
        f"model.encoder_weights: the weights of {encoder} ({repo}) are not on this machine and cannot be fetched "
        f"({reason}); train from random weights with --set model.encoder_weights=none, or fetch {filename} elsewhere "
        f"and pass --set model.encoder_weights=path/to/{filename}"
    )


def _unreachable() -> str | None:
    """Say why huggingface.co cannot be reached, or None if it answers within a few seconds."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in _OFFLINE_VALUES:
        return "HF_HUB_OFFLINE is set"
    address = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=_PROBE_SECONDS):
            return None
    except urllib.error.HTTPError:
        return None
    except (OSError, ValueError) as err:
        return f"{address} does not answer: {getattr(err, 'reason', err)}"
