"""Pixels of every slide format, always RGB, always in the slide frame that QuPath uses."""

from qpkit.slides.array import ArrayReader
from qpkit.slides.base import Slide, SlideSource
from qpkit.slides.colors import AS_IN_FILE, EMBEDDED, Colors
from qpkit.slides.opening import ReaderName, open_slide, open_source
from qpkit.slides.views import Crop, Flip, Step, Turn, parse_step

__all__ = [
    "AS_IN_FILE",
    "EMBEDDED",
    "ArrayReader",
    "Colors",
    "Crop",
    "Flip",
    "ReaderName",
    "Slide",
    "SlideSource",
    "Step",
    "Turn",
    "open_slide",
    "open_source",
    "parse_step",
]
