"""Weights that others have trained: published ones by name, fetched without surprises, or a local file.

Fetching is the part that fails on other people's machines: without network, huggingface_hub retries for 23 to 46 s
before it gives up (measured with 2.4.0). So the cache is asked first, then the network with a short probe.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

import torch

from qpkit.errors import ConfigError
from qpkit_train.models.foundation import HUB_PREFIX, terms_of
from qpkit_train.recipe.described import toml_value
from qpkit_train.recipe.settings import ModelConfig

_IN_REPOSITORIES: Final = ("model.safetensors", "pytorch_model.bin")
"""Where weights lie in a repository, the first one there."""

_PROBE_SECONDS: Final = 4.0
_OFFLINE_VALUES: Final = {"1", "ON", "YES", "TRUE"}


def encoder_state(encoder: torch.nn.Module, config: ModelConfig) -> dict[str, torch.Tensor]:
    """Read or fetch the weights that `config.encoder_weights` names, for its encoder.

    Args:
        encoder: As it was built; tells timm's depth.
        config: Names; the weights are neither "none" nor of a run.

    Raises:
        ConfigError: There is no such file, it is damaged, or no such weights are published or can be fetched.
    """
    if config.encoder_weights.startswith(HUB_PREFIX):
        return encoder_part(_read_weights(_of_repository(config)))
    path = Path(config.encoder_weights)
    if path.is_dir():
        return encoder_part(_read_weights(_of_folder(path, config)))
    if path.suffix in {".safetensors", ".pth", ".pt", ".bin"} or path.is_file():
        return encoder_part(_read_weights(path))
    if config.encoder.startswith("tu-"):
        return _timm_weights(encoder, config)
    return _read_weights(_published(config))


def encoder_part(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Take the encoder out of a whole model's weights (as another run keeps them); an encoder's stay as they are."""
    part = {key.removeprefix("encoder."): value for key, value in state.items() if key.startswith("encoder.")}
    return part or state


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
    path = fetch(published.hf_hub_id, "model.safetensors", revision=None, encoder=config.encoder)
    if not hasattr(encoder, "out_channels"):  # timm's own, with its names
        return _read_weights(path)
    depth = len(getattr(encoder, "out_channels")) - 1  # noqa: B009
    trained: torch.nn.Module = smp.encoders.get_encoder(config.encoder, depth=depth, weights=True)
    return trained.state_dict()


def _of_repository(config: ModelConfig) -> Path:
    """Weights of a repository on huggingface.co, "hub:OWNER/NAME"."""
    import huggingface_hub as hub

    repository = config.encoder_weights.removeprefix(HUB_PREFIX)
    safe, plain = _IN_REPOSITORIES
    try:
        return fetch(repository, safe, revision=None, encoder=config.encoder)
    except ConfigError as err:
        if not isinstance(err.__cause__, hub.errors.EntryNotFoundError):
            raise
    return fetch(repository, plain, revision=None, encoder=config.encoder)


def _of_folder(folder: Path, config: ModelConfig) -> Path:
    """Weights in a folder as huggingface.co has them, for the network that its config.json names."""
    said = folder / "config.json"
    if said.is_file():
        try:
            about = json.loads(said.read_text(encoding="utf-8"))
        except ValueError as err:
            raise ConfigError(f"model.encoder_weights: {said} is not JSON ({err})") from err
        name = about.get("architecture") if isinstance(about, dict) else None
        wanted = config.encoder.removeprefix("tu-").partition(".")[0]
        if isinstance(name, str) and name != wanted:
            options = toml_value(about.get("model_args", {}))
            raise ConfigError(
                f"model.encoder_weights: {folder} is of {name}; set model.encoder=tu-{name} and "
                f"model.options.vit={options}"
            )
    there = [folder / name for name in _IN_REPOSITORIES if (folder / name).is_file()]
    if not there:
        raise ConfigError(f"model.encoder_weights: {folder} holds neither {' nor '.join(_IN_REPOSITORIES)}")
    return there[0]


def fetch(repo: str, filename: str, *, revision: str | None, encoder: str) -> Path:
    """Find a file in huggingface's cache, or fetch it there; without network fail within seconds.

    Raises:
        ConfigError: It is not in the cache and cannot be fetched; the message says what else to do.
    """
    import huggingface_hub as hub

    cached = hub.try_to_load_from_cache(repo, filename, revision=revision)
    if isinstance(cached, str):
        return Path(cached)
    reason = unreachable()
    cause: Exception | None = None
    if reason is None:
        try:
            return Path(hub.hf_hub_download(repo, filename, revision=revision))
        except Exception as err:  # noqa: BLE001 (hub, httpx and OS errors; all mean the same to the user)
            reason = f"{type(err).__name__}: {str(err).splitlines()[0] if str(err) else 'no reason given'}"
            cause = err
    if terms := terms_of(repo):
        raise ConfigError(
            f"model.encoder_weights: {repo} is not on this machine and cannot be fetched ({reason}). {terms}. "
            f"With a file: --set model.encoder_weights=path/to/{filename}"
        ) from cause
    raise ConfigError(
        f"model.encoder_weights: {repo} of {encoder} is not on this machine and cannot be fetched ({reason}); with a "
        f"file: --set model.encoder_weights=path/to/{filename}, or none for random weights"
    ) from cause


def unreachable() -> str | None:
    """Say why huggingface.co cannot be reached, or None if it answers within a few seconds."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in _OFFLINE_VALUES:
        return "HF_HUB_OFFLINE is set"
    address = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=_PROBE_SECONDS):
            return None
    # An answer, too.
    except urllib.error.HTTPError:
        return None
    except (OSError, ValueError) as err:
        return f"{address} does not answer: {getattr(err, 'reason', err)}"
