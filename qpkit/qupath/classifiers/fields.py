"""Which fields QuPath reads in a pixel classifier that runs a network, by its Java classes; knows no values.

Looked up in the sources of v0.4.0, v0.4.4, v0.5.1, v0.6.0, v0.7.0 and 0.8.0-SNAPSHOT (August 2026): names, types and
labels are the same in all of them, so there is one list. The classes of v0.4.4, v0.5.1, v0.6.0 and v0.7.0, compiled
without OpenCV, read what qpkit writes. Gson makes an object without calling a constructor where a class has none that
takes no arguments; what such a class would begin with is then missing, so these fields have to be there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

VERSIONS: Final = ("0.4.0", "0.4.4", "0.5.1", "0.6.0", "0.7.0")
"""Of QuPath, in whose source every line below was looked up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JavaFields:
    """The fields of one Java class.

    Args:
        source: The class.
        label: Key and value by which QuPath chooses the class; None where its type says it.
        needed: Fields without which QuPath ends in an error, or computes something else.
        optional: Fields that may be left out.
        inside: Which of these are objects of further classes of the table; a list of them where the name ends in "[]".
    """

    source: str
    label: tuple[str, str] | None = None
    needed: tuple[str, ...]
    optional: tuple[str, ...] = ()
    inside: Mapping[str, str] | None = None


FIELDS: Final[Mapping[str, JavaFields]] = {
    "classifier": JavaFields(
        source="qupath.opencv.ml.pixel.OpenCVPixelClassifier; label in PixelClassifiers",
        label=("pixel_classifier_type", "OpenCVPixelClassifier"),
        needed=("metadata", "op"),
        inside={"metadata": "metadata", "op": "data op"},
    ),
    "metadata": JavaFields(
        # Without a constructor: outputType would be null, the sizes 0.
        source="qupath.lib.classifiers.pixel.PixelClassifierMetadata",
        needed=(
            "inputPadding",
            "inputResolution",
            "inputWidth",
            "inputHeight",
            "inputNumChannels",
            "outputType",
            "classificationLabels",
        ),
        # Without outputPixelType a server of predictions says that its pixels are uint8.
        optional=("outputPixelType", "outputChannels"),
        inside={"inputResolution": "calibration"},
    ),
    "calibration": JavaFields(
        source="qupath.lib.images.servers.PixelCalibration",
        needed=("pixelWidth", "pixelHeight"),
        optional=("zSpacing", "timeUnit", "timepoints"),
        inside={"pixelWidth": "quantity", "pixelHeight": "quantity", "zSpacing": "quantity"},
    ),
    "quantity": JavaFields(
        source="qupath.lib.images.servers.PixelCalibration.SimpleQuantity", needed=("value", "unit")
    ),
    "data op": JavaFields(
        source="qupath.opencv.ops.ImageOps.ChannelImageDataOp",
        label=("type", "data.op.channels"),
        needed=("colorTransforms", "op"),
        inside={"colorTransforms[]": "channel", "op": "sequence"},
    ),
    "channel": JavaFields(
        source="qupath.lib.images.servers.ColorTransforms.ExtractChannelByName", needed=("channelName",)
    ),
    "sequence": JavaFields(
        source="qupath.opencv.ops.ImageOps.Core.SequentialMultiOp",
        label=("type", "op.core.sequential"),
        needed=("ops",),
        inside={"ops[]": "network op"},
    ),
    "network op": JavaFields(
        # Without a constructor: outputNames and padding would be null.
        source="qupath.opencv.ops.ImageOps.ML.DnnOp",
        label=("type", "op.ml.opencv-dnn"),
        needed=("model", "inputWidth", "inputHeight", "outputNames", "padding"),
        inside={"model": "network", "padding": "padding"},
    ),
    "network": JavaFields(
        # Without "scale" it is 0.0, and createBlobFunction multiplies every pixel by it. Backend and target are left
        # to QuPath, which takes CUDA where it has it.
        source="qupath.opencv.dnn.OpenCVDnn; label in DnnModels",
        label=("dnn_model", "OpenCVDnn"),
        needed=("pathModel", "scale"),
        optional=(
            "name",
            "modelType",
            "pathConfig",
            "framework",
            "backend",
            "target",
            "crop",
            "swapRB",
            "size",
            "mean",
            "inputs",
            "outputs",
        ),
    ),
    "padding": JavaFields(source="qupath.lib.regions.Padding", needed=("x1", "x2", "y1", "y2")),
}
"""The classes, by what they are called here; "classifier" is the whole file."""


def faults(record: object, of: str = "classifier", where: str = "") -> Iterator[str]:
    """Name what QuPath would not read in a pixel classifier that runs a network.

    Args:
        record: Its JSON, or a part of it.
        of: Which class of `FIELDS` the part is.
        where: The part, for the messages.
    """
    place = where or of
    if not isinstance(record, dict):
        yield f"{place} is no object"
        return
    java = FIELDS[of]
    label = dict([java.label]) if java.label else {}
    yield from (f"{place}: {key} is not {value!r}" for key, value in label.items() if record.get(key) != value)
    yield from (f"{place}: lacks {name}" for name in java.needed if name not in record)
    known = {*label, *java.needed, *java.optional}
    yield from (f"{place}: {java.source} has no {name}" for name in record if name not in known)
    for name, inner in (java.inside or {}).items():
        yield from _faults_inside(record, name, inner, where)


def _faults_inside(record: dict[str, Any], name: str, inner: str, where: str) -> Iterator[str]:
    key = name.removesuffix("[]")
    if key not in record:
        return
    parts = record[key] if name.endswith("[]") else [record[key]]
    if not isinstance(parts, list):
        yield f"{where}{key} is no list"
        return
    for part in parts:
        yield from faults(part, inner, f"{where}{key}.")
