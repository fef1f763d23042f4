"""Pre-train an encoder on tissue that nobody has annotated, and leave it for segmentations to start from."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save

from qpkit.cores import available_cores
from qpkit.dataset import TileSet
from qpkit.errors import ConfigError
from qpkit.files import new_folder, replace_file
from qpkit.progress import OnProgress, no_progress
from qpkit.slides import SlideSource
from qpkit_train.data.normalization import named_normalization
from qpkit_train.machine.devices import pick_device
from qpkit_train.machine.seeding import seeded
from qpkit_train.models.registry import build_model, encoder_of
from qpkit_train.pretraining.objectives import objective
from qpkit_train.pretraining.pictures import Pictures, pictures_of_slides, pictures_of_tiles
from qpkit_train.pretraining.settings import DEFAULT_PRETRAIN, PretrainSettings
from qpkit_train.pretraining.views import Colors
from qpkit_train.recipe.settings import ModelConfig
from qpkit_train.run_folder.initial_network import ENCODER_NAME, PRETRAINED_NAME
from qpkit_train.run_folder.weights import join_optimizer, read_tensors, save_tensors, split_optimizer

_STATE, _STATE_INFO = "state.safetensors", "state.json"
_WARM_UP: Final = 0.1
_LINE: Final = 2.0
_ALIKE: Final = 0.1
"""Below so many directions, or so small a deviation, descriptions tell tiles apart no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainReport:
    """What came out.

    Args:
        out: The folder.
        pictures: Tiles that were learned from.
        loss: Mean of the last epoch.
        rank: How many directions the descriptions of the last epoch use (exponential of the entropy of their
            variances, Roy and Vetterli 2007).
        deviation: Mean standard deviation of these descriptions, 1 as "lejepa" wants them.
        has_collapsed: Whether they are all alike, or lie on a line.
        resumed_from: Epochs that an earlier, interrupted call had done.
    """

    out: Path
    pictures: int
    loss: float
    rank: float
    deviation: float
    has_collapsed: bool
    resumed_from: int


class _State(msgspec.Struct, kw_only=True):
    epoch: int
    history: list[dict[str, float]]
    optimizer: dict[str, Any]


def pretrain(
    source: TileSet | Sequence[SlideSource], out: Path, settings: PretrainSettings = DEFAULT_PRETRAIN, *,
    overwrite: bool = False, on_progress: OnProgress = no_progress,
) -> PretrainReport:  # fmt: skip
    """Train an encoder; the same call goes on where an interrupted one stopped, and ends with the same bits.

    Args:
        source: Tiles, of which the training split is seen, or slides.
        out: Folder to make, with encoder.safetensors for `model.encoder_weights`.
        settings: How.
        overwrite: Replace what an earlier call made.
        on_progress: Called with (steps done, steps, text).

    Raises:
        ConfigError: Settings do not go together, no tissue, an unknown encoder, or the loss is no number any more.
        FormatError: Tiles or slides cannot be read.
        OutputError: `out` is taken or cannot be written.
    """
    if faults := list(settings.faults()):
        raise ConfigError("; ".join(faults))
    with ExitStack() as stack:
        if isinstance(source, TileSet):
            pictures = pictures_of_tiles(source)
        else:
            pictures = pictures_of_slides(source, settings, stack)
        if len(pictures.reads) < settings.batch_size:
            raise ConfigError(
                f"{len(pictures.reads)} tiles with tissue are less than a batch of {settings.batch_size}; "
                "lower --batch-size or give more"
            )
        facts = {"settings": asdict(settings), "source": pictures.facts}
        job = hashlib.sha256(msgspec.json.encode(facts)).hexdigest()
        with new_folder(out, marker=PRETRAINED_NAME, overwrite=overwrite, job=job) as folder:
            training = _Training(pictures, settings, folder, job)
            resumed = training.restore()
            training.run(on_progress)
            last = training.history[-1]
            replace_file(folder / ENCODER_NAME, save(training.encoder_tensors()))
            content = msgspec.json.encode({**facts, "history": training.history, "job": job})
            replace_file(folder / PRETRAINED_NAME, msgspec.json.format(content, indent=1))
            training.forget()
    return PretrainReport(
        out=out,
        pictures=len(pictures.reads),
        loss=last["loss"],
        rank=last["rank"],
        deviation=last["deviation"],
        has_collapsed=last["rank"] < _LINE or (settings.method == "lejepa" and last["deviation"] < _ALIKE),
        resumed_from=resumed,
    )


