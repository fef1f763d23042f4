"""From QuPath annotations to a trained segmentation model and back, without QuPath or Java.

The names listed in `__all__` are the public API; docs/qupath.md shows them at work. They are imported when they are
first asked for, so that `import qpkit` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from qpkit.version import __version__ as __version__

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
    from qpkit.qupath.geojson.checks.diagnosis import diagnose_geojson
    from qpkit.slides import open_slide
    from qpkit.workflows.convert.convert import ConvertSettings, convert
    from qpkit.workflows.doctor.fix import fix_project
    from qpkit.workflows.doctor.geojson import fix_geojson
    from qpkit.workflows.doctor.project import DoctorSettings, examine_project
    from qpkit.workflows.edit import Change, Selection, edit_objects
    from qpkit.workflows.project import add_images, write_metadata


_HOMES = {
    "Annotation": "qpkit.core.annotation",
    "Change": "qpkit.workflows.edit",
    "ConvertSettings": "qpkit.workflows.convert.convert",
    "DoctorSettings": "qpkit.workflows.doctor.project",
    "Entry": "qpkit.qupath",
    "PathClass": "qpkit.core.annotation",
    "Plane": "qpkit.core.annotation",
    "Project": "qpkit.qupath",
    "QpData": "qpkit.qupath",
    "QpkitError": "qpkit.errors",
    "Selection": "qpkit.workflows.edit",
    "add_image": "qpkit.qupath",
    "add_images": "qpkit.workflows.project",
    "convert": "qpkit.workflows.convert.convert",
    "create_project": "qpkit.qupath",
    "diagnose_geojson": "qpkit.qupath.geojson.checks.diagnosis",
    "edit_objects": "qpkit.workflows.edit",
    "examine_project": "qpkit.workflows.doctor.project",
    "fix_geojson": "qpkit.workflows.doctor.geojson",
    "fix_project": "qpkit.workflows.doctor.fix",
    "iter_geojson": "qpkit.qupath",
    "new_qpdata": "qpkit.qupath",
    "open_project": "qpkit.qupath",
    "open_slide": "qpkit.slides",
    "read_geojson": "qpkit.qupath",
    "read_qpdata": "qpkit.qupath",
    "use_backend": "qpkit.qupath",
    "write_geojson": "qpkit.qupath",
    "write_metadata": "qpkit.workflows.project",
}

__all__ = [
    "Annotation",
    "Change",
    "ConvertSettings",
    "DoctorSettings",
    "Entry",
    "PathClass",
    "Plane",
    "Project",
    "QpData",
    "QpkitError",
    "Selection",
    "add_image",
    "add_images",
    "convert",
    "create_project",
    "diagnose_geojson",
    "edit_objects",
    "examine_project",
    "fix_geojson",
    "fix_project",
    "iter_geojson",
    "new_qpdata",
    "open_project",
    "open_slide",
    "read_geojson",
    "read_qpdata",
    "use_backend",
    "write_geojson",
    "write_metadata",
]


def __getattr__(name: str) -> object:
    """Import a public name."""
    if name not in _HOMES:
        raise AttributeError(f"module 'qpkit' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
