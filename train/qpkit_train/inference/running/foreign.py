"""The TOML file that describes somebody else's ONNX segmentation model: docs/training.md, Models of others."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import math
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from qpkit.core.annotation import argb
from qpkit.core.labels import LabelClass, LabelMap
from qpkit.errors import ConfigError, FormatError, LabelError, listed

Activation = Literal["softmax", "sigmoid", "none"]
"""Of the model's output: "none" where it gives probabilities already."""

PrepareTiles = Callable[[NDArray[np.uint8]], NDArray[Any]]
"""From (n, h, w, 3) uint8 RGB to (n, h, w, channels) as the model takes it."""

PrepareSlide = Callable[[NDArray[np.uint8]], PrepareTiles]
"""Called once per slide with a picture of it, (h, w, 3) uint8 RGB."""

BACKGROUND: Final = 0
"""Its value in rasters."""

Three = tuple[float, float, float]


class ForeignClass(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One channel of the output.

    Args:
        name: What predictions call it.
        channel: Of the output, from 0; that of its place in the list if left out.
        value: In rasters, 1..254; its place in the list, from 1, if left out.
        color: RGB of predictions.
    """

    name: str
    channel: int | None = None
    value: int | None = None
    color: tuple[int, int, int] | None = None


class Description(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a TOML file says.

    Args:
        onnx: The model's file, relative to the TOML file.
        activation: What makes probabilities of its output.
        classes: Its channels but the background's, as [[class]].
        background: Channel of the background. Left out, the background has what the classes leave of 1 (with "sigmoid"
            what the most probable one leaves).
        mpp: um per px that it expects; or `downsample`: slide px per px.
        stride: Height and width of tiles are multiples of it; or `input_px`: the only height and width that it takes.
        mean, std: Taken off and divided by, by channel as the model takes them.
        pixel_max: What 255 is before that.
        channels: Order of the colours.
        layout: Order of the axes, of input and output.
        prepare: "module:function" in place of mean, std, pixel_max and channels: a `PrepareSlide`. The module is a file
            beside the TOML file, or installed.
        name: What runs are called after; the TOML file's name if left out.
        input, output: Their names in the graph; the first ones if left out.
    """

    onnx: str
    activation: Activation
    classes: tuple[ForeignClass, ...] = msgspec.field(name="class")
    background: int | None = None
    mpp: float | None = None
    downsample: float | None = None
    stride: int | None = None
    input_px: int | None = None
    mean: Three | None = None
    std: Three | None = None
    pixel_max: float = 1.0
    channels: Literal["rgb", "bgr"] = "rgb"
    layout: Literal["nchw", "nhwc"] = "nchw"
    prepare: str = ""
    name: str = ""
    input: str = ""
    output: str = ""

    @property
    def order(self) -> list[int]:
        """Channels of the output in the order of the classes."""
        return [i if item.channel is None else item.channel for i, item in enumerate(self.classes)]

    def labels(self) -> LabelMap:
        """The classes as a label map.

        Raises:
            LabelError: Values or names that cannot be.
        """
        found = (
            LabelClass(
                item.name,
                place if item.value is None else item.value,
                (item.name,),
                None if item.color is None else argb(*item.color),
            )
            for place, item in enumerate(self.classes, start=1)
        )
        return LabelMap(classes=tuple(found), background=BACKGROUND)

    def faults(self) -> Iterator[str]:
        """Name all that cannot be."""
        if not self.classes:
            yield "no [[class]]"
        if (self.mpp is None) == (self.downsample is None):
            yield "state mpp or downsample, one of them"
        if (self.stride is None) == (self.input_px is None):
            yield "state stride or input_px, one of them"
        for name in ("mpp", "downsample", "stride", "input_px", "pixel_max"):
            if (value := getattr(self, name)) is not None and not 0 < value < 1e6:
                yield f"{name} = {value} has to be above 0"
        channels = [*self.order, *([] if self.background is None else [self.background])]
        if len({*channels}) < len(channels) or min(channels, default=0) < 0:
            yield f"channels {channels} have to be different and from 0"
        if any(not 0 <= part <= 255 for item in self.classes for part in item.color or ()):
            yield "colors have to be 0..255"
        if self.prepare:
            if self.mean or self.std or self.pixel_max != 1.0 or self.channels != "rgb":
                yield "prepare takes the place of mean, std, pixel_max and channels"
            if self.prepare.count(":") != 1:
                yield f"prepare = {self.prepare!r} has to be module:function"
        elif self.mean is None or self.std is None:
            yield "state mean and std, or prepare"
        elif not (all(map(math.isfinite, (*self.mean, *self.std))) and min(self.std) > 0):
            yield "mean and std have to be finite, and std above 0"


def is_description(path: Path) -> bool:
    """Whether a path is called like a description."""
    return path.suffix.lower() == ".toml"


def read_description(path: Path) -> Description:
    """Read a TOML file.

    Raises:
        FormatError: It is missing, no TOML, or does not say what it has to; all faults in one message.
    """
    try:
        said = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Description)
        faults = [*said.faults()]
        said.labels()
    except OSError as err:
        raise FormatError(f"{path}: cannot be read ({err.strerror})") from err
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError, LabelError) as err:
        raise FormatError(f"{path}: not the description of a model: {err}") from err
    if faults:
        raise FormatError(f"{path}: {listed(faults, joint='; ')}")
    return said


def files_of(path: Path) -> list[Path]:
    """The files that a model is made of: itself; of a description what it names, too.

    Raises:
        FormatError: The description is damaged.
    """
    if not is_description(path):
        return [path]
    said = read_description(path)
    onnx, module = path.parent / said.onnx, _module_file(path, said)
    # Weights beside a graph are in files that begin like it: model.onnx.data, model.onnx_data.
    weights = sorted(file for file in onnx.parent.glob("*") if file.is_file() and file.name.startswith(onnx.name))
    return [path, *weights, *([module] if module.is_file() else [])]


def content_id(path: Path) -> str:
    """Six hexadecimal digits of all that a model is made of."""
    digest = hashlib.sha256()
    for file in files_of(path):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:6]


def load_preparation(path: Path, said: Description) -> PrepareSlide:
    """Import the function that `prepare` names.

    Raises:
        ConfigError: There is no such module or function, or it cannot be imported.
    """
    file, name = _module_file(path, said), said.prepare.partition(":")[2]
    try:
        module = _load(file) if file.is_file() else importlib.import_module(file.stem)
        function: PrepareSlide = getattr(module, name)
    except Exception as err:  # whatever somebody's code raises while it is imported
        raise ConfigError(f"{path}: prepare = {said.prepare!r} cannot be imported ({err!r})") from err
    return function


def _module_file(path: Path, said: Description) -> Path:
    return path.parent / f"{said.prepare.partition(':')[0]}.py"


def _load(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
