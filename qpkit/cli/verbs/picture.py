"""qpkit picture: a place of a slide with annotations and predictions, as a PNG of any size."""

from __future__ import annotations

from pathlib import Path

import typer

from qpkit.cli.shared.console import say
from qpkit.errors import ConfigError, OutputError, listed
from qpkit.files import replace_file
from qpkit.predictions import read_predictions
from qpkit.workflows.inputs.label_maps import read_label_map
from qpkit.workflows.inputs.settings import SlideSettings
from qpkit.workflows.inputs.slides import project_classes, slide_inputs
from qpkit.workflows.pages.picture import PictureSettings, draw_picture


def command(
    path: Path = typer.Argument(..., metavar="SLIDE|PROJECT", help="Slide file, or project with --entry."),
    out: Path = typer.Option(..., "-o", "--out", help="PNG to write."),
    *,
    settings: PictureSettings,
    slides: SlideSettings,
    predictions: Path | None = typer.Option(None, metavar="DIR", help="Folder that qpkit predict made."),
    annotations: Path | None = typer.Option(None, help="GeoJSON with the annotations of a SLIDE."),
    labels: Path | None = typer.Option(None, help="labels.toml: what is drawn, and in which colours."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace a picture that is there."),
) -> None:
    """Draw a place of a slide: predictions as a tint, annotations as outlines, with scale bar and legend."""
    if out.suffix.lower() != ".png":
        raise ConfigError(f"{out}: the picture is a PNG; its name has to end in .png")
    if out.exists() and not overwrite:
        raise OutputError(f"{out}: is there already; choose another name or pass --overwrite")
    inputs = slide_inputs([path], slides, annotations=annotations)
    if len(inputs) != 1:
        names = listed(repr(item.source.name) for item in inputs)
        raise ConfigError(f"{path}: has {len(inputs)} images; name one with --entry (there are {names})")
    made = draw_picture(
        inputs[0],
        settings,
        predictions=None if predictions is None else read_predictions(predictions),
        labels=None if labels is None else read_label_map(labels),
        classes=tuple(project_classes([path])),
    )
    replace_file(out, made)
    say(f"picture: {out}")
