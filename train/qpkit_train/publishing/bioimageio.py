"""A run's best model as a package of bioimage.io: ONNX weights, a tensor to test them with, and what it is.

The network takes RGB in 0..255 and gives probabilities: shift, scale and activation are inside, so no program has to
do them. bioimageio.spec checks the package before it is written.

Source: https://bioimage.io, model description 0.5.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from qpkit.errors import ConfigError
from qpkit.extras import extra
from qpkit.files import replace_file
from qpkit_train.inference.running.onnx_export import checked_onnx, whole_network
from qpkit_train.inference.running.onnx_model import INPUT, OUTPUT
from qpkit_train.models.card import ModelCard, require_no_clicks
from qpkit_train.publishing.anonymous import anonymous
from qpkit_train.publishing.model_card import card_body, channels_of, first_weights_of, summary_of, title_of
from qpkit_train.publishing.settings import PublishSettings
from qpkit_train.run_folder.run import Run, load_run

_STRIDES: Final = (4, 5)
"""Height and width of the test tensor, in strides."""

_RUNNING: Final = """\
With bioimageio.core (`pip install bioimageio.core onnxruntime`):

    from bioimageio.core import load_description, predict
    probabilities = predict(model="MODEL.zip", inputs={"pixels": tile})  # tile: (1, 3, h, w), RGB in 0..255

Unzipped, `qpkit predict model.onnx SLIDE -o predictions` does whole slides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BioimageioReport:
    """The package that was written.

    Args:
        path: The zip.
        run: Id of the run.
        megabytes: Its size.
        difference: Largest difference of a probability between ONNX and torch.
        notes: What the package does not say, in whole sentences.
    """

    path: Path
    run: str
    megabytes: float
    difference: float
    notes: tuple[str, ...]


def export_bioimageio(run_root: Path, path: Path, settings: PublishSettings) -> BioimageioReport:
    """Write a run's best model as a package of bioimage.io.

    Args:
        run_root: Run folder of `train`.
        path: The zip to write.
        settings: Licence, authors, title.

    Raises:
        FormatError: The run is damaged, not there, or a tile classifier.
        MissingExtraError: bioimageio.spec, onnx or onnxruntime is not installed.
        ConfigError: The model takes more than one RGB image, cannot be written as ONNX, or the package is refused.
        OutputError: The file cannot be written.
    """
    with extra("bioimageio"):
        import bioimageio.spec
    known = load_run(run_root)
    run = anonymous(known)
    card = run.card()
    require_no_clicks(card)
    if len(card.factors) > 1:
        raise ConfigError(f"{run_root}: the model sees surroundings, which no program of bioimage.io gives it")
    content, difference = checked_onnx(run)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "model.onnx").write_bytes(content)
        (folder / "README.md").write_text(
            card_body(run, settings, _RUNNING, first_weights=first_weights_of(known)), encoding="utf-8"
        )
        _write_test(folder, run, card)
        try:
            described = _described(folder, run, card, settings)
            bioimageio.spec.save_bioimageio_package(described, output_path=folder / "package.zip")
        except ValueError as err:  # pydantic's, too
            reason = " ".join(str(err).split())[:100]
            raise ConfigError(f"{run_root}: bioimage.io refuses the package ({reason})") from err
        whole = (folder / "package.zip").read_bytes()
    replace_file(path, whole)
    notes = [] if settings.license else ["no licence is stated, so nobody may use the model; say one with --license"]
    notes += [] if settings.authors else ["no authors are stated; say them with --author"]
    return BioimageioReport(
        path=path, run=run.id, megabytes=round(len(whole) / 1e6, 1), difference=difference, notes=tuple(notes)
    )


def _write_test(folder: Path, run: Run, card: ModelCard) -> None:
    """A made-up tile, and what torch says of it."""
    shape = (1, card.channels, *(card.stride * count for count in _STRIDES))
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)
    with torch.inference_mode():
        probabilities = whole_network(run)(torch.from_numpy(pixels)).numpy()
    np.save(folder / "test-input.npy", pixels)
    np.save(folder / "test-output.npy", probabilities.astype(np.float32))


def _described(folder: Path, run: Run, card: ModelCard, settings: PublishSettings) -> Any:
    """The model description.

    Raises:
        ValueError: bioimageio.spec refuses it.
    """
    from bioimageio.spec.model import v0_5 as spec

    unit = {} if card.mpp is None else {"unit": "micrometer", "scale": card.mpp}
    size = spec.ParameterizedSize(min=2 * card.stride, step=card.stride)
    pixels = spec.InputTensorDescr(
        id=spec.TensorId(INPUT),
        description=f"RGB in 0..255 at {'any' if card.mpp is None else f'{card.mpp:g} um/px'}",
        axes=[
            spec.BatchAxis(),
            spec.ChannelAxis(channel_names=[spec.Identifier(name) for name in ("red", "green", "blue")]),
            *(spec.SpaceInputAxis(id=spec.AxisId(name), size=size, **unit) for name in ("y", "x")),
        ],
        test_tensor=spec.FileDescr(source=folder / "test-input.npy"),
        data=spec.IntervalOrRatioDataDescr(type="float32", range=(0.0, 255.0)),
    )

    def same(axis: str) -> Any:
        return spec.SizeReference(tensor_id=spec.TensorId(INPUT), axis_id=spec.AxisId(axis))

    probabilities = spec.OutputTensorDescr(
        id=spec.TensorId(OUTPUT),
        description="Probability of each class: " + ", ".join(channels_of(run)),
        axes=[
            spec.BatchAxis(),
            spec.ChannelAxis(channel_names=[spec.Identifier(name) for name in _identifiers(channels_of(run))]),
            *(spec.SpaceOutputAxis(id=spec.AxisId(name), size=same(name), **unit) for name in ("y", "x")),
        ],
        test_tensor=spec.FileDescr(source=folder / "test-output.npy"),
        data=spec.IntervalOrRatioDataDescr(type="float32", range=(0.0, 1.0)),
    )
    stated: dict[str, Any] = {"license": spec.LicenseId(settings.license)} if settings.license else {}
    return spec.ModelDescr(
        name=_plain_title(title_of(run, settings)),
        description=summary_of(run)[:1024],
        authors=[spec.Author(name=name.strip()) for name in settings.authors],
        documentation=spec.FileDescr(source=folder / "README.md"),
        tags=["histology", "semantic-segmentation", "whole-slide-imaging", "qpkit"],
        inputs=[pixels],
        outputs=[probabilities],
        weights=spec.WeightsDescr(onnx=spec.OnnxWeightsDescr(source=folder / "model.onnx", opset_version=17)),
        **stated,
    )


def _identifiers(names: list[str]) -> list[str]:
    """Names as bioimage.io takes them for channels: letters, digits, low lines; all different."""
    made: list[str] = []
    for name in names:
        plain = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in name).strip("_").lower()
        plain = plain if plain and not plain[0].isdigit() else f"class_{plain}"
        made.append(plain if plain not in made else f"{plain}_{len(made)}")
    return made


def _plain_title(title: str) -> str:
    """Letters, digits, blanks and -_+(). only, at most 128."""
    return (
        "".join(letter if letter.isalnum() or letter in " -_+()" else "-" for letter in title)[:128].strip() or "model"
    )
