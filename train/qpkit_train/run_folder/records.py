"""The files of a run folder, and the two that are JSON: what a training was, and where it stands.

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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar

import msgspec

from qpkit.core.labels import LabelMap, label_map_to_builtins
from qpkit.errors import FormatError, listed
from qpkit.files import RUN_NAME, is_gone, pretty_json, replace_file
from qpkit.version import __version__
from qpkit_train.appearance import Appearance
from qpkit_train.data.normalization import Normalization
from qpkit_train.recipe.load import FORMER_NAMES
from qpkit_train.recipe.prompt_settings import PromptConfig
from qpkit_train.recipe.settings import Recipe, SemiConfig
from qpkit_train.schedule import Watch

STATE_NAME: Final = "state.json"
BEST_NAME: Final = "best.safetensors"
PUBLISHED_NAME: Final = "model.safetensors"
"""What the weights of the best epoch are called in a folder for huggingface.co."""
FORMAT: Final = "qpkit run 1"

_T = TypeVar("_T")

_FORMER_NAMES: Final = {"waiting_share": "waiting_fraction"}
"""Of run.json, before 0.2."""

_ADDED: Final = {
    "model": ("context", "mpp", "click_px"),
    "loss": ("branch_weights",),
    "optim": ("momentum", "nesterov"),
    "sampler": ("foreground",),
    "augment": (
        "optical", "optical_p", "style", "style_way", "style_from", "style_p", "pca", "pca_p", "nuclei_range",
        "motion_px", "motion_p", "glass_px", "glass_p", "emboss", "emboss_p",
    ),
}  # fmt: skip
"""Settings that came later, by section: a run that leaves them at their defaults keeps its id."""

_PACKAGES: Final = ("torch", "segmentation-models-pytorch", "timm", "lightning-fabric", "numpy")


class RunFile(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """run.json.

    Args:
        format: FORMAT.
        id: run_id() of what follows.
        status: "running" until fit() has ended well, then "finished"; "interrupted" after Ctrl-C. See `status_of`.
        recipe: Resolved, with every setting.
        labels: As label_map_to_builtins gives them.
        mpp: um per px that the model was trained at, or None if the tiles do not say.
        downsample: Slide px per px of the tiles, or None if they differ.
        tile_size_px: Of the tiles.
        tiles: "path", "sha256" of the table, tiles "train" and "val", "validated_on", "colors" of their slides
            where they say it.
        sampler: What an epoch shows.
        notes: What the user has to know.
        versions: Of the packages that matter.
        process: Machine and process that trains, "host 1234"; "" in runs of earlier versions.
        device, precision: What it ran on.
        normalization: What pixels go through before the network.
        appearance: What the training tiles look like; None in runs of earlier versions.
        parameters: "all" of the network, and those that are "learning".
        origins: Runs that the first weights are from, by setting: "run", "folder" and "best_epoch".
        plan: What was decided for the tiles, and their "fingerprint"; empty without a plan.
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
    process: str = ""
    normalization: Normalization | None = None
    appearance: Appearance | None = None
    parameters: dict[str, int] = {}
    origins: dict[str, dict[str, Any]] = {}
    plan: dict[str, Any] = {}
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


def run_id(recipe: Recipe, labels: LabelMap, tiles_sha256: str, colors: Sequence[Mapping[str, Any]] = ()) -> str:
    """Name a run after its recipe and a hash of recipe (seed included), label map, table and colours of its tiles.

    Args:
        recipe: Of the run.
        labels: Of its channels.
        tiles_sha256: Of the table.
        colors: As in run.json; none if all slides are as in their files, so that such runs keep their ids.
    """
    plain = msgspec.structs.replace(recipe, purpose="", source="")
    tables = msgspec.to_builtins(plain)
    for section, names in FORMER_NAMES.items():  # a run keeps its id when a setting gets another name
        former = {now: before for before, now in names.items()}
        tables[section] = {former.get(key, key): value for key, value in tables[section].items()}
    if recipe.semi == SemiConfig():  # as before there was a mean teacher
        del tables["semi"]
    if recipe.prompts == PromptConfig():  # as before networks took clicks
        del tables["prompts"]
    for section, added in _ADDED.items():  # as before there were these settings
        own = getattr(recipe, section)
        for name in added:
            if getattr(own, name) == getattr(type(own)(), name):
                del tables[section][name]
    if not recipe.deterministic:  # as before it could be asked for
        del tables["deterministic"]
    del tables["plan"]  # what it came to stands in the settings that it decided
    parts = [tables, label_map_to_builtins(labels), tiles_sha256, *([colors] if colors else [])]
    identity = msgspec.json.encode(parts)
    return f"{recipe.name}-{hashlib.sha256(identity).hexdigest()[:6]}"


def versions() -> dict[str, str]:
    """Versions of the packages that decide what a training gives."""
    found = {"qpkit": __version__}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed as a package"
    return found


def read_run_file(path: Path) -> RunFile:
    """Read run.json of a folder; errors as load_run."""
    where = path / RUN_NAME
    if not where.is_file():
        raise FormatError(f"{path}: no {RUN_NAME} there; make a run with: qpkit train TILES -o {path}")
    file = _decode(where, RunFile, former=_FORMER_NAMES)
    if file.format != FORMAT:
        raise FormatError(f"{where}: format is {file.format!r}, this qpkit reads {FORMAT!r}")
    return file


def status_of(file: RunFile) -> str:
    """ "running", "finished" or "interrupted", which is also what a run is whose process on this machine is gone."""
    return "interrupted" if file.status == "running" and is_gone(file.process) else file.status


def write_run_file(root: Path, file: RunFile) -> None:
    """Write run.json, atomically."""
    _write_json(root / RUN_NAME, file)


@contextmanager
def marked_if_interrupted(root: Path, *, is_lead: bool) -> Iterator[None]:
    """Write into run.json that the training was interrupted, if Ctrl-C ends the block; its last whole epoch stays."""
    try:
        yield
    except KeyboardInterrupt:
        if is_lead and (root / RUN_NAME).is_file():
            write_run_file(root, msgspec.structs.replace(read_run_file(root), status="interrupted"))
        raise


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
        raise FormatError(f"{root}: {listed(gone)} named by {STATE_NAME} is gone; train into another folder")
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


def _decode(where: Path, kind: type[_T], *, former: Mapping[str, str] = MappingProxyType({})) -> _T:
    """Read a record; fields may stand there under the names that they had before."""
    try:
        record = msgspec.json.decode(where.read_bytes(), type=dict[str, Any])
        return msgspec.convert({former.get(key, key): value for key, value in record.items()}, kind)
    except (msgspec.DecodeError, UnicodeDecodeError, OSError) as err:
        raise FormatError(f"{where}: damaged or not of this qpkit ({err})") from err


def _write_json(path: Path, value: object) -> None:
    replace_file(path, pretty_json(value) + b"\n")
