"""A trained model for other programs: QuPath's pixel classifier, a package of bioimage.io, a folder of Hugging Face."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qpkit.errors import ConfigError
from qpkit.extras import extra
from qpkit.files import AnyPath
from qpkit.qupath import open_project
from qpkit.qupath.classifiers.in_project import put_pixel_classifier, require_name
from qpkit.qupath.classifiers.pixel_classifier import IGNORE, PixelClassifier, classes_of_channels
from qpkit.qupath.classifiers.settings import ClassifierSettings, is_file_name

if TYPE_CHECKING:
    from qpkit_train.publishing.bioimageio import BioimageioReport
    from qpkit_train.publishing.hugging_face import HuggingFaceReport
    from qpkit_train.publishing.settings import PublishSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierReport:
    """The pixel classifier that a project has now.

    Args:
        name: What QuPath calls it.
        run: Id of the run.
        json, model, script: The files: the classifier, its network, and the script that QuPath needs once.
        classes: What QuPath calls the channels.
        pixel_size: "0.5 um/px", or "downsample 4".
        megabytes: Of the network.
        difference: Largest difference of a probability between OpenCV and ONNX Runtime.
        opencv: Version that it was compared in.
        qupath: Earliest version of QuPath that is known to run it.
        unchanged: Whether it was there already, byte for byte.
        notes: What QuPath does otherwise than `qpkit predict`, and what else the user has to know.
    """

    name: str
    run: str
    json: Path
    model: Path
    script: Path
    classes: tuple[str, ...]
    pixel_size: str
    megabytes: float
    difference: float
    opencv: str
    qupath: str
    unchanged: bool
    notes: tuple[str, ...]


def export_pixel_classifier(
    run: AnyPath, project: AnyPath, settings: ClassifierSettings | None = None
) -> ClassifierReport:
    """Put a run's best model into a project, as a pixel classifier that QuPath itself runs.

    Args:
        run: Run folder of `train`.
        project: QuPath project; it gets a JSON and an ONNX file in classifiers/pixel_classifiers and a script in
            scripts. Nothing else in it changes.
        settings: Its name, the size of its tiles, and whether one of its name is replaced.

    Raises:
        FormatError: The run or the project is damaged, or the run is a tile classifier.
        ProjectError: There is no such project.
        MissingExtraError: torch, onnx, onnxruntime or OpenCV is not installed.
        ConfigError: QuPath cannot give the model its pixels, or OpenCV cannot run it.
        OutputError: There is another classifier of this name, or a file cannot be written.
    """
    how = settings or ClassifierSettings()
    target = open_project(project)
    with extra("train"):
        from qpkit_train.inference.running.opencv_export import card_for_opencv, export_for_opencv
    card = card_for_opencv(Path(run))
    name = how.name or card.run
    if not is_file_name(name):
        raise ConfigError(f"{card.where}: {name!r} cannot be the name of a file; say another --name")
    require_name(target, name)
    made = export_for_opencv(Path(run), how.input_px)
    classes = classes_of_channels(card.labels, target.classes)
    classifier = PixelClassifier(
        label=card.run,
        classes=classes,
        pixel_size=card.mpp if card.mpp is not None else float(card.downsample or 1),
        unit="um" if card.mpp is not None else "px",
        input_px=how.input_px,
        padding_px=how.padding,
    )
    put = put_pixel_classifier(target, name, classifier, made.content, overwrite=how.overwrite)
    return ClassifierReport(
        name=name,
        run=card.run,
        json=put.json,
        model=put.model,
        script=put.script,
        classes=tuple(map(str, classes)),
        pixel_size=f"{card.mpp:g} um/px" if card.mpp is not None else f"downsample {card.downsample:g}",
        megabytes=made.megabytes,
        difference=made.difference,
        opencv=made.opencv,
        qupath=made.qupath,
        unchanged=put.unchanged,
        notes=(*_differences(classifier), *put.notes),
    )


def _differences(classifier: PixelClassifier) -> Iterator[str]:
    """Say what QuPath does otherwise than `qpkit predict`."""
    core = classifier.input_px - 2 * classifier.padding_px
    yield (
        f"QuPath predicts {core} x {core} px at a time with {classifier.padding_px} px around them, and repeats pixels "
        "beyond the edges of the slide: borders may differ from qpkit predict"
    )
    yield "QuPath does not blend tiles, turn them (--tta), clear glass, or know thresholds: the likeliest class counts"
    starred = [str(item) for item in classifier.classes if item != IGNORE and str(item).endswith("*")]
    if starred:
        yield f"QuPath makes no objects of {', '.join(starred)}, as of every class whose name ends in *"


def export_bioimageio(run: AnyPath, path: AnyPath, settings: PublishSettings | None = None) -> BioimageioReport:
    """Write a run's best model as a package of bioimage.io.

    Args:
        run: Run folder of `train`.
        path: The zip to write.
        settings: Licence, authors, title.

    Raises:
        MissingExtraError: torch, onnx, onnxruntime or bioimageio.spec is not installed.
        QpkitError: As `qpkit_train.publishing.bioimageio.export_bioimageio` says.
    """
    with extra("train"):
        from qpkit_train.publishing import bioimageio
        from qpkit_train.publishing.settings import PublishSettings
    return bioimageio.export_bioimageio(Path(run), Path(path), settings or PublishSettings())


def export_hugging_face(
    run: AnyPath, folder: AnyPath, settings: PublishSettings | None = None, *, overwrite: bool = False
) -> HuggingFaceReport:
    """Write a run's best model as a folder for huggingface.co, which `predict` takes, too.

    Args:
        run: Run folder of `train`.
        folder: The folder to make.
        settings: Licence, authors, title.
        overwrite: Replace such a folder; anything else stays.

    Raises:
        MissingExtraError: torch is not installed.
        QpkitError: As `qpkit_train.publishing.hugging_face.export_hugging_face` says.
    """
    with extra("train"):
        from qpkit_train.publishing import hugging_face
        from qpkit_train.publishing.settings import PublishSettings
    how = settings or PublishSettings()
    return hugging_face.export_hugging_face(Path(run), Path(folder), how, overwrite=overwrite)
