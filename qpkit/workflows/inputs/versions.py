"""Which versions decide what tiles look like."""

from __future__ import annotations

import platform
from importlib.metadata import version

from qpkit.version import __version__


def versions() -> dict[str, str]:
    """Versions of what decides pixels and shapes."""
    packages = ("numpy", "shapely", "rasterio", "openslide-python", "tifffile", "imagecodecs", "numba", "pillow")
    return {"qpkit": __version__, "python": platform.python_version()} | {p: version(p) for p in packages}
