"""What the machine is fast at, how Fabric is to use it, and what to do where it is too small."""

from __future__ import annotations

import atexit
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from lightning_fabric.strategies import DDPStrategy

from qpkit.errors import ConfigError
from qpkit_train.machine.processes import leave, ranks
from qpkit_train.recipe.settings import Precision, Recipe


def make_fabric(recipe: Recipe) -> Fabric:
    """Take the best device there is, in the precision that suits it; with others, if torchrun started several.

    Slurm's own variables are not looked at: where they stand without srun, Fabric would wait for processes that nobody
    started.
    """
    kind = pick_device().type
    precision = choose_precision(recipe.precision, kind)
    with quiet():
        if ranks() == 1:
            return Fabric(accelerator="auto", devices=1, precision=precision, plugins=LightningEnvironment())
        here = int(os.environ["LOCAL_WORLD_SIZE"])
        fabric = Fabric(
            accelerator=kind,
            devices=here,
            num_nodes=ranks() // here,
            strategy=DDPStrategy(find_unused_parameters=True),  # not every architecture uses all of its encoder
            precision=precision,
            plugins=TorchElasticEnvironment(),
        )
        fabric.launch()
        atexit.register(leave)
        return fabric


def compiled(network: torch.nn.Module) -> torch.nn.Module:
    """The network through torch.compile, sharing its weights; it is compiled at the first step."""
    with quiet():  # torch's own use of what it deprecates
        return torch.compile(network)  # type: ignore[return-value] # a module is what it gives for a module


@contextmanager
def enough_memory(recipe: Recipe, device: torch.device) -> Iterator[None]:
    """Say which setting to lower where memory runs out, and what to do where torch.compile cannot work.

    Raises:
        ConfigError: Either happened in the block.
    """
    try:
        yield
    except RuntimeError as err:
        if recipe.compile:
            refuse_uncompiled(err, "--set compile=false")
        if not isinstance(err, torch.OutOfMemoryError) and not _is_out_of_memory(str(err)):
            raise
        data = recipe.data
        crop = f"data.crop_px (now {data.crop_px})" if data.crop_px else "data.crop_px (now 0, whole tiles; say 256)"
        raise ConfigError(
            f"out of memory on {device_name(device)}: lower data.batch_size (now {data.batch_size}; "
            f"optim.accumulate=2 with half of it learns at the same pace) or {crop}, or take more processes (--devices)"
        ) from err


def refuse_uncompiled(err: RuntimeError, without: str) -> None:
    """Say what to do without torch.compile, if the error is one of it.

    Raises:
        ConfigError: It is.
    """
    if type(err).__module__.startswith(("torch._dynamo", "torch._inductor")):
        reason = str(err).splitlines()[0] if str(err) else type(err).__name__
        raise ConfigError(f"torch.compile does not work here ({reason}); leave it off: {without}") from err


def _is_out_of_memory(text: str) -> bool:
    """MPS and the CPU raise a plain RuntimeError."""
    return "out of memory" in text or "can't allocate memory" in text


@contextmanager
def quiet() -> Iterator[None]:
    """Fabric warns of settings that the user did not make, and tells stderr what the report says anyway."""
    log = logging.getLogger("lightning_fabric")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def pick_device() -> torch.device:
    """CUDA, MPS or CPU, in this order, as Lightning Fabric's "auto" chooses."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def named_device(name: str) -> torch.device:
    """The device that a user names: "cpu", "mps", or the number of a GPU.

    Raises:
        ConfigError: It is not there.
    """
    there = [str(number) for number in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    there += ["mps"] if torch.backends.mps.is_available() else []
    if name not in (*there, "cpu"):
        raise ConfigError(f"--devices {name}: there is no such device here, but {', '.join((*there, 'cpu'))}")
    if name.isdecimal():
        torch.cuda.set_device(int(name))
        return torch.device("cuda", int(name))
    return torch.device(name)


def device_name(device: torch.device) -> str:
    """Name a device for people: "cuda (NVIDIA H100)", "mps", "cpu (2 threads)" or "2 processes on cpu (1 threads)"."""
    name = device.type
    if device.type == "cuda":
        name = f"cuda ({torch.cuda.get_device_name(device)})"
    elif device.type == "cpu":
        name = f"cpu ({torch.get_num_threads()} threads)"
    return f"{ranks()} processes on {name}" if ranks() > 1 else name


def device_memory(device: torch.device) -> int | None:
    """Bytes of memory that a device has; None where it does not say."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory())
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # not on Windows
        return None


def choose_precision(wanted: Precision, device_type: str) -> Precision:
    """Resolve "auto".

    CUDA takes bf16 where the chip has it and fp16 with a gradient scaler elsewhere. A CPU takes bf16 only if it
    multiplies it in hardware (3x faster than float32 for a U-Net on a Zen 4, slower than float32 where it is
    emulated). Everything else, MPS too, takes float32.
    """
    if wanted != "auto":
        return wanted
    if device_type == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    return "bf16-mixed" if device_type == "cpu" and _cpu_has_bf16() else "32-true"


def _cpu_has_bf16() -> bool:
    """Ask torch for AVX512-BF16; versions that cannot tell count as without."""
    asked = getattr(torch.cpu, "get_capabilities", None)
    capabilities = asked() if asked is not None else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
