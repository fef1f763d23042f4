"""qpkit export-model: a run's best model as one ONNX file, checked against torch, or as other programs want it."""

from __future__ import annotations

import time
from dataclasses import replace
from enum import Enum
from pathlib import Path

import typer

from qpkit.cli.shared.console import say, say_all, took
from qpkit.errors import ConfigError
from qpkit.extras import extra
from qpkit.qupath.classifiers.settings import ClassifierSettings

with extra("train"):
    from qpkit_train.publishing.settings import PublishSettings


class Program(Enum):
    """Whose files a model can be written as."""

    QUPATH = "qupath"
    BIOIMAGEIO = "bioimageio"
    HUGGINGFACE = "huggingface"


def command(
    run: Path = typer.Argument(..., help="Run folder that qpkit train made."),
    project: Path | None = typer.Argument(None, help="With --for qupath: the project that gets the classifier."),
    out: Path | None = typer.Option(
        None,
        "-o",
        "--out",
        help="ONNX file to write; with --for bioimageio a zip, with --for huggingface a folder. qpkit predict takes "
        "the first and the last instead of the run.",
    ),
    program: Program | None = typer.Option(
        None,
        "--for",
        help="qupath: write a pixel classifier into PROJECT, which QuPath runs without Python; bioimageio: a package "
        "of bioimage.io; huggingface: a folder for huggingface.co.",
    ),
    *,
    settings: ClassifierSettings,
    publish: PublishSettings,
) -> None:
    """Write a run's best model as one ONNX file, checked against torch; to predict with it needs no torch.

    With --for qupath PROJECT it becomes a pixel classifier of that project, checked against OpenCV as QuPath runs it;
    with --for bioimageio or huggingface a package that others find and run, with a model card.
    """
    start = time.perf_counter()
    _check(program, project, out, settings, publish)
    if program is Program.QUPATH and project is not None:
        _for_qupath(run, project, settings, start)
    elif program is Program.BIOIMAGEIO and out is not None:
        _for_bioimageio(run, out, publish, start)
    elif program is Program.HUGGINGFACE and out is not None:
        _for_huggingface(run, out, publish, start, overwrite=settings.overwrite)
    elif out is not None:
        _as_onnx(run, out, start)


def _check(
    program: Program | None,
    project: Path | None,
    out: Path | None,
    settings: ClassifierSettings,
    publish: PublishSettings,
) -> None:
    """Refuse what does not go together.

    Raises:
        ConfigError: It does not; the message says what does.
    """
    if program is Program.QUPATH and (project is None or out is not None):
        raise ConfigError(
            "--for qupath goes with a project and without -o: qpkit export-model RUN --for qupath PROJECT"
        )
    if program is not Program.QUPATH and project is not None:
        raise ConfigError("a project goes with --for qupath")
    of_folder = replace(settings, overwrite=False) if program is Program.HUGGINGFACE else settings
    if program is not Program.QUPATH and of_folder != ClassifierSettings():
        raise ConfigError("--name, --input-px and --padding go with --for qupath, --overwrite also with huggingface")
    if program in (None, Program.QUPATH) and publish != PublishSettings():
        raise ConfigError("--license, --author and --title go with --for bioimageio or huggingface")
    if program is None and out is None:
        raise ConfigError("say -o model.onnx for one ONNX file, or --for qupath PROJECT for a pixel classifier")
    if out is None and program is not Program.QUPATH and program is not None:
        raise ConfigError(f"--for {program.value} needs -o: say where the package goes")


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


def _for_bioimageio(run: Path, out: Path, publish: PublishSettings, start: float) -> None:
    from qpkit.api.export_model import export_bioimageio

    if out.suffix.lower() != ".zip":
        raise ConfigError(f"{out}: a package of bioimage.io is a zip; its name has to end in .zip")
    report = export_bioimageio(run, out, publish)
    say_all("note: ", report.notes)
    say(
        f"run {report.run}: {report.megabytes:g} MB in {out}, accepted by bioimageio.spec; probabilities differ from "
        f"torch's by at most {report.difference:.1e} ({took(start)})"
    )


def _for_huggingface(run: Path, out: Path, publish: PublishSettings, start: float, *, overwrite: bool) -> None:
    from qpkit.api.export_model import export_hugging_face

    report = export_hugging_face(run, out, publish, overwrite=overwrite)
    say_all("note: ", report.notes)
    say(f"run {report.run}: {report.megabytes:g} MB of weights in {out}; look through its README.md ({took(start)})")
