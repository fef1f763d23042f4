"""Weights of networks and the state of optimizers as safetensors, with run and epoch in the header."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from qpkit.errors import FormatError
from qpkit.files import RUN_NAME, replace_file


def save_tensors(path: Path, tensors: Mapping[str, Tensor], *, run: str, epoch: int) -> None:
    """Write tensors as safetensors, atomically, with run and epoch in the header."""
    # safetensors takes contiguous tensors only; `join_optimizer` gives them their memory layout back.
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    replace_file(path, save(plain, metadata={"run": run, "epoch": str(epoch)}))


def read_tensors(path: Path, *, run: str) -> dict[str, Tensor]:
    """Read what save_tensors wrote.

    Raises:
        FormatError: Gone, damaged, or of another run.
    """
    try:
        with safe_open(path, framework="pt") as file:
            written_by = (file.metadata() or {}).get("run")
        tensors = load_file(path)
    except (SafetensorError, OSError) as err:
        raise FormatError(f"{path}: not a file of weights, or damaged ({err})") from err
    if written_by != run:
        raise FormatError(f"{path}: holds weights of run {written_by}, {RUN_NAME} is of {run}; do not mix run folders")
    return tensors


def load_weights(model: torch.nn.Module, path: Path, *, run: str) -> None:
    """Fill a model from a file of weights; every tensor has to be there and to fit.

    Raises:
        FormatError: As read_tensors, or the weights are of another network.
    """
    try:
        model.load_state_dict(read_tensors(path, run=run), strict=True)
    except RuntimeError as err:
        # The first line of torch's error says only that there are some.
        reason = str(err).splitlines()[1].strip() if "\n" in str(err) else str(err)
        raise FormatError(f"{path}: weights are of another network than the recipe in {RUN_NAME} ({reason})") from err


def split_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Take an optimizer's state apart: tensors by "<parameter>/<name>", and plain values."""
    state = optimizer.state_dict()
    tensors = {
        f"{index}/{name}": value
        for index, values in state["state"].items()
        for name, value in values.items()
        if isinstance(value, Tensor)
    }
    groups = [{key: value for key, value in group.items() if key != "params"} for group in state["param_groups"]]
    return tensors, {"param_groups": groups}


def join_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
    """The inverse of split_optimizer, into an optimizer of the same parameters.

    Tensors take their parameter's memory layout: the fused kernels add in layout order, and resuming has to give the
    same bits.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    values: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, _, name = key.partition("/")
        like = parameters[int(index)]
        if tensor.shape == like.shape:
            tensor = torch.empty_like(like, dtype=tensor.dtype).copy_(tensor)
        values.setdefault(int(index), {})[name] = tensor
    current = optimizer.state_dict()["param_groups"]
    groups = [{**old, **_tuples(new)} for old, new in zip(current, plain["param_groups"], strict=True)]
    optimizer.load_state_dict({"state": values, "param_groups": groups})


def _tuples(group: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no tuples; optimizers have no lists."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in group.items()}
