"""The network at the first step: built from its names, filled from published weights, a file or other runs, frozen.

What came from other runs is written into run.json, with the run's id and best epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import torch
from torch import Tensor

from qpkit.errors import ConfigError, FormatError, listed
from qpkit.files import sha256
from qpkit_train.models.card import STRIDE
from qpkit_train.models.published import encoder_part
from qpkit_train.models.registry import build_model, build_untrained, encoder_depth, encoders_of, load_encoder
from qpkit_train.recipe.settings import RUN_PREFIX, ModelConfig, Recipe, is_run
from qpkit_train.run_folder.run import Run, load_run
from qpkit_train.run_folder.weights import read_tensors

PRETRAINED_NAME: Final = "pretrain.json"
ENCODER_NAME: Final = "encoder.safetensors"
"""What `qpkit pretrain` leaves."""


@dataclass(frozen=True, slots=True)
class InitialNetwork:
    """A network that can begin to learn.

    Args:
        network: On the CPU; what is frozen asks for no gradient.
        origins: Runs that weights are from, by setting ("encoder_weights", "weights"), for run.json.
        notes: What the user has to know.
    """

    network: torch.nn.Module
    origins: dict[str, Any]
    notes: tuple[str, ...]


def initial_network(recipe: Recipe, names: Sequence[str]) -> InitialNetwork:
    """Build the network of a recipe with the weights that it starts from.

    Args:
        recipe: Its `model` says all; `data` is compared with other runs'.
        names: Of the classes, background included.

    Raises:
        ConfigError: As `build_model`; a run that is not there, or of another network.
    """
    config = recipe.model
    if config.weights:
        started = _from_model(recipe, names)
    elif is_run(config.encoder_weights) and _pretrained(config).is_file():
        file = str(_pretrained(config).with_name(ENCODER_NAME))
        network = build_model(msgspec.structs.replace(config, encoder_weights=file), len(names))
        started = InitialNetwork(network, {"encoder_weights": {"pretrained": file, "sha256": sha256(Path(file))}}, ())
    elif is_run(config.encoder_weights):
        started = _from_encoder(recipe, names)
    else:
        started = InitialNetwork(build_model(config, len(names)), {}, ())
    return _frozen(started, config) if config.freeze_encoder else started


def resumed_network(recipe: Recipe, names: Sequence[str]) -> InitialNetwork:
    """Build the network of a recipe with random weights, frozen as `initial_network` does, to be filled by a
    checkpoint.

    What it once started from does not have to be there any more.
    """
    network = build_untrained(recipe.model, len(names))
    if recipe.model.freeze_encoder:
        _hold(network, recipe.model)
    return InitialNetwork(network, {}, ())


def check_answers(network: torch.nn.Module, recipe: Recipe, *, tile_px: int) -> None:
    """Make sure that a network takes crops and whole tiles, and answers for every pixel (or once, for a tile).

    Args:
        network: On the CPU; left in eval mode.
        recipe: Its crops and its question.
        tile_px: Side of the tiles.

    Raises:
        ConfigError: It does not; named with the size.
    """
    network.eval()
    for side in sorted({min(recipe.data.crop_px or tile_px, tile_px), tile_px}):
        padded = side + -side % STRIDE
        try:
            with torch.no_grad():
                logits: Tensor = network(torch.zeros(1, recipe.model.channels, padded, padded))
        # What networks raise for sizes that they cannot take differs from one to the next.
        except (RuntimeError, ValueError, AssertionError) as err:
            raise ConfigError(
                f"model: {recipe.model.architecture} with encoder {recipe.model.encoder} cannot take tiles of "
                f"{padded} x {padded} px ({str(err).splitlines()[0]})"
            ) from err
        wanted = (1, 1) if recipe.classifies_tiles else (padded, padded)
        if tuple(logits.shape[-2:]) != wanted:
            raise ConfigError(
                f"model: {recipe.model.architecture} answers with {logits.shape[-1]} x {logits.shape[-2]} px for tiles "
                f"of {padded} x {padded}; change model.encoder_depth (now {encoder_depth(recipe.model)}) or "
                "model.options"
            )


def count_parameters(network: torch.nn.Module) -> dict[str, int]:
    """Count "all" parameters and those that are "learning"."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in network.parameters()]
    return {"all": sum(size for size, _ in sizes), "learning": sum(size for size, learns in sizes if learns)}


def _hold(network: torch.nn.Module, config: ModelConfig) -> None:
    for encoder in encoders_of(network, config):
        encoder.requires_grad_(False)


