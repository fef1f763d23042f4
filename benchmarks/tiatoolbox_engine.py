"""A slide through TIAToolbox's semantic engine; run by benchmarks/inference.py --rival in an environment of its own.

python benchmarks/tiatoolbox_engine.py SLIDE MODEL OUT TILE HALO BATCH WORKERS

MODEL is a TorchScript file that takes (n, 3, h, w) float32 RGB in 0..1 and gives probabilities, or "nothing", which
answers zeros. OUT is a folder to make. Prints the seconds of `run`, without imports.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "train/qpkit_train/machine"))
from torchvision_shim import ensure_torchvision  # type: ignore[import-not-found] # the file alone, without qpkit

ensure_torchvision()

from tiatoolbox.models.engine.io_config import IOSegmentorConfig  # noqa: E402
from tiatoolbox.models.engine.semantic_segmentor import SemanticSegmentor  # noqa: E402
from tiatoolbox.models.models_abc import ModelABC  # noqa: E402


class Rival(ModelABC):  # type: ignore[misc] # the package is not installed here
    """A network as the engine wants it; it keeps what lies `halo` px inside."""

    def __init__(self, network: torch.nn.Module | None, halo: int) -> None:
        super().__init__()
        self.network, self.halo = network, halo

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, h, w) to probabilities."""
        assert self.network is not None
        found: torch.Tensor = self.network(images)
        return found

    @staticmethod
    def infer_batch(model: Any, batch_data: torch.Tensor, *, device: str) -> np.ndarray[Any, Any]:
        """(n, h, w, 3) uint8 to (n, h - 2 halo, w - 2 halo, classes) float32."""
        n, height, width = batch_data.shape[:3]
        halo = model.halo
        if model.network is None:
            return np.zeros((n, height - 2 * halo, width - 2 * halo, 2), np.float32)
        with torch.inference_mode():
            found = model(batch_data.to(device).permute(0, 3, 1, 2).float() / 255)
        return found[..., halo : height - halo, halo : width - halo].permute(0, 2, 3, 1).contiguous().cpu().numpy()


def main() -> None:
    """Predict once."""
    slide, model, out, *numbers = sys.argv[1:]
    tile, halo, batch, workers = map(int, numbers)
    network = None if model == "nothing" else torch.jit.load(model)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    engine = SemanticSegmentor(Rival(network, halo), batch, workers, device=device, verbose=False)
    baseline = {"units": "baseline", "resolution": 1.0}
    config = IOSegmentorConfig(
        input_resolutions=[baseline], output_resolutions=[baseline], save_resolution=baseline,
        patch_input_shape=[tile + 2 * halo] * 2, patch_output_shape=[tile] * 2, stride_shape=[tile] * 2,
    )  # fmt: skip
    before = time.perf_counter()
    engine.run(
        [Path(slide)], patch_mode=False, ioconfig=config, save_dir=Path(out), overwrite=True, output_type="zarr",
        auto_get_mask=False, device=device, batch_size=batch, num_workers=workers,
    )  # fmt: skip
    print(f"seconds {time.perf_counter() - before:.3f}")


if __name__ == "__main__":
    main()
