"""From QuPath annotations to a trained segmentation model and back, without QuPath or Java.

The names listed in `__all__` are the public API; docs/qupath.md shows them at work. They are imported when they are
first asked for, so that `import qpkit` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qpkit.core.annotation import Annotation, PathClass, Plane
    from qpkit.errors import QpkitError
    from qpkit.qupath import (
        Entry,
        Project,
        QpData,
        add_image,
        create_project,
        iter_geojson,
        new_qpdata,
        open_project,
        read_geojson,
        read_qpdata,
        use_backend,
        write_geojson,
    )
    from qpkit.slides import open_slide

__version__ = "0.1.0"

_HOMES = {
    "Annotation": "qpkit.core.annotation",
    "Entry": "qpkit.qupath",
    "PathClass": "qpkit.core.annotation",
    "Plane": "qpkit.core.annotation",
    "Project": "qpkit.qupath",
    "QpData": "qpkit.qupath",
    "QpkitError": "qpkit.errors",
    "add_image": "qpkit.qupath",
    "create_project": "qpkit.qupath",
    "iter_geojson": "qpkit.qupath",
    "new_qpdata": "qpkit.qupath",
    "open_project": "qpkit.qupath",
    "open_slide": "qpkit.slides",
    "read_geojson": "qpkit.qupath",
    "read_qpdata": "qpkit.qupath",
    "use_backend": "qpkit.qupath",
    "write_geojson": "qpkit.qupath",
}

__all__ = [
    "Annotation",
    "Entry",
    "PathClass",
    "Plane",
    "Project",
    "QpData",
    "QpkitError",
    "add_image",
    "create_project",
    "iter_geojson",
    "new_qpdata",
    "open_project",
    "open_slide",
    "read_geojson",
    "read_qpdata",
    "use_backend",
    "write_geojson",
]


def __getattr__(name: str) -> object:
    """Import a public name."""
    if name not in _HOMES:
        raise AttributeError(f"module 'qpkit' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