def _frozen(started: InitialNetwork, config: ModelConfig) -> InitialNetwork:
    _hold(started.network, config)
    if config.encoder_weights != "none" or config.weights:
        return started
    note = "the frozen encoder has random weights (model.encoder_weights = none): it will never see more than noise"
    return InitialNetwork(started.network, started.origins, (*started.notes, note))


def _pretrained(config: ModelConfig) -> Path:
    """Where `qpkit pretrain` would have left its record, if it made what "run:PATH" names."""
    return Path(config.encoder_weights.removeprefix(RUN_PREFIX)) / PRETRAINED_NAME


def _from_encoder(recipe: Recipe, names: Sequence[str]) -> InitialNetwork:
    """The network with the encoder of another run's best epoch."""
    config = recipe.model
    run = _open(config.encoder_weights, "model.encoder_weights")
    mine, its = _encoder_text(config), _encoder_text(run.recipe.model)
    if mine != its:
        raise ConfigError(
            f"model.encoder_weights: {run.root} has encoder {its}, this recipe {mine}; set model.encoder and "
            "model.encoder_depth as there, or take another run"
        )
    network = build_untrained(config, len(names))
    source = f"run {run.id} in {run.root}"
    for encoder in encoders_of(network, config):
        load_encoder(encoder, encoder_part(_weights(run)), source=source)
    return InitialNetwork(network, {"encoder_weights": _origin(run)}, _input_notes(run, recipe))


def _from_model(recipe: Recipe, names: Sequence[str]) -> InitialNetwork:
    """The network with all weights of another run's best epoch, but for the head where classes differ."""
    config = recipe.model
    run = _open(config.weights, "model.weights")
    mine, its = _network_text(config), _network_text(run.recipe.model)
    if mine != its:
        raise ConfigError(f"model.weights: {run.root} is {its}, this recipe {mine}; set [model] as there")
    network = build_untrained(config, len(names))
    state = _weights(run)
    theirs = [run.labels.name_of(value) for value in run.labels.trained_values]
    notes = _input_notes(run, recipe)
    if theirs != list(names):
        head = _head_tensors(config, len(names))
        state = {**state, **{name: network.state_dict()[name] for name in head}}
        notes += (
            f"the head was made anew ({listed(head)}): run {run.id} has the classes {listed(theirs)}, these "
            f"tiles {listed(names)}",
        )
    try:
        network.load_state_dict(state)
    except RuntimeError as err:
        raise ConfigError(f"model.weights: {run.root} does not fit ({str(err).splitlines()[-1].strip()})") from err
    return InitialNetwork(network, {"weights": _origin(run)}, notes)


def _open(setting: str, name: str) -> Run:
    path = Path(setting.removeprefix(RUN_PREFIX))
    try:
        return load_run(path)
    except FormatError as err:
        raise ConfigError(f"{name} = {setting!r} is not the folder of a finished epoch: {err}") from err


def _weights(run: Run) -> dict[str, Tensor]:
    try:
        return read_tensors(run.root / run.weights, run=run.id)
    except FormatError as err:
        raise ConfigError(f"weights to start from: {err}") from err


def _origin(run: Run) -> dict[str, Any]:
    return {"run": run.id, "folder": str(run.root.resolve()), "best_epoch": run.file.best_epoch}


def _encoder_text(config: ModelConfig) -> str:
    return f"{config.encoder} of depth {encoder_depth(config)}"


def _network_text(config: ModelConfig) -> str:
    plain = msgspec.json.encode(config.options, order="sorted").decode()
    seen = f" and surroundings of {listed(map(str, config.factors[1:]))} times" if len(config.factors) > 1 else ""
    seen += f" and clicks of {config.click_px} px" if config.click_px else ""
    return f"{config.architecture.lower()} with encoder {_encoder_text(config)} and options {plain}{seen}"


def _input_notes(run: Run, recipe: Recipe) -> tuple[str, ...]:
    """Weights expect the pixels that they were trained with."""

    def text(data: Mapping[str, Any]) -> str:
        return f"data.normalization={data['normalization']}, data.greyscale={str(data['greyscale']).lower()}"

    theirs, mine = (text(msgspec.to_builtins(r.data)) for r in (run.recipe, recipe))
    return () if theirs == mine else (f"run {run.id} was trained with {theirs}; this run feeds {mine}",)


def _head_tensors(config: ModelConfig, classes: int) -> list[str]:
    """Names of the tensors whose shape follows the number of classes."""
    # Shapes only: such tensors take no memory.
    with torch.device("meta"):
        few, more = (build_untrained(config, classes + extra).state_dict() for extra in (0, 1))
    return [name for name, value in few.items() if value.shape != more[name].shape]
