"""A model in one ONNX file, run without torch. What it needs beside its weights is in the file's metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qpkit.core.labels import label_map_from_builtins, label_map_to_builtins
from qpkit.errors import FormatError, LabelError
from qpkit_train.inference.running.onnx_session import SessionModel, open_session, versions
from qpkit_train.models.card import ModelCard, stride_for

KEY: Final = "qpkit"
"""Of the metadata: JSON with what `card_to_text` writes."""

FORMAT: Final = "qpkit onnx 1"

FORMAT_OF_SAMPLES: Final = "qpkit onnx 2"
"""Of models that see surroundings, too, which "factors" names; earlier versions refuse it."""

FORMAT_OF_PROMPTS: Final = "qpkit onnx 3"
"""Of models that take clicks, drawn as discs of radius "click_px" in two channels behind the image's."""

INPUT: Final = "pixels"
OUTPUT: Final = "probabilities"


def card_to_text(card: ModelCard) -> str:
    """Write a model's card for the metadata of its file."""
    sees_more = len(card.factors) > 1
    form = FORMAT_OF_PROMPTS if card.click_px else FORMAT_OF_SAMPLES if sees_more else FORMAT
    return json.dumps(
        {
            "format": form,
            "run": card.run,
            "name": card.name,
            "labels": label_map_to_builtins(card.labels),
            "mpp": card.mpp,
            "downsample": card.downsample,
            "trained": card.trained,
            "exported_with": card.versions,
            **({"factors": card.factors} if sees_more else {}),
            **({"click_px": card.click_px} if card.click_px else {}),
        }
    )


class OnnxModel(SessionModel):
    """Runs a file that `qpkit export-model` wrote; see `Model`.

    The graph takes (n, 3 k, h, w) float32 RGB in 0..255, k concentric images (see `ModelCard.factors`), with two
    channels of clicks behind (0 or 255) if the card says so, and gives
    (n, classes, h, w) float32 probabilities: shift, scale and activation are part of it.

    Args:
        path: The file.
        device: "cpu", the number of a GPU, or None for the best there is.
        threads: Of a CPU; 0 for as many as there are cores.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        FormatError: The file is missing, damaged, or was not written by qpkit.
        ConfigError: There is no such device.
    """

    def __init__(self, path: Path, *, device: str | None = None, threads: int = 0) -> None:
        session = open_session(path, device=device, threads=threads)
        super().__init__(session, _card(session.get_modelmeta().custom_metadata_map, path))

    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Predict a batch; see `SessionModel`."""
        images = np.ascontiguousarray(np.moveaxis(pixels, -1, 1), dtype=np.float32)
        found: NDArray[np.float32] = self._session.run([OUTPUT], {INPUT: images})[0]
        return found


def _card(entries: dict[str, str], path: Path) -> ModelCard:
    try:
        record = json.loads(entries[KEY])
        if record["format"] not in (FORMAT, FORMAT_OF_SAMPLES, FORMAT_OF_PROMPTS):
            raise FormatError(f"{path}: format is {record['format']!r}, this qpkit reads {FORMAT!r}")
        factors = tuple(int(factor) for factor in record.get("factors", [1]))
        return ModelCard(
            run=record["run"],
            name=record["name"],
            where=str(path),
            labels=label_map_from_builtins(record["labels"]),
            mpp=record["mpp"],
            downsample=record["downsample"],
            trained=record["trained"],
            versions=versions(),
            stride=stride_for(factors),
            factors=factors,
            click_px=int(record.get("click_px", 0)),
        )
    except KeyError as err:
        if err.args == (KEY,):
            raise FormatError(
                f"{path}: not a model that qpkit export-model wrote; describe it in a TOML file (docs/training.md, "
                "Models of others)"
            ) from err
        raise FormatError(f"{path}: not a model that qpkit export-model wrote ({err!r})") from err
    except (json.JSONDecodeError, LabelError, TypeError) as err:
        raise FormatError(f"{path}: not a model that qpkit export-model wrote ({err!r})") from err
