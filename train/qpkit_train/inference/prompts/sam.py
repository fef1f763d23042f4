"""SAM, SAM 2 and the tracker of SAM 3, as `transformers` reads them from a local folder. Nothing is downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from qpkit.errors import FormatError
from qpkit.extras import extra
from qpkit.files import quick_hash
from qpkit.version import __version__
from qpkit_train.clicks.discs import Click
from qpkit_train.data.one_object import OBJECT_LABELS
from qpkit_train.machine.devices import device_name, pick_device
from qpkit_train.machine.torchvision_shim import ensure_torchvision
from qpkit_train.models.card import ModelCard

_CONFIG: Final = "config.json"


class Sam:
    """A SAM in a folder; see `PromptModel`.

    To one click it gives several masks, of which the one counts that it holds for the best; to more clicks one.

    Args:
        folder: As `save_pretrained` of model and processor leave it, or a repository of huggingface.co as downloaded.
        mpp: um/px at which it sees slides.

    Raises:
        MissingExtraError: transformers is not installed.
        FormatError: There is no such model in the folder.
    """

    def __init__(self, folder: Path, *, mpp: float) -> None:
        where = f"sam:{folder}"
        if not (folder / _CONFIG).is_file():
            raise FormatError(f"{where}: there is no {_CONFIG}; name a folder with a SAM model and its processor")
        ensure_torchvision()
        with extra("sam", why="a SAM model needs it"):
            from transformers import AutoModelForMaskGeneration, AutoProcessor
            from transformers.utils.logging import disable_progress_bar
        disable_progress_bar()  # it would be in the way of ours
        try:
            model = AutoModelForMaskGeneration.from_pretrained(folder, local_files_only=True)
            self._processor: Any = AutoProcessor.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, KeyError, RuntimeError, ImportError) as err:
            reason = str(err).splitlines()[0][:80]
            raise FormatError(f"{where}: not a SAM model that transformers reads ({reason})") from err
        self._device = pick_device()
        self.device_name = device_name(self._device)
        self._model = model.to(self._device).eval()
        weights = sorted(folder.glob("*.safetensors")) or [folder / _CONFIG]
        self.card = ModelCard(
            run=f"{model.config.model_type}-{quick_hash(weights[0])[:6]}",
            name=model.config.model_type,
            where=where,
            labels=OBJECT_LABELS,
            mpp=mpp,
            downsample=None,
            trained={},
            versions=_versions(),
        )

    def answer(
        self, images: Sequence[NDArray[np.uint8]], clicks: Sequence[Sequence[Click]]
    ) -> list[NDArray[np.float32]]:
        """See `PromptModel`."""
        return [self._one(image, own) for image, own in zip(images, clicks, strict=True)]

    def _one(self, image: NDArray[np.uint8], clicks: Sequence[Click]) -> NDArray[np.float32]:
        inputs = self._processor(
            images=image,
            input_points=[[[[click.x, click.y] for click in clicks]]],
            input_labels=[[[int(click.is_inside) for click in clicks]]],
            return_tensors="pt",
        )
        with torch.inference_mode():
            found = self._model(**inputs.to(self._device), multimask_output=len(clicks) == 1)
        sizes = [inputs["original_sizes"]]
        if "reshaped_input_sizes" in inputs:  # of the first SAM
            sizes.append(inputs["reshaped_input_sizes"])
        (masks,) = self._processor.post_process_masks(found.pred_masks.cpu(), *sizes, binarize=False)
        best = int(found.iou_scores.flatten().argmax())
        answer: NDArray[np.float32] = torch.sigmoid(masks[0, best].float()).numpy()
        return answer


def _versions() -> dict[str, str]:
    from importlib import metadata

    return {"qpkit": __version__} | {package: metadata.version(package) for package in ("torch", "transformers")}
