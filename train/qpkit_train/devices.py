"""What the machine is fast at: device and precision."""

from __future__ import annotations

import torch

from qpkit_train.settings import Precision


def pick_device() -> torch.device:
    """CUDA, MPS or CPU, in this order, as Lightning Fabric's "auto" chooses."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def device_name(device: torch.device) -> str:
    """Name a device for people: "cuda (NVIDIA H100)", "mps" or "cpu (2 threads)"."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"cpu ({torch.get_num_threads()} threads)" if device.type == "cpu" else device.type


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
