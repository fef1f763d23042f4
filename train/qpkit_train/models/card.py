"""What predicting has to know of a model, whatever runs it. Knows no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from qpkit.core.labels import LabelMap
from qpkit.core.tiles import Tile
from qpkit.errors import ConfigError
from qpkit.slides import Slide
from qpkit_train.clicks.discs import CHANNELS
from qpkit_train.stride import STRIDE as STRIDE
from qpkit_train.stride import stride_for as stride_for


class Answer(NamedTuple):
    """What a model says of a batch of n tiles; all uint8. Arrays of numpy, or where a device has not handed them out.

    Attributes:
        indices: (n, h, w), the likeliest class.
        probabilities: (n, classes, h, w), 255 is 1; None where they are not wanted.
        uncertainty: (n, bands, h, w), as `qpkit_train.inference.pixels.uncertainty` says; None where it is not wanted.
        kept: (n, h, w), the background instead of classes below their threshold; None if nobody has looked yet.
    """

    indices: NDArray[np.uint8]
    probabilities: NDArray[np.uint8] | None = None
    uncertainty: NDArray[np.uint8] | None = None
    kept: NDArray[np.uint8] | None = None

    def of_tile(self, number: int) -> Answer:
        """What is said of one tile: without the first axis."""
        return self.each(lambda part: part[number])

    def each(self, do: Callable[[Any], Any]) -> Answer:
        """Do something to every array that is there."""
        return Answer(do(self.indices), *(None if part is None else do(part) for part in self[1:]))


def joined(answers: Sequence[Answer]) -> Answer:
    """Put the answers to parts of a batch together."""
    indices, *others = zip(*answers, strict=True)
    return Answer(concatenated(indices), *map(_joined_where_wanted, others))


def _joined_where_wanted(parts: Sequence[NDArray[np.uint8] | None]) -> NDArray[np.uint8] | None:
    there = [part for part in parts if part is not None]
    return concatenated(there) if there else None


def concatenated(parts: Sequence[Any]) -> Any:
    """Put arrays behind each other, wherever they lie."""
    return parts[0] if len(parts) == 1 else array_namespace(parts[0]).concat(parts)


LEVELS = 65_535
"""Stands for a probability of 1 where means are taken: sums of whole numbers do not depend on their order."""


Calibrate = Literal["none", "batch-norm"]
"""What of a network is estimated anew on each slide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """A trained model as predictions see it.

    Args:
        run: Id of its run.
        name: Of its recipe.
        where: Its folder or file, for messages.
        labels: Channel i is labels.trained_values[i].
        mpp: um per px that it expects, or None.
        downsample: Slide px per px, for models without mpp; None if its tiles had several.
        trained: What it was trained on and how well, for predictions.json.
        versions: Of the packages that run it.
        stride: Height and width of what it takes are multiples of this.
        input_px: The only height and width that it takes; None for any.
        factors: How many times its surroundings each image of a sample shows, the tile itself (1) first.
        click_px: Radius of the discs in which it sees clicks (`qpkit_train.clicks.discs`); 0 for models that take none.
    """

    run: str
    name: str
    where: str
    labels: LabelMap
    mpp: float | None
    downsample: float | None
    trained: dict[str, Any]
    versions: dict[str, str]
    stride: int = STRIDE
    input_px: int | None = None
    factors: tuple[int, ...] = (1,)
    click_px: int = 0

    @property
    def channels(self) -> int:
        """Of its input: those of all images, and of clicks if it takes them."""
        return 3 * len(self.factors) + CHANNELS * bool(self.click_px)


def require_no_clicks(card: ModelCard) -> None:
    """Refuse a model that answers clicks, where none are made.

    Raises:
        ConfigError: It does.
    """
    if card.click_px:
        raise ConfigError(f"{card.where}: the model answers clicks; say qpkit predict --prompts, or take another model")


class Model(Protocol):
    """Runs a model; pixels in, answers out.

    Attributes:
        card: What it is.
        device_name, precision: What it runs on.
    """

    card: ModelCard
    device_name: str
    precision: str

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user has to know of how it ran."""
        ...

    def room(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """Make an array that pixels are read into, in memory from which the device takes them fast."""
        ...

    def answer(self, pixels: NDArray[np.uint8], *, halo: int, probabilities: bool, uncertainty: bool = False) -> Answer:
        """Predict a batch.

        Args:
            pixels: (n, h, w, 3 k) uint8 RGB of the card's k images, channels of clicks behind if it takes them; h and w
                multiples of its stride.
            halo: px to throw away on each side.
            probabilities, uncertainty: Whether they are wanted.

        Returns:
            Of (h - 2 halo, w - 2 halo) px; the caller may write into it.
        """
        ...

    def levels(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """Predict a batch, halo included: (n, classes, h, w) uint16 probabilities, LEVELS is 1."""
        ...


class Waiting(Protocol):
    """What a device has been asked for."""

    @property
    def seconds(self) -> float:
        """In which the device worked on it; once it was waited for."""
        ...

    def wait(self) -> Any:
        """Wait for it, and give it."""
        ...


class Stream(Protocol):
    """The queue of a device that has memory of its own, and works while nobody waits for it."""

    def mark(self) -> Any:
        """A place in the queue, from which `fetch` takes the time."""
        ...

    def fetch(self, answers: Sequence[Answer], since: Any) -> Waiting:
        """Begin to copy answers from the device: what is waited for is a list of them, in arrays of numpy."""
        ...


@runtime_checkable
class DeviceModel(Model, Protocol):
    """A model that may run on a device with memory of its own.

    Attributes:
        stream: Of that device; None if it computes where numpy does.
    """

    stream: Stream | None

    def answer_there(self, pixels: Any, *, halo: int, probabilities: bool, uncertainty: bool = False) -> Answer:
        """As `answer`, the arrays still on the device."""
        ...

    def levels_there(self, pixels: Any, *, spread: bool = False) -> Any:
        """As `levels`, int32 and still on the device; with one more channel, the spread of several looks, if wanted."""
        ...

    def upload(self, pixels: NDArray[np.uint8]) -> Any:
        """Begin to copy pixels to the device; the methods above take what comes out, too."""
        ...


def on_device(model: Model) -> DeviceModel | None:
    """The model, if it runs on a device with memory of its own."""
    return model if isinstance(model, DeviceModel) and model.stream is not None else None


@runtime_checkable
class SlideModel(Model, Protocol):
    """A model that has to see a slide before it predicts it."""

    def for_slide(self, slide: Slide, tiles: Sequence[Tile]) -> Model:
        """The model as it predicts this slide.

        Args:
            slide: Opened.
            tiles: Those that will be predicted.

        Raises:
            FormatError: The slide cannot be read, or is none for the model.
        """
        ...


def for_slide(model: Model, slide: Slide, tiles: Sequence[Tile]) -> Model:
    """The model as it predicts these tiles of a slide."""
    return model.for_slide(slide, tiles) if isinstance(model, SlideModel) else model
