"""qpkit propose: outlines for tissue that nobody has annotated, from clusters without labels."""

from __future__ import annotations

import time
from pathlib import Path

import typer

from qpkit.api.propose import propose, undo_proposals
from qpkit.cli.shared.console import progress, say, say_all, table_of, took
from qpkit.cli.shared.stamps import warn_of_stamps
from qpkit.errors import ConfigError
from qpkit.extras import extra
from qpkit.qupath import open_project
from qpkit.workflows.inputs.label_maps import read_label_map
from qpkit.workflows.inputs.paths import is_project
from qpkit.workflows.inputs.settings import SlideSettings

with extra("train"):
    from qpkit_train.unsupervised.propose_settings import ProposeSettings


def command(
    sources: list[Path] = typer.Argument(
        ..., metavar="PROJECT|SLIDE...|TILES", help="A QuPath project (close it in QuPath first), slides, or tiles."
    ),
    out: Path | None = typer.Option(
        None, "-o", "--out", help="Folder to make: rasters, tables, pictures, index.html. Default: proposals-METHOD."
    ),
    *,
    settings: ProposeSettings,
    slides: SlideSettings,
    labels: Path | None = typer.Option(
        None, help="labels.toml: what annotations mean, for the scores. Default: each class that people drew."
    ),
    geojson_only: bool = typer.Option(False, "--geojson-only", help="Write GeoJSON files and leave the project alone."),
    undo: bool = typer.Option(False, "--undo", help="Take proposals out of the project that nobody has touched."),
    overwrite: bool = typer.Option(
        False, "--overwrite", help="Replace what an earlier call made, in the folder and in the project."
    ),
) -> None:
    """Divide tissue into "Proposed: 1", "Proposed: 2" ... without any labels, for people to name.

    Name a cluster with qpkit edit PROJECT --map "Proposed: 2=Tumor", and its outlines are labels like any other. Where
    annotations exist, it says how well clusters fit them; the class of a cluster is chosen on other slides than those
    that are scored.
    """
    start = time.perf_counter()
    if undo:
        if len(sources) != 1 or geojson_only or slides != SlideSettings():
            raise ConfigError("--undo goes with one project, of which it takes out all untouched proposals; no options")
        opened = open_project(sources[0])
        warn_of_stamps(opened)
        say(f"{undo_proposals(opened):,} proposal(s) taken out of {sources[0]}")
        return
    if not geojson_only and is_project(sources[0]):
        warn_of_stamps(open_project(sources[0]))
    folder = out or Path(f"proposals-{settings.method}")
    with progress("propose") as update:
        report = propose(
            sources, folder, settings, slides=slides, labels=None if labels is None else read_label_map(labels),
            geojson_only=geojson_only, overwrite=overwrite, on_progress=update,
        )  # fmt: skip
    made = report.proposals
    objects = {name: sum(one.objects.get(name, 0) for one in report.imports) for name in made.clusters}
    assignment = dict(zip(made.clusters, report.scores.assignment, strict=True)) if report.scores else {}
    table_of(
        "Clusters",
        [
            {"cluster": name, "of the tissue": f"{fraction:.1%}"}
            | ({"outlines": objects[name]} if report.imports else {})
            | ({"most like": assignment[name]} if assignment else {})
            for name, fraction in made.clusters.items()
        ],
    )
    say_all("note: ", (*made.notes, *report.notes))
    if report.scores is not None:
        for which, words in (("elsewhere", "chosen on other slides"), ("here", "chosen on the same slide"),
                             ("one_class", "everything one class")):  # fmt: skip
            dice, iou = report.scores.mean_of(which, "dice"), report.scores.mean_of(which, "iou")
            if dice is not None and iou is not None:
                say(f"mean Dice {dice:.3f}, mean IoU {iou:.3f}: {words}")
    if report.replaced:
        say(f"{report.replaced:,} earlier proposal(s) taken out")
    small = sum(one.too_small for one in report.imports)
    if small:
        say(f"{small:,} area(s) under {settings.min_area_um2:g} um2 became their surroundings")
    say(f"run {made.run} on {made.device}: {report.page or folder} ({took(start)})")
