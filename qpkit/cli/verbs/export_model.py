"""qpkit export-model: a run's best model as one ONNX file, checked against torch."""

from __future__ import annotations

import time
from pathlib import Path

import typer

from qpkit.cli.shared.console import say, took
from qpkit.errors import ConfigError
from qpkit.extras import extra


def command(
    run: Path = typer.Argument(..., help="Run folder that qpkit train made."),
    out: Path = typer.Option(..., "-o", "--out", help="ONNX file to write; qpkit predict takes it instead of the run."),
) -> None:
    """Write a run's best model as one ONNX file, checked against torch; to predict with it needs no torch."""
    with extra("train"):
        from qpkit_train.inference.running.onnx_export import export_onnx

    start = time.perf_counter()
    if out.suffix.lower() != ".onnx":
        raise ConfigError(f"{out}: the model is ONNX; its name has to end in .onnx")
    report = export_onnx(run, out)
    say(
        f"run {report.run}: {report.megabytes:g} MB in {out}; probabilities differ from torch's by at most "
        f"{report.difference:.1e} ({took(start)})"
    )