class _Training:
    """An encoder inside of its objective, its optimizer, and where they stand."""

    def __init__(self, pictures: Pictures, settings: PretrainSettings, folder: Path, job: str) -> None:
        self._pictures, self._settings, self._folder, self._job = pictures, settings, folder, job
        self._device = pick_device()
        config = ModelConfig(architecture="unet", encoder=settings.encoder, encoder_weights=settings.encoder_weights)
        with seeded(settings.seed, 0, self._device):
            encoder = encoder_of(build_model(config, 2), config)
            channels = int(encoder.out_channels[-1])  # type: ignore[index] # of every encoder of the library
            self._objective = objective(encoder, channels, settings, named_normalization("imagenet"))
        self._objective.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's overloads leave it out
        self._optimizer = torch.optim.AdamW(
            self._objective.parameters(), lr=settings.lr, weight_decay=settings.weight_decay
        )
        self._colors = Colors(settings.seed)
        self._steps = len(pictures.reads) // settings.batch_size
        self._epoch = 0
        self.history: list[dict[str, float]] = []

    def encoder_tensors(self) -> dict[str, torch.Tensor]:
        """The encoder's weights, as its library names them."""
        return {key: value.detach().cpu().contiguous() for key, value in self._objective.encoder.state_dict().items()}

    def restore(self) -> int:
        """Stand where an interrupted call did; gives the epochs that it had done."""
        if not (self._folder / _STATE_INFO).is_file():
            return 0
        state = msgspec.json.decode((self._folder / _STATE_INFO).read_bytes(), type=_State)
        tensors = read_tensors(self._folder / f"{state.epoch}-{_STATE}", run=self._job)
        network = {key: tensors.pop(key) for key in list(tensors) if key.startswith("network/")}
        self._objective.load_state_dict({key.removeprefix("network/"): value for key, value in network.items()})
        join_optimizer(self._optimizer, tensors, state.optimizer)
        self._epoch, self.history = state.epoch, state.history
        return state.epoch

    def run(self, on_progress: OnProgress) -> None:
        """Train until the last epoch."""
        while self._epoch < self._settings.epochs:
            losses, seen = [], []
            with seeded(self._settings.seed, self._epoch + 1, self._device):
                for step, pictures in enumerate(self._batches()):
                    loss, described = self._step(pictures, step)
                    losses.append(loss)
                    seen.append(described)
                    done = self._epoch * self._steps + step + 1
                    text = f"epoch {self._epoch + 1}/{self._settings.epochs} loss {loss:.4f}"
                    on_progress(done, self._settings.epochs * self._steps, text)
            self._epoch += 1
            described = torch.cat(seen)
            self.history.append(
                {
                    "epoch": self._epoch,
                    "loss": float(np.mean(losses)),
                    "rank": round(effective_rank(described), 3),
                    "deviation": round(float(described.std(dim=0).mean()), 4),
                }
            )
            self._save()

    def _step(self, pictures: Sequence[NDArray[np.uint8]], step: int) -> tuple[float, torch.Tensor]:
        rng = np.random.default_rng((self._settings.seed, self._epoch, step, 1))
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate(self._epoch * self._steps + step)
        self._objective.train()
        self._optimizer.zero_grad()
        loss, described = self._objective(
            pictures, rng, lambda images, view: self._colors(images, epoch=self._epoch, step=step, view=view),
            self._device,
        )  # fmt: skip
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ConfigError(f"the loss became {value} in epoch {self._epoch + 1}; lower --lr")
        loss.backward()
        self._optimizer.step()
        return value, described.cpu()

    def _rate(self, step: int) -> float:
        done = step / max(1, self._settings.epochs * self._steps)
        if done < _WARM_UP:
            return self._settings.lr * (done / _WARM_UP + 1e-3)
        return self._settings.lr * 0.5 * (1 + math.cos(math.pi * (done - _WARM_UP) / (1 - _WARM_UP)))

    def _batches(self) -> Iterator[list[NDArray[np.uint8]]]:
        """Tiles in an order of this epoch, read a batch ahead in threads; what is left over waits for the next."""
        order = np.random.default_rng((self._settings.seed, self._epoch)).permutation(len(self._pictures.reads))
        size, reads = self._settings.batch_size, self._pictures.reads
        with ThreadPoolExecutor(available_cores(), "qpkit-pretrain") as threads:
            ahead = [threads.submit(reads[number]) for number in order[:size]]
            for step in range(self._steps):
                now = ahead
                ahead = [threads.submit(reads[number]) for number in order[(step + 1) * size : (step + 2) * size]]
                yield [future.result() for future in now]

    def _save(self) -> None:
        tensors, plain = split_optimizer(self._optimizer)
        network = {f"network/{key}": value for key, value in self._objective.state_dict().items()}
        save_tensors(self._folder / f"{self._epoch}-{_STATE}", {**tensors, **network}, run=self._job, epoch=self._epoch)
        state = _State(epoch=self._epoch, history=self.history, optimizer=plain)
        # After the file that it names.
        replace_file(self._folder / _STATE_INFO, msgspec.json.encode(state))
        for path in self._folder.glob(f"*-{_STATE}"):
            if path.name != f"{self._epoch}-{_STATE}":
                path.unlink()

    def forget(self) -> None:
        """Remove what only going on needs."""
        for path in (*self._folder.glob(f"*-{_STATE}"), self._folder / _STATE_INFO):
            path.unlink(missing_ok=True)


def effective_rank(described: torch.Tensor) -> float:
    """How many directions (n, width) descriptions use: 1 if all lie on a line, `width` if they are spread evenly."""
    values = torch.linalg.svdvals((described - described.mean(dim=0)).double()) ** 2
    total = values.sum()
    if float(total) <= 0:
        return 1.0
    parts = values / total
    return float(torch.exp(-(parts * torch.log(parts.clamp(min=1e-12))).sum()))
