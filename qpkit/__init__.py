"""From QuPath annotations to a trained segmentation model and back, without QuPath or Java.

The loop is `export`, `train`, `predict`, `import_predictions`, `evaluate`; beside it stand `convert`, the doctor and
QuPath's files. docs/python.md shows them at work. A name is imported when it is first asked for, so that
`import qpkit` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

from qpkit.version import __version__ as __version__

if TYPE_CHECKING:
    from qpkit.api import evaluate as evaluate
    from qpkit.api import export as export
    from qpkit.api import export_shard as export_shard
    from qpkit.api import import_predictions as import_predictions
    from qpkit.api import predict as predict
    from qpkit.api import train as train
    from qpkit.core.annotation import Annotation as Annotation
    from qpkit.core.annotation import PathClass as PathClass
    from qpkit.core.annotation import Plane as Plane
    from qpkit.errors import QpkitError as QpkitError
    from qpkit.qupath import Entry as Entry
    from qpkit.qupath import Project as Project
    from qpkit.qupath import QpData as QpData
    from qpkit.qupath import add_image as add_image
    from qpkit.qupath import create_project as create_project
    from qpkit.qupath import iter_geojson as iter_geojson
    from qpkit.qupath import new_qpdata as new_qpdata
    from qpkit.qupath import open_project as open_project
    from qpkit.qupath import read_geojson as read_geojson
    from qpkit.qupath import read_qpdata as read_qpdata
    from qpkit.qupath import use_backend as use_backend
    from qpkit.qupath import write_geojson as write_geojson
    from qpkit.qupath.geojson.checks.diagnosis import diagnose_geojson as diagnose_geojson
    from qpkit.slides import open_slide as open_slide
    from qpkit.workflows.convert.convert import convert as convert
    from qpkit.workflows.convert.settings import ConvertSettings as ConvertSettings
    from qpkit.workflows.doctor.fix import fix_project as fix_project
    from qpkit.workflows.doctor.geojson import fix_geojson as fix_geojson
    from qpkit.workflows.doctor.project import DoctorSettings as DoctorSettings
    from qpkit.workflows.doctor.project import examine_project as examine_project
    from qpkit.workflows.edit import Change as Change
    from qpkit.workflows.edit import Selection as Selection
    from qpkit.workflows.edit import edit_objects as edit_objects
    from qpkit.workflows.evaluate.settings import EvaluateSettings as EvaluateSettings
    from qpkit.workflows.export.settings import ExportSettings as ExportSettings
    from qpkit.workflows.import_predictions import ImportSettings as ImportSettings
    from qpkit.workflows.inputs.label_maps import read_label_map as read_label_map
    from qpkit.workflows.inputs.settings import SlideSettings as SlideSettings
    from qpkit.workflows.project import add_images as add_images
    from qpkit.workflows.project import write_metadata as write_metadata
    from qpkit.workflows.tables.split import split_tiles as split_tiles
    from qpkit.workflows.tables.split_settings import SplitSettings as SplitSettings
    from qpkit_train.inference.settings import PredictSettings as PredictSettings
    from qpkit_train.recipe.load import load_recipe as load_recipe
    from qpkit_train.recipe.settings import Recipe as Recipe

_HOMES: Final = {
    "Annotation": "qpkit.core.annotation",
    "Change": "qpkit.workflows.edit",
    "ConvertSettings": "qpkit.workflows.convert.settings",
    "DoctorSettings": "qpkit.workflows.doctor.project",
    "Entry": "qpkit.qupath",
    "EvaluateSettings": "qpkit.workflows.evaluate.settings",
    "ExportSettings": "qpkit.workflows.export.settings",
    "ImportSettings": "qpkit.workflows.import_predictions",
    "PathClass": "qpkit.core.annotation",
    "Plane": "qpkit.core.annotation",
    "PredictSettings": "qpkit_train.inference.settings",
    "Project": "qpkit.qupath",
    "QpData": "qpkit.qupath",
    "QpkitError": "qpkit.errors",
    "Recipe": "qpkit_train.recipe.settings",
    "Selection": "qpkit.workflows.edit",
    "SlideSettings": "qpkit.workflows.inputs.settings",
    "SplitSettings": "qpkit.workflows.tables.split_settings",
    "add_image": "qpkit.qupath",
    "add_images": "qpkit.workflows.project",
    "convert": "qpkit.workflows.convert.convert",
    "create_project": "qpkit.qupath",
    "diagnose_geojson": "qpkit.qupath.geojson.checks.diagnosis",
    "edit_objects": "qpkit.workflows.edit",
    "evaluate": "qpkit.api",
    "examine_project": "qpkit.workflows.doctor.project",
    "export": "qpkit.api",
    "export_shard": "qpkit.api",
    "fix_geojson": "qpkit.workflows.doctor.geojson",
    "fix_project": "qpkit.workflows.doctor.fix",
    "import_predictions": "qpkit.api",
    "iter_geojson": "qpkit.qupath",
    "load_recipe": "qpkit_train.recipe.load",
    "new_qpdata": "qpkit.qupath",
    "open_project": "qpkit.qupath",
    "open_slide": "qpkit.slides",
    "predict": "qpkit.api",
    "read_geojson": "qpkit.qupath",
    "read_label_map": "qpkit.workflows.inputs.label_maps",
    "read_qpdata": "qpkit.qupath",
    "split_tiles": "qpkit.workflows.tables.split",
    "train": "qpkit.api",
    "use_backend": "qpkit.qupath",
    "write_geojson": "qpkit.qupath",
    "write_metadata": "qpkit.workflows.project",
}
"""Where each public name is defined."""

__all__ = sorted(_HOMES)  # the names above, once


def __getattr__(name: str) -> object:
    """Import a public name.

    Raises:
        MissingExtraError: It needs an extra that is not installed.
    """
    if name not in _HOMES:
        raise AttributeError(f"module 'qpkit' has no attribute {name!r}")
    home = _HOMES[name]
    if not home.startswith("qpkit_train"):
        return getattr(importlib.import_module(home), name)
    from qpkit.extras import extra

    with extra("train"):
        return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
