"""A run folder, opened: everything that is needed to predict with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch

from qpkit.core.labels import LabelMap, label_map_from_builtins
from qpkit.errors import ConfigError, FormatError, LabelError
from qpkit.files import RUN_NAME
from qpkit_train.data.normalization import Normalization, named_normalization
from qpkit_train.models.card import ModelCard, stride_for
from qpkit_train.models.registry import build_untrained
from qpkit_train.recipe.load import recipe_from_builtins
from qpkit_train.recipe.settings import Recipe
from qpkit_train.run_folder.records import BEST_NAME, PUBLISHED_NAME, RunFile, read_run_file, versions
from qpkit_train.run_folder.weights import load_weights


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
        weights: File with the weights that are meant, in the folder; those of the best epoch if not said.
    """

    root: Path
    id: str
    recipe: Recipe
    labels: LabelMap
    mpp: float | None
    downsample: float | None
    file: RunFile
    weights: str = BEST_NAME

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
        if self.file.appearance is not None:
            trained["appearance"] = msgspec.to_builtins(self.file.appearance)
        return ModelCard(
            run=self.id,
            name=self.recipe.name,
            where=str(self.root),
            labels=self.labels,
            mpp=self.mpp,
            downsample=self.downsample,
            trained=trained,
            versions=versions(),
            stride=stride_for(self.recipe.model.factors),
            factors=self.recipe.model.factors,
            click_px=self.recipe.model.click_px,
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
        """Build the network and fill it with `weights`; on the CPU, in eval mode.

        Raises:
            FormatError: The weights are gone, damaged, of another run or of another network.
        """
        path = self.root / self.weights
        model = build_untrained(self.recipe.model, len(self.labels.trained_values))
        load_weights(model, path, run=self.id)
        return model.eval()


def load_run(path: Path) -> Run:
    """Open a run folder, or what export-model --for huggingface made of one, to predict with it.

    Raises:
        FormatError: Not a run folder, damaged, of another version, or without a best epoch yet.
    """
    file = read_run_file(path)
    weights = next((name for name in (BEST_NAME, PUBLISHED_NAME) if (path / name).is_file()), None)
    if weights is None:
        raise FormatError(f"{path}: no {BEST_NAME} there; the training has not finished an epoch, go on with --resume")
    try:
        recipe = recipe_from_builtins(file.recipe, source=str(path / RUN_NAME))
        labels = label_map_from_builtins(file.labels)
    except (ConfigError, LabelError) as err:
        raise FormatError(f"{path / RUN_NAME}: {err}") from err
    return Run(
        root=path,
        id=file.id,
        recipe=recipe,
        labels=labels,
        mpp=file.mpp,
        downsample=file.downsample,
        file=file,
        weights=weights,
    )
