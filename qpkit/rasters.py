"""Opens rasters of slides without rasterio's warning that they lie nowhere on earth."""

from __future__ import annotations

import threading
import warnings
from pathlib import Path
from typing import Any, Final

import rasterio
from rasterio.errors import NotGeoreferencedWarning

_FILTERS: Final = threading.Lock()
"""Warning filters are the process's, not a thread's: two that change them at a time would restore each other's."""


def open_raster(path: Path, mode: str = "r", **how: Any) -> Any:
    """Open as `rasterio.open` does: with its arguments, and its errors."""
    with _FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(path, mode, **how)
