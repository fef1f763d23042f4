"""Tissue that nobody has annotated, divided into proposals: into the project, scored where somebody has, on a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from qpkit.core.labels import LabelMap
from qpkit.core.provenance import is_proposal, is_untouched, run_of
from qpkit.dataset import read_tile_set
from qpkit.dataset.manifest import INFO_NAME as TILES
from qpkit.errors import ConfigError, ProjectError
from qpkit.extras import extra
from qpkit.files import AnyPath, csv_bytes, paths_of
from qpkit.predictions import PredictionSet, read_predictions
from qpkit.progress import OnProgress, no_progress
from qpkit.qupath import Project, open_project
from qpkit.workflows.evaluate.clusters import ClusterResult, count_clusters, label_map_of, score_clusters, score_rows
from qpkit.workflows.imports.geojson import predictions_to_geojson
from qpkit.workflows.imports.project import import_predictions, undo_import
from qpkit.workflows.imports.result import SlideImport
from qpkit.workflows.imports.settings import ImportSettings
from qpkit.workflows.inputs.class_places import class_places
from qpkit.workflows.inputs.paths import is_project
from qpkit.workflows.inputs.settings import ALL_SLIDES, SlideSettings
from qpkit.workflows.inputs.slides import SlideInput, slide_inputs
from qpkit.workflows.pages.proposals import proposals_page

if TYPE_CHECKING:
    from qpkit_train.unsupervised.propose import Proposals
    from qpkit_train.unsupervised.propose_settings import ProposeSettings

_TEMPLATES: Final = 24
"""Places of each class that show what it looks like."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposeReport:
    """What was proposed.

    Args:
        proposals: What the method made.
        imports: What came into the project, or into GeoJSON files; empty of tiles.
        scores: Against annotations; None where there are none.
        page: The page; None of tiles.
        replaced: Objects of earlier proposals that were taken out.
    """

    proposals: Proposals
    imports: Sequence[SlideImport] = ()
    scores: ClusterResult | None = None
    page: Path | None = None
    replaced: int = 0
    notes: Sequence[str] = field(default=())


def propose(
    paths: AnyPath | Sequence[AnyPath],
    out: AnyPath,
    settings: ProposeSettings | None = None,
    *,
    slides: SlideSettings = ALL_SLIDES,
    labels: LabelMap | None = None,
    geojson_only: bool = False,
    overwrite: bool = False,
    on_progress: OnProgress = no_progress,
) -> ProposeReport:
    """Divide tissue without labels, and put outlines "Proposed: 1", "Proposed: 2" ... into the project.

    Args:
        paths: A QuPath project, slide files, or one folder of tiles.
        out: Folder to make: rasters and predictions.json, tables, pictures, index.html, and GeoJSON files where no
            project takes the outlines; of tiles label images.
        settings: How tissue is divided.
        slides: Which slides, and how they are read.
        labels: What annotations mean, for the scores; without it each class that people drew is one.
        geojson_only: Leave the project as it is.
        overwrite: Replace what is in `out`, and proposals in the project that nobody has touched.
        on_progress: Called with (done, of, text).

    Raises:
        ProjectError: The project has proposals already.
        QpkitError: As `qpkit_train.unsupervised.propose.propose` and `import_predictions` say.
    """
    with extra("train"):
        from qpkit_train.unsupervised.methods import TemplatePlace
        from qpkit_train.unsupervised.propose import propose as divide
        from qpkit_train.unsupervised.propose_settings import DEFAULT_PROPOSE

    how, places, folder = settings or DEFAULT_PROPOSE, paths_of(paths), Path(out)
    if (places[0] / TILES).is_file():
        if len(places) > 1:
            raise ConfigError(f"{places[1]}: one folder of tiles at a time; or name projects and slides alone")
        tiles = read_tile_set(places[0])
        return ProposeReport(proposals=divide(tiles, folder, how, overwrite=overwrite, on_progress=on_progress))
    inputs = slide_inputs(places, slides)
    project = open_project(places[0]) if len(places) == 1 and is_project(places[0]) and not geojson_only else None
    if not geojson_only and project is None and any(map(is_project, places)):
        raise ConfigError("one project at a time takes proposals; say --geojson-only for several")
    earlier = _runs_in(project) if project is not None else []
    if earlier and not overwrite:
        raise ProjectError(
            f"{places[0]}: has proposals of {earlier[0]} already; say --overwrite to replace those nobody has touched, "
            "or --undo to take them out"
        )
    templates = [
        TemplatePlace(place.slide, place.x, place.y, place.number)
        for place in class_places(inputs, how.templates, each=_TEMPLATES, seed=how.seed)
    ]
    sources = [item.source for item in inputs]
    made = divide(sources, folder, how, templates=templates, overwrite=overwrite, on_progress=on_progress)
    predictions = read_predictions(folder)
    scores, notes = _scored(predictions, inputs, labels, how.mpp, folder)
    outlines = ImportSettings(
        kind="annotation", min_area_um2=how.min_area_um2, simplify_um=how.simplify_um, append=True
    )
    replaced = 0
    if project is None:
        imports = predictions_to_geojson(predictions, folder / "geojson", outlines, on_progress=on_progress)
    else:
        replaced = undo_proposals(project)
        imports = import_predictions(predictions, project, outlines, on_progress=on_progress)
    page = folder / "index.html"
    proposals_page(
        predictions, inputs, page, scores, facts=made.facts, notes=(*made.notes, *notes), clusters=made.clusters
    )
    return ProposeReport(
        proposals=made, imports=imports, scores=scores, page=page, replaced=replaced, notes=notes
    )  # fmt: skip


def undo_proposals(project: Project) -> int:
    """Take all proposals out of a project that nobody has touched; gives how many objects that were.

    Raises:
        FormatError: A .qpdata cannot be read or must not be rewritten; entries before it are done.
    """
    return sum(report.removed for run in _runs_in(project) for report in undo_import(project, run))


def _runs_in(project: Project) -> list[str]:
    """Runs of untouched proposals, in the order of their names."""
    objects = (one for entry in project.entries if entry.has_data for one in entry.objects())
    return sorted({run_of(one) or "" for one in objects if is_proposal(one) and is_untouched(one)})


def _scored(
    predictions: PredictionSet, inputs: Sequence[SlideInput], labels: LabelMap | None, mpp: float, out: Path
) -> tuple[ClusterResult | None, tuple[str, ...]]:
    """Scores against what people drew, and scores.csv; None and a note where nobody drew anything."""
    rules = labels or label_map_of(inputs)
    counts = [] if rules is None else list(count_clusters(predictions, inputs, rules, mpp=mpp))
    if rules is None or not counts:
        return None, ("no annotations to compare with: no scores",)
    result = score_clusters(counts, rules)
    rows = score_rows(result)
    (out / "scores.csv").write_bytes(csv_bytes([list(rows[0]), *(list(row.values()) for row in rows)]))
    if len(counts) > 1:
        return result, ()
    return result, ("one annotated slide: it has chosen the class of each cluster itself, so scores are too high",)
