"""Pixels: one door to every slide format, always RGB, always in the slide frame that QuPath uses."""

from qpkit.slides.array import ArrayReader
from qpkit.slides.base import Slide, SlideReader, SlideSource
from qpkit.slides.opening import open_slide

__all__ = ["ArrayReader", "Slide", "SlideReader", "SlideSource", "open_slide"]
