"""A run's best model as a folder for huggingface.co: model card, weights, and what smp and qpkit need to build it.

    README.md            the model card, with front matter
    config.json          what segmentation_models_pytorch builds the network from (smp.from_pretrained)
    model.safetensors    the weights
    run.json             what qpkit predict needs; without names of slides, paths and machines

Source: https://huggingface.co/docs/hub/model-cards; smp's hub mixin for config.json.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from qpkit.errors import ConfigError
from qpkit.files import new_folder, require_free
from qpkit_train.publishing.anonymous import anonymous
from qpkit_train.publishing.model_card import card_body, channels_of, first_weights_of, title_of
from qpkit_train.publishing.settings import PublishSettings
from qpkit_train.run_folder.records import PUBLISHED_NAME, write_run_file
from qpkit_train.run_folder.run import Run, load_run
from qpkit_train.run_folder.weights import save_tensors

CONFIG_NAME: Final = "config.json"
CARD_NAME: Final = "README.md"

_SMP: Final = "segmentation-models-pytorch"
_BUILDING: Final = """

The bare network, which takes normalised pixels (see `normalization` in run.json) and gives logits:

    import segmentation_models_pytorch as smp
    network = smp.from_pretrained("FOLDER").eval()"""


@dataclass(frozen=True, slots=True, kw_only=True)
class HuggingFaceReport:
    """The folder that was written.

    Args:
        path: The folder.
        run: Id of the run.
        megabytes: Of the weights.
        notes: What the card does not say and who cannot load it, in whole sentences.
    """

    path: Path
    run: str
    megabytes: float
    notes: tuple[str, ...]


def export_hugging_face(
    run_root: Path, folder: Path, settings: PublishSettings, *, overwrite: bool = False
) -> HuggingFaceReport:
    """Write a run's best model as a folder that can be uploaded to huggingface.co.

    Args:
        run_root: Run folder of `train`.
        folder: The folder to make.
        settings: Licence, authors, title.
        overwrite: Replace such a folder; anything else stays.

    Raises:
        FormatError: The run is damaged, not there, or a tile classifier.
        OutputError: The folder is there already, or cannot be written.
    """
    require_free(folder, marker=PUBLISHED_NAME, overwrite=overwrite)
    if folder.resolve() == run_root.resolve():
        raise ConfigError(f"{folder}: is the run itself; choose another folder")
    known = load_run(run_root)
    run = anonymous(known)
    run.card()
    network = run.load_model()
    config = _config(network, run)
    by_smp = "_model_class" in config
    with new_folder(folder, marker=PUBLISHED_NAME, overwrite=overwrite) as made:
        save_tensors(made / PUBLISHED_NAME, network.state_dict(), run=run.id, epoch=run.file.best_epoch)
        (made / CONFIG_NAME).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        write_run_file(made, run.file)
        running = "`qpkit predict FOLDER SLIDE -o predictions` (or `hf:OWNER/NAME` instead of the folder) does slides."
        card = card_body(run, settings, running + (_BUILDING if by_smp else ""), first_weights=first_weights_of(known))
        (made / CARD_NAME).write_text(_front_matter(run, settings, by_smp=by_smp) + card, encoding="utf-8")
        megabytes = round((made / PUBLISHED_NAME).stat().st_size / 1e6, 1)
    notes = [] if settings.license else ["no licence is stated, so nobody may use the model; say one with --license"]
    notes += [] if settings.authors else ["no authors are stated; say them with --author"]
    notes += [] if by_smp else [f"{run.recipe.model.architecture} is qpkit's own network: smp cannot load it"]
    return HuggingFaceReport(path=folder, run=run.id, megabytes=megabytes, notes=tuple(notes))


def _config(network: torch.nn.Module, run: Run) -> dict[str, Any]:
    """What the network is built from: as smp writes it, or in our own words where the network is ours."""
    said = getattr(network, "_hub_mixin_config", None)
    if said:
        return {"_model_class": type(network).__name__, **said}
    model = run.recipe.model
    return {
        "library": "qpkit",
        "architecture": model.architecture,
        "encoder": model.encoder,
        "classes": channels_of(run),
    }


def _front_matter(run: Run, settings: PublishSettings, *, by_smp: bool) -> str:
    """YAML, of which JSON is a part: every value is written as JSON."""
    values: dict[str, Any] = {
        "license": settings.license.lower() or "unknown",
        "library_name": _SMP if by_smp else "qpkit",
        "pipeline_tag": "image-segmentation",
        "tags": ["qpkit", "histology", "digital-pathology", "semantic-segmentation"],
        "metrics": ["dice", "mean_iou"],
        "model-index": [{"name": title_of(run, settings), "results": [_result(run)]}],
    }
    return "---\n" + "".join(f"{key}: {json.dumps(value)}\n" for key, value in values.items()) + "---\n\n"


def _result(run: Run) -> dict[str, Any]:
    found = {"dice": run.file.metrics.get("mean_dice"), "mean_iou": run.file.metrics.get("mean_iou")}
    return {
        "task": {"type": "image-segmentation", "name": "Semantic segmentation"},
        "dataset": {"name": "validation tiles of the training", "type": "private"},
        "metrics": [{"type": name, "value": value} for name, value in found.items() if value is not None],
    }
