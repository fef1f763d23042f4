"""From QuPath annotations to a trained segmentation model and back, without QuPath or Java.

The loop is `export`, `train`, `predict`, `import_predictions`, `evaluate`; beside it stand `convert`, the doctor and
QuPath's files. docs/python.md shows them at work. A name is imported when it is first asked for, so that
`import qpkit` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from qpkit.api.evaluate import evaluate as evaluate
    from qpkit.api.export import export as export
    from qpkit.api.export import export_shard as export_shard
    from qpkit.api.export_model import export_bioimageio as export_bioimageio
    from qpkit.api.export_model import export_hugging_face as export_hugging_face
    from qpkit.api.export_model import export_pixel_classifier as export_pixel_classifier
    from qpkit.api.import_predictions import import_predictions as import_predictions
    from qpkit.api.import_predictions import undo_import as undo_import
    from qpkit.api.import_tiles import import_tiles as import_tiles
    from qpkit.api.predict import predict as predict
    from qpkit.api.predict import predict_into_project as predict_into_project
    from qpkit.api.predict_points import predict_points as predict_points
    from qpkit.api.propose import propose as propose
    from qpkit.api.train import train as train
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
    from qpkit.qupath.classifiers.settings import ClassifierSettings as ClassifierSettings
    from qpkit.qupath.geojson.checks.diagnosis import diagnose_geojson as diagnose_geojson
    from qpkit.rounds.cross_validation.play import cross_validate as cross_validate
    from qpkit.rounds.cross_validation.settings import CrossValidationSettings as CrossValidationSettings
    from qpkit.rounds.pseudo_labels.play import pseudo_label_rounds as pseudo_label_rounds
    from qpkit.rounds.pseudo_labels.settings import read_rounds as read_rounds
    from qpkit.rounds.simulate.settings import SimulateSettings as SimulateSettings
    from qpkit.rounds.simulate.simulate import simulate as simulate
    from qpkit.slides import open_slide as open_slide
    from qpkit.version import __version__ as __version__
    from qpkit.workflows.compare.compare import compare as compare
    from qpkit.workflows.compare.merge import MergeSettings as MergeSettings
    from qpkit.workflows.compare.merge import merge as merge
    from qpkit.workflows.compare.readers import readers_of as readers_of
    from qpkit.workflows.compare.settings import CompareSettings as CompareSettings
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
    from qpkit.workflows.folders.settings import FolderSettings as FolderSettings
    from qpkit.workflows.hand_out import HandOutSettings as HandOutSettings
    from qpkit.workflows.hand_out import hand_out as hand_out
    from qpkit.workflows.imports.settings import ImportSettings as ImportSettings
    from qpkit.workflows.inputs.label_maps import read_label_map as read_label_map
    from qpkit.workflows.inputs.settings import SlideSettings as SlideSettings
    from qpkit.workflows.inputs.slides import slide_inputs as slide_inputs
    from qpkit.workflows.project import add_images as add_images
    from qpkit.workflows.project import write_metadata as write_metadata
    from qpkit.workflows.review.project import review_project as review_project
    from qpkit.workflows.review.result import ReviewSettings as ReviewSettings
    from qpkit.workflows.suggest.choose import suggest as suggest
    from qpkit.workflows.suggest.project import write_suggestions as write_suggestions
    from qpkit.workflows.suggest.settings import SuggestSettings as SuggestSettings
    from qpkit.workflows.tables.split import split_tiles as split_tiles
    from qpkit.workflows.tables.split_settings import SplitSettings as SplitSettings
    from qpkit_train.encoder_look import encoder_look as encoder_look
    from qpkit_train.inference.prompts.settings import PromptSettings as PromptSettings
    from qpkit_train.inference.settings import PredictSettings as PredictSettings
    from qpkit_train.publishing.settings import PublishSettings as PublishSettings
    from qpkit_train.recipe.load import load_recipe as load_recipe
    from qpkit_train.recipe.settings import Recipe as Recipe
    from qpkit_train.unsupervised.propose_settings import ProposeSettings as ProposeSettings

_HOMES: Final = {
    name: home
    for home, names in {
        "qpkit.api.evaluate": ("evaluate",),
        "qpkit.api.export": ("export", "export_shard"),
        "qpkit.api.export_model": ("export_bioimageio", "export_hugging_face", "export_pixel_classifier"),
        "qpkit.api.import_predictions": ("import_predictions", "undo_import"),
        "qpkit.api.import_tiles": ("import_tiles",),
        "qpkit.api.predict": ("predict", "predict_into_project"),
        "qpkit.api.predict_points": ("predict_points",),
        "qpkit.api.propose": ("propose",),
        "qpkit.api.train": ("train",),
        "qpkit.core.annotation": ("Annotation", "PathClass", "Plane"),
        "qpkit.errors": ("QpkitError",),
        "qpkit.qupath": (
            "Entry",
            "Project",
            "QpData",
            "add_image",
            "create_project",
            "iter_geojson",
            "new_qpdata",
            "open_project",
            "read_geojson",
            "read_qpdata",
            "use_backend",
            "write_geojson",
        ),
        "qpkit.qupath.classifiers.settings": ("ClassifierSettings",),
        "qpkit.qupath.geojson.checks.diagnosis": ("diagnose_geojson",),
        "qpkit.rounds.cross_validation.play": ("cross_validate",),
        "qpkit.rounds.cross_validation.settings": ("CrossValidationSettings",),
        "qpkit.rounds.simulate.settings": ("SimulateSettings",),
        "qpkit.rounds.simulate.simulate": ("simulate",),
        "qpkit.rounds.pseudo_labels.play": ("pseudo_label_rounds",),
        "qpkit.rounds.pseudo_labels.settings": ("read_rounds",),
        "qpkit.slides": ("open_slide",),
        "qpkit.workflows.compare.compare": ("compare",),
        "qpkit.workflows.compare.merge": ("MergeSettings", "merge"),
        "qpkit.workflows.compare.readers": ("readers_of",),
        "qpkit.workflows.compare.settings": ("CompareSettings",),
        "qpkit.workflows.convert.convert": ("convert",),
        "qpkit.workflows.convert.settings": ("ConvertSettings",),
        "qpkit.workflows.doctor.fix": ("fix_project",),
        "qpkit.workflows.doctor.geojson": ("fix_geojson",),
        "qpkit.workflows.doctor.project": ("DoctorSettings", "examine_project"),
        "qpkit.workflows.edit": ("Change", "Selection", "edit_objects"),
        "qpkit.workflows.evaluate.settings": ("EvaluateSettings",),
        "qpkit.workflows.export.settings": ("ExportSettings",),
        "qpkit.workflows.folders.settings": ("FolderSettings",),
        "qpkit.workflows.hand_out": ("HandOutSettings", "hand_out"),
        "qpkit.workflows.imports.settings": ("ImportSettings",),
        "qpkit.workflows.inputs.label_maps": ("read_label_map",),
        "qpkit.workflows.inputs.settings": ("SlideSettings",),
        "qpkit.workflows.inputs.slides": ("slide_inputs",),
        "qpkit.workflows.project": ("add_images", "write_metadata"),
        "qpkit.workflows.review.project": ("review_project",),
        "qpkit.workflows.review.result": ("ReviewSettings",),
        "qpkit.workflows.suggest.choose": ("suggest",),
        "qpkit.workflows.suggest.project": ("write_suggestions",),
        "qpkit.workflows.suggest.settings": ("SuggestSettings",),
        "qpkit.workflows.tables.split": ("split_tiles",),
        "qpkit.workflows.tables.split_settings": ("SplitSettings",),
        "qpkit_train.encoder_look": ("encoder_look",),
        "qpkit_train.inference.prompts.settings": ("PromptSettings",),
        "qpkit_train.inference.settings": ("PredictSettings",),
        "qpkit_train.publishing.settings": ("PublishSettings",),
        "qpkit_train.recipe.load": ("load_recipe",),
        "qpkit_train.recipe.settings": ("Recipe",),
        "qpkit_train.unsupervised.propose_settings": ("ProposeSettings",),
    }.items()
    for name in names
}
"""Where each public name is defined."""

__all__ = sorted(_HOMES)  # the names above, once


def __getattr__(name: str) -> object:
    """Import a public name.

    Raises:
        MissingExtraError: It needs an extra that is not installed.
    """
    if name == "__version__":
        from qpkit.version import __version__

        return __version__
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
