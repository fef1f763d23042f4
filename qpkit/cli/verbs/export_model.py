"""qpkit export-model: a run's best model as one ONNX file, checked against torch, or as QuPath's pixel classifier."""

from __future__ import annotations

import time
from enum import Enum
from pathlib import Path

import typer

from qpkit.cli.shared.console import say, say_all, took
from qpkit.errors import ConfigError
from qpkit.extras import extra
from qpkit.qupath.classifiers.settings import ClassifierSettings


class Program(Enum):
    """Whose files a model can be written as."""

    QUPATH = "qupath"


def command(
    run: Path = typer.Argument(..., help="Run folder that qpkit train made."),
    project: Path | None = typer.Argument(None, help="With --for qupath: the project that gets the classifier."),
    out: Path | None = typer.Option(
        None, "-o", "--out", help="ONNX file to write; qpkit predict takes it instead of the run."
    ),
    program: Program | None = typer.Option(
        None, "--for", help="qupath: write a pixel classifier into PROJECT, which QuPath runs without Python."
    ),
    *,
    settings: ClassifierSettings,
) -> None:
    """Write a run's best model as one ONNX file, checked against torch; to predict with it needs no torch.

    With --for qupath PROJECT it becomes a pixel classifier of that project, checked against OpenCV as QuPath runs it.
    """
    start = time.perf_counter()
    if program is not None:
        if project is None or out is not None:
            raise ConfigError(
                "--for qupath goes with a project and without -o: qpkit export-model RUN --for qupath PROJECT"
            )
        _for_qupath(run, project, settings, start)
        return
    if project is not None or settings != ClassifierSettings():
        raise ConfigError("a project, --name, --input-px, --padding and --overwrite go with --for qupath")
    if out is None:
        raise ConfigError("say -o model.onnx for one ONNX file, or --for qupath PROJECT for a pixel classifier")
    _as_onnx(run, out, start)


def _as_onnx(run: Path, out: Path, start: float) -> None:
    with extra("train"):
        from qpkit_train.inference.running.onnx_export import export_onnx

    if out.suffix.lower() != ".onnx":
        raise ConfigError(f"{out}: the model is ONNX; its name has to end in .onnx")
    report = export_onnx(run, out)
    say(
        f"run {report.run}: {report.megabytes:g} MB in {out}; probabilities differ from torch's by at most "
        f"{report.difference:.1e} ({took(start)})"
    )


def _for_qupath(run: Path, project: Path, settings: ClassifierSettings, start: float) -> None:
    from qpkit.api.export_model import export_pixel_classifier

    report = export_pixel_classifier(run, project, settings)
    say_all("note: ", report.notes)
    say(f"in QuPath {report.qupath} or later, with the project open:")
    say(
        f"1. once after each start: Automate > Project scripts > {report.script.stem}, Run (not with its DJL extension)"
    )
    say(f"2. Classify > Pixel classification > Load pixel classifier > {report.name}")
    say(
        f"run {report.run}: {', '.join(report.classes)} at {report.pixel_size}, {report.megabytes:g} MB; probabilities "
        f"differ from ONNX Runtime's by at most {report.difference:.1e} in OpenCV {report.opencv}; "
        f"{'was there already: ' if report.unchanged else ''}{report.json} ({took(start)})"
    )
