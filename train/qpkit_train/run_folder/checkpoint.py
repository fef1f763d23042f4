"""The run folder: what a training was, and everything needed to predict with it or to go on.

    run.json                            what was trained on what, and how well it went
    best.safetensors                    weights of the best epoch
    state.json                          where the training stands; names the two files of its epoch
    last-0007.safetensors               weights after epoch 7
    last-0007.optimizer.safetensors     the optimizer's tensors after epoch 7
    curves.csv, curves.png, confusion.csv, confusion.png
    report.html                         from qpkit train and qpkit report

Every file is written beside and renamed, state.json last: whenever the process is killed, state.json names a pair of
files that belong together. No file holds pickled objects.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from qpkit.core.labels import LabelMap, label_map_from_builtins, label_map_to_builtins
from qpkit.errors import ConfigError, FormatError, LabelError
from qpkit.files import replace_file
from qpkit_train.data.normalization import Normalization, named_normalization
from qpkit_train.models.card import ModelCard
from qpkit_train.models.registry import build_untrained
from qpkit_train.recipe.load import FORMER_NAMES, recipe_from_builtins
from qpkit_train.recipe.settings import Recipe
from qpkit_train.schedule import Watch

RUN_NAME: Final = "run.json"
STATE_NAME: Final = "state.json"
BEST_NAME: Final = "best.safetensors"
FORMAT: Final = "qpkit run 1"

_T = TypeVar("_T")

_FORMER_NAMES: Final = {"waiting_share": "waiting_fraction"}
"""Of run.json, before 0.2."""

_PACKAGES: Final = ("qpkit", "torch", "segmentation-models-pytorch", "timm", "lightning-fabric", "numpy")


class RunFile(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """run.json.

    Args:
        format: FORMAT.
        id: run_id() of what follows.
        status: "running" until fit() has ended well, then "finished".
        recipe: Resolved, with every setting.
        labels: As label_map_to_builtins gives them.
        mpp: um per px that the model was trained at, or None if the tiles do not say.
        downsample: Slide px per px of the tiles, or None if they differ.
        tile_size_px: Of the tiles.
        tiles: "path", "sha256" of the table, tiles "train" and "val", "validated_on".
        sampler: What an epoch shows.
        notes: What the user has to know.
        versions: Of the packages that matter.
        device, precision: What it ran on.
        normalization: What pixels go through before the network.
        parameters: "all" of the network, and those that are "learning".
        origins: Runs that the first weights are from, by setting: "run", "folder" and "best_epoch".
        epochs: That ran.
        best_epoch: From 1; 0 before the first.
        metrics: Of the best epoch: accuracy, mean_dice, mean_iou, classes.
        thresholds: Probabilities by class name with the highest Dice on the tiles that chose the best epoch; empty for
            tile classifiers and in runs of earlier versions.
        seconds: Spent in all.
        seconds_per_step: Of training, waiting for tiles included.
        waiting_fraction: Fraction of the training time spent waiting for tiles, 0..1.
    """

    format: str
    id: str
    status: str
    recipe: dict[str, Any]
    labels: dict[str, Any]
    mpp: float | None
    downsample: float | None
    tile_size_px: int
    tiles: dict[str, Any]
    sampler: dict[str, Any]
    notes: list[str]
    versions: dict[str, str]
    device: str
    precision: str
    normalization: Normalization | None = None
    parameters: dict[str, int] = {}
    origins: dict[str, dict[str, Any]] = {}
    epochs: int = 0
    best_epoch: int = 0
    metrics: dict[str, Any] = {}
    thresholds: dict[str, float] = {}
    seconds: float = 0.0
    seconds_per_step: float = 0.0
    waiting_fraction: float = 0.0


class State(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """state.json: where a training stands after a whole epoch.

    Args:
        run: Id of the run.
        epoch: Epochs done.
        watch: Best epoch, patience and schedule.
        history: One row per epoch, see figures.curves_csv.
        confusion, thresholds: Of the best epoch, as in run.json.
        model, optimizer: Names of the files of this epoch.
        optimizer_plain: What of the optimizer's state is no tensor.
        precision_state: Of the gradient scaler, empty without one.
        seconds, training_seconds, waiting_seconds: Spent so far.
        steps: Done so far.
    """

    run: str
    epoch: int
    watch: Watch
    history: list[dict[str, Any]]
    confusion: list[list[int]]
    model: str
    optimizer: str
    optimizer_plain: dict[str, Any]
    precision_state: dict[str, Any]
    seconds: float
    training_seconds: float
    waiting_seconds: float
    steps: int
    thresholds: dict[str, float] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run folder, opened.

    Args:
        root: The folder.
        id: Of the run.
        recipe: As resolved when it was trained.
        labels: What the model's channels mean: channel i is labels.trained_values[i].
        mpp: um per px that the model expects, or None.
        downsample: Slide px per px, for runs without mpp.
        file: All of run.json.
    """

    root: Path
    id: str
    recipe: Recipe
    labels: LabelMap
    mpp: float | None
    downsample: float | None
    file: RunFile

    def card(self) -> ModelCard:
        """What predicting has to know.

        Raises:
            FormatError: It is a tile classifier, which predicts no pixels.
        """
        if self.recipe.classifies_tiles:
            raise FormatError(
                f"{self.root}: is a tile classifier, it predicts no pixels; start a segmentation from its encoder with "
                f"qpkit train --set model.encoder_weights=run:{self.root}"
            )
        trained = {
            "tiles": self.file.tiles,
            "best_epoch": self.file.best_epoch,
            "metrics": self.file.metrics,
            "pixels_shown": self.file.sampler.get("pixels_per_epoch", {}),
            "pixels_there": self.file.sampler.get("pixels_of_tiles", {}),
            "thresholds": self.file.thresholds,
        }
        return ModelCard(
            run=self.id,
            name=self.recipe.name,
            where=str(self.root),
            labels=self.labels,
            mpp=self.mpp,
            downsample=self.downsample,
            trained=trained,
            versions=versions(),
        )

    @property
    def normalization(self) -> Normalization:
        """What pixels go through before the network; runs of earlier versions only name it.

        Raises:
            FormatError: run.json has no numbers where they were measured.
        """
        data = self.recipe.data
        if self.file.normalization is not None:
            return self.file.normalization
        if data.normalization == "dataset":
            raise FormatError(f"{self.root / RUN_NAME}: the measured normalization is missing; train again")
        return named_normalization(data.normalization, greyscale=data.greyscale)

    def load_model(self) -> torch.nn.Module:
        """Build the network and fill it with the best epoch's weights; on the CPU, in eval mode.

        Raises:
            FormatError: The weights are gone, damaged, of another run or of another network.
        """
        path = self.root / BEST_NAME
        model = build_untrained(self.recipe.model, len(self.labels.trained_values))
        load_weights(model, path, run=self.id)
        return model.eval()


