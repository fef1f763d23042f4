"""Models from what a user names: run folders, ONNX files and descriptions of foreign ones, alone or several together.

Only runs import torch.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from qpkit.errors import ConfigError
from qpkit.extras import extra
from qpkit_train.inference.running.foreign import is_description
from qpkit_train.inference.running.together import Together, require_alike
from qpkit_train.inference.settings import PredictSettings
from qpkit_train.models.card import Model, ModelCard


def card_of(run_root: Path, settings: PredictSettings) -> ModelCard:
    """Read what a model is, without its weights; those that are averaged with it are looked at, too.

    Raises:
        FormatError: One cannot be opened.
        ConfigError: They cannot be averaged, or not be calibrated.
    """
    paths = (run_root, *settings.others)
    fixed = [path for path in paths if _needs_no_torch(path)]
    if settings.calibrate != "none" and fixed:
        raise ConfigError(
            f"--calibrate {settings.calibrate} goes with run folders; the statistics of {fixed[0]} are fixed"
        )
    if settings.compile and fixed:
        raise ConfigError(f"--compile goes with run folders; {fixed[0]} is run by onnxruntime")
    card, *others = [_card(path) for path in paths]
    for other in others:
        require_alike(card, other)
    return replace(card, stride=math.lcm(card.stride, *(other.stride for other in others)))


def open_model(run_root: Path, settings: PredictSettings, *, device: str | None = None, threads: int = 0) -> Model:
    """Open a model, and those that are averaged with it.

    Args:
        run_root: Run folder, .onnx file, or .toml file that describes a foreign one.
        settings: Which others, and how tiles are turned.
        device: "cpu", the number of a GPU, or None for the best there is.
        threads: Of a CPU; 0 for as many as there are cores.

    Raises:
        FormatError: One cannot be opened.
        ConfigError: They cannot be averaged, or there is no such device.
    """
    paths = (run_root, *settings.others)
    models = [open_one(path, device, threads, settings) for path in paths]
    if len(models) == 1 and settings.tta == "none":
        return models[0]
    return Together(models, settings.tta)


def open_one(path: Path, device: str | None, threads: int, settings: PredictSettings | None = None) -> Model:
    """Open one model; see `open_model`."""
    settings = settings or PredictSettings()
    if is_description(path):
        from qpkit_train.inference.running.foreign_model import ForeignModel

        return ForeignModel(path, device=device, threads=threads)
    if _is_onnx(path):
        from qpkit_train.inference.running.onnx_model import OnnxModel

        return OnnxModel(path, device=device, threads=threads)
    with extra("train", why="a run folder needs it; an .onnx file of qpkit export-model does not"):
        from qpkit_train.inference.running.torch_model import Predictor
        from qpkit_train.run_folder.run import load_run

    return Predictor(
        load_run(path), device=device, threads=threads, calibrate=settings.calibrate, compile=settings.compile
    )


def _card(path: Path) -> ModelCard:
    if _needs_no_torch(path):
        return open_one(path, "cpu", 1).card
    with extra("train", why="a run folder needs it; an .onnx file of qpkit export-model does not"):
        from qpkit_train.run_folder.run import load_run

    return load_run(path).card()


def _needs_no_torch(path: Path) -> bool:
    return _is_onnx(path) or is_description(path)


def _is_onnx(path: Path) -> bool:
    return path.suffix.lower() == ".onnx"
