"""A pixel classifier that runs a network, as QuPath's JSON has it. Knows no project and no network.

QuPath reads a tile and its padding at the stated resolution, gives the network (1, 3, h, w) float32 RGB in 0..255, cuts
the padding off what comes out, and takes the class with the highest value of each pixel (the first of equal ones).

Source: qupath.opencv.ml.pixel.OpenCVPixelClassifier, qupath.opencv.ops.ImageOps (ChannelImageDataOp, DnnOp),
qupath.opencv.dnn.OpenCVDnn and qupath.lib.analysis.images.ContourTracing, v0.4.0 to v0.7.0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final, Literal

from qpkit.core.annotation import PathClass, argb
from qpkit.core.labels import LabelMap, label_colors, with_colors
from qpkit.qupath.classifiers.fields import faults
from qpkit.qupath.project.images.uris import file_uri

IGNORE: Final = PathClass(("Ignore*",), argb(180, 180, 180))
"""What the background is called: QuPath makes no objects of classes whose names end in "*".

Source: qupath.lib.objects.classes.PathClassTools.isIgnoredClass and PathClass.StandardPathClasses, v0.4.0 to v0.7.0.
"""

_CHANNELS: Final = ("Red", "Green", "Blue")
"""What QuPath calls the channels of an RGB image; other images are not offered the classifier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelClassifier:
    """A network as a pixel classifier.

    Args:
        label: Says which network it is, for people.
        classes: Channel i of what the network gives is the probability of classes[i]; each with a colour.
        pixel_size: Of a px of the network: in um, or in level-0 px of the slide.
        unit: Which of the two.
        input_px: Height and width of what the network takes.
        padding_px: How many of these are thrown away on each side.
    """

    label: str
    classes: tuple[PathClass, ...]
    pixel_size: float
    unit: Literal["um", "px"]
    input_px: int
    padding_px: int

    def record(self, model: PurePath) -> dict[str, Any]:
        """The JSON.

        Args:
            model: Absolute path of the ONNX file. Where it is missing, QuPath looks for a file of this name in the
                project's folder and three levels of folders below (qupath.lib.io.UriUpdater.fixUris, v0.4.0 to v0.7.0).
        """
        made = {
            "pixel_classifier_type": "OpenCVPixelClassifier",
            "metadata": self._metadata(),
            "op": {
                "type": "data.op.channels",
                "colorTransforms": [{"channelName": name} for name in _CHANNELS],
                "op": {"type": "op.core.sequential", "ops": [self._network(file_uri(model))]},
            },
        }
        assert not (found := list(faults(made))), found
        return made

    def _metadata(self) -> dict[str, Any]:
        side = {"value": float(self.pixel_size), "unit": {"um": "\N{MICRO SIGN}m", "px": "px"}[self.unit]}
        return {
            "inputPadding": self.padding_px,
            "inputResolution": {
                "pixelWidth": side,
                "pixelHeight": side,
                "zSpacing": {"value": 1.0, "unit": "z-slice"},
                "timeUnit": "SECONDS",
                "timepoints": [],
            },
            "inputWidth": self.input_px,
            "inputHeight": self.input_px,
            "inputNumChannels": len(_CHANNELS),
            "outputType": "PROBABILITY",
            "outputPixelType": "FLOAT32",
            "outputChannels": [],
            "classificationLabels": {str(i): _class_record(item) for i, item in enumerate(self.classes)},
        }

    def _network(self, uri: str) -> dict[str, Any]:
        return {
            "type": "op.ml.opencv-dnn",
            "model": {
                "dnn_model": "OpenCVDnn",
                "name": self.label,
                "modelType": "DEFAULT",
                "pathModel": uri,
                "framework": "onnx",
                "crop": False,
                "swapRB": False,
                "scale": 1.0,
            },
            "inputWidth": self.input_px,
            "inputHeight": self.input_px,
            "outputNames": [],
            "padding": dict.fromkeys(("x1", "x2", "y1", "y2"), self.padding_px),
        }


def _class_record(path_class: PathClass) -> dict[str, Any]:
    """Write a class as qupath.lib.io.GsonTools.PathClassTypeAdapter does (v0.4.0 to v0.7.0): never without a colour."""
    names = path_class.names
    name = {"name": names[0]} if len(names) == 1 else {"names": list(names)}
    assert path_class.rgb is not None, "QuPath reads no class without a colour"
    return {**name, "color": list(path_class.rgb)}


def classes_of_channels(labels: LabelMap, known: Iterable[PathClass]) -> tuple[PathClass, ...]:
    """Which class each channel of a model is for QuPath.

    Args:
        labels: Of the model: channel i is labels.trained_values[i].
        known: The project's classes; classes of the map without a colour have theirs.

    Returns:
        `IGNORE` for the background.
    """
    colored = with_colors(labels, known)
    colors = label_colors(colored)
    return tuple(
        IGNORE if value == labels.background else PathClass.parse(labels.name_of(value), argb(*colors[value]))
        for value in labels.trained_values
    )