def run_id(recipe: Recipe, labels: LabelMap, tiles_sha256: str) -> str:
    """Name a run after its recipe and a hash of recipe (seed included), label map and table of tiles."""
    plain = msgspec.structs.replace(recipe, purpose="", source="")
    tables = msgspec.to_builtins(plain)
    for section, names in FORMER_NAMES.items():  # a run keeps its id when a setting gets another name
        former = {now: before for before, now in names.items()}
        tables[section] = {former.get(key, key): value for key, value in tables[section].items()}
    identity = msgspec.json.encode([tables, label_map_to_builtins(labels), tiles_sha256])
    return f"{recipe.name}-{hashlib.sha256(identity).hexdigest()[:6]}"


def versions() -> dict[str, str]:
    """Versions of the packages that decide what a training gives."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed as a package"
    return found


def load_run(path: Path) -> Run:
    """Open a run folder to predict with it.

    Raises:
        FormatError: Not a run folder, damaged, of another version, or without a best epoch yet.
    """
    file = read_run_file(path)
    if not (path / BEST_NAME).is_file():
        raise FormatError(f"{path}: no {BEST_NAME} there; the training has not finished an epoch, go on with --resume")
    try:
        recipe = recipe_from_builtins(file.recipe, source=str(path / RUN_NAME))
        labels = label_map_from_builtins(file.labels)
    except (ConfigError, LabelError) as err:
        raise FormatError(f"{path / RUN_NAME}: {err}") from err
    return Run(root=path, id=file.id, recipe=recipe, labels=labels, mpp=file.mpp, downsample=file.downsample, file=file)


def read_run_file(path: Path) -> RunFile:
    """Read run.json of a folder; errors as load_run."""
    where = path / RUN_NAME
    if not where.is_file():
        raise FormatError(f"{path}: no {RUN_NAME} there; make a run with: qpkit train TILES -o {path}")
    file = _decode(where, RunFile, former=_FORMER_NAMES)
    if file.format != FORMAT:
        raise FormatError(f"{where}: format is {file.format!r}, this qpkit reads {FORMAT!r}")
    return file


def write_run_file(root: Path, file: RunFile) -> None:
    """Write run.json, atomically."""
    _write_json(root / RUN_NAME, file)


def read_state(root: Path, *, run: str) -> State | None:
    """Read state.json, or None if no epoch was finished.

    Raises:
        FormatError: Damaged, of another run, or a file that it names is gone.
    """
    where = root / STATE_NAME
    if not where.is_file():
        return None
    state = _decode(where, State)
    if state.run != run:
        raise FormatError(f"{where}: belongs to run {state.run}, not to {run}; train into another folder")
    gone = [name for name in (state.model, state.optimizer, BEST_NAME) if not (root / name).is_file()]
    if gone:
        raise FormatError(f"{root}: {', '.join(gone)} named by {STATE_NAME} is gone; train into another folder")
    return state


def write_state(root: Path, state: State) -> None:
    """Write state.json, then remove the weights of earlier epochs, which nothing names any more."""
    _write_json(root / STATE_NAME, state)
    for path in root.glob("last-*.safetensors"):
        if path.name not in (state.model, state.optimizer):
            path.unlink(missing_ok=True)


def epoch_files(epoch: int) -> tuple[str, str]:
    """Names of an epoch's files: weights, optimizer."""
    return f"last-{epoch:04d}.safetensors", f"last-{epoch:04d}.optimizer.safetensors"


def save_tensors(path: Path, tensors: Mapping[str, Tensor], *, run: str, epoch: int) -> None:
    """Write tensors as safetensors, atomically, with run and epoch in the header."""
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


def _decode(where: Path, kind: type[_T], *, former: Mapping[str, str] = MappingProxyType({})) -> _T:
    """Read a record; fields may stand there under the names that they had before."""
    try:
        record = msgspec.json.decode(where.read_bytes(), type=dict[str, Any])
        return msgspec.convert({former.get(key, key): value for key, value in record.items()}, kind)
    except (msgspec.DecodeError, UnicodeDecodeError, OSError) as err:
        raise FormatError(f"{where}: damaged or not of this qpkit ({err})") from err


def _write_json(path: Path, value: object) -> None:
    replace_file(path, msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
