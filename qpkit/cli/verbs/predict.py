"""qpkit predict: a label raster (and one of probabilities) per slide, GeoTIFFs that QuPath opens."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from qpkit.api.predict import predict, predict_into_project
from qpkit.cli.shared.console import BROKEN, progress, say, say_all, table, took
from qpkit.cli.shared.imports import show_imports
from qpkit.cli.shared.points import answer_points, require_alone
from qpkit.cli.shared.stamps import warn_of_stamps
from qpkit.cluster import parse_shard
from qpkit.errors import ConfigError, FormatError, about, listed
from qpkit.extras import extra
from qpkit.files import require_free
from qpkit.predictions.store import INFO_NAME
from qpkit.qupath import open_project
from qpkit.settings import fields_of
from qpkit.workflows.imports.as_they_come import ImportedSlides
from qpkit.workflows.imports.settings import ImportSettings
from qpkit.workflows.inputs.paths import is_project
from qpkit.workflows.inputs.settings import SlideSettings

if TYPE_CHECKING:
    from qpkit_train.inference.predicted import PredictedSlide
    from qpkit_train.inference.report import PredictReport

with extra("train"):
    from qpkit_train.inference.prompts.settings import PromptSettings
    from qpkit_train.inference.settings import PredictSettings, parse_devices
    from qpkit_train.publishing.hub import local_model


def command(
    run: Path = typer.Argument(
        ...,
        help="Run folder of qpkit train, .onnx file or folder of qpkit export-model, hf:OWNER/NAME on huggingface.co, "
        "or .toml file about another ONNX model; "
        "with --prompts also sam:FOLDER.",
    ),
    paths: list[Path] = typer.Argument(..., metavar="PROJECT|SLIDE...", help="QuPath projects or slide files."),
    out: Path = typer.Option(..., "-o", "--out", help="Folder to make."),
    *,
    settings: PredictSettings,
    slides: SlideSettings,
    imports: ImportSettings,
    prompting: PromptSettings,
    prompts: bool = typer.Option(
        False, "--prompts", help="Turn the points of PROJECT into objects of what they point at (docs/prompts.md)."
    ),
    into_project: bool = typer.Option(
        False, "--import", help="Put the predictions into the one PROJECT, too, each slide as soon as it is whole."
    ),
    shard: str | None = typer.Option(None, help="3/20: do the 3rd of 20 parts, for array jobs; the last one finishes."),
    devices: str | None = typer.Option(
        None, help="0,1: a process on each of these GPUs (cpu,cpu: two on the CPU), which take slides in turn."
    ),
    scheduler: str | None = typer.Option(None, help="Do the slides on a Dask cluster, such as tcp://node1:8786."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace predictions that are there."),
) -> None:
    """Predict whole slides with a trained model.

    A slide that cannot be read is left out, a tile that cannot be read is background; both are named, and the exit code
    is 2. If the process is killed, the same command goes on where it was; run several times at once, it shares the
    slides.
    """
    start = time.perf_counter()
    part = parse_shard(shard) if shard else None
    on_devices = parse_devices(devices) if devices else ()
    if not prompts and prompting != PromptSettings():
        raise ConfigError("settings of points, such as --prompt-largest, go with --prompts")
    if not into_project and imports != ImportSettings():
        raise ConfigError("settings of an import, such as --min-area-um2, go with --import")
    if into_project:
        _check_import(paths, imports, part)
    if prompts:
        asked = (("--shard", part), ("--devices", devices), ("--scheduler", scheduler), *_told_of(settings))
        require_alone([(option, bool(value)) for option, value in asked])
        how_to_import = imports if into_project else None
        answer_points(run, paths, out, prompting, slides=slides, imports=how_to_import, overwrite=overwrite)
        return
    if scheduler and (part or devices):
        raise ConfigError("--scheduler shares out the slides; leave out --shard and --devices")
    # Before torch, whose import takes seconds; a part of an array job may find the others done.
    if part is None:
        require_free(out, marker=INFO_NAME, overwrite=overwrite)
    run = local_model(run)
    if not run.exists():
        raise FormatError(f"{run}: there is no such run folder, .onnx or .toml file")
    with progress("predict") as update:
        how: dict[str, Any] = {
            "slides": slides,
            "devices": on_devices,
            "scheduler": scheduler,
            "overwrite": overwrite,
            "on_progress": update,
        }
        if into_project:
            report, imported = predict_into_project(run, paths[0], out, settings, imports, **how)
        else:
            report, imported = predict(run, paths, out, settings, shard=part, **how), None
    _show(report, out, start)
    if imported is not None:
        _show_imported(imported, paths[0], out, start)
    if report.is_partial:
        raise typer.Exit(BROKEN)


def _told_of(settings: PredictSettings) -> Iterator[tuple[str, bool]]:
    """The options of predictions of whole slides, and whether they were said."""
    for field in fields_of(PredictSettings):
        yield field.option, getattr(settings, field.name) != field.default


def _check_import(paths: Sequence[Path], imports: ImportSettings, part: tuple[int, int] | None) -> None:
    """Refuse what an import cannot do, and say what it will change."""
    if len(paths) != 1 or not is_project(paths[0]):
        raise ConfigError("--import goes with exactly one QuPath project")
    if part is not None or imports.dry_run or imports.gzip:
        raise ConfigError("--shard, --dry-run and --gzip do not go with --import; use qpkit import-predictions later")
    warn_of_stamps(open_project(paths[0]))


def _show_imported(imported: ImportedSlides, project: Path, out: Path, start: float) -> None:
    if imported.reports:
        show_imports(imported.reports, project, start)
        say(f"the last slide was in the project {imported.seconds_after:.1f} s after its rasters were whole")
    if imported.failed:
        names = listed(name for name, _ in imported.failed)
        say_all("not imported: ", (about(name, reason) for name, reason in imported.failed))
        raise ConfigError(f"not in the project: {names}; try again with: qpkit import-predictions {out} {project}")


def _show(report: PredictReport, out: Path, start: float) -> None:
    rows = []
    for slide in report.slides:
        pixels = ", ".join(f"{name} {count:,}" for name, count in slide.pixels.items())
        rows.append((slide.name, slide.tiles, slide.predicted, pixels, slide.mm2_per_second, slide.seconds))
        say_all(f"note: {slide.name}: ", slide.notes)
        say_all(f"note: {slide.name}: ", _on_interruption_and_faults(slide))
        say_all(f"{slide.name}: ", _measures(slide))
    if rows:
        table(f"Run {report.run}", ("slide", "tiles", "with tissue", "pixels", "mm2/s", "s"), rows)
    if report.thresholds:
        limits = ", ".join(f"{name} {limit:g}" for name, limit in report.thresholds.items())
        say(f"background below these probabilities: {limits}")
    say_all("note: ", report.notes)
    for name, reason in report.skipped:
        say(f"skipped {about(name, reason)}")
    busy = f"{took(start)}, device busy {report.device_busy:.0%}"
    if report.missing:
        done = report.total - report.missing
        say(f"{done} of {report.total} slides are done; whichever process does the last one makes {out} ({busy})")
    else:
        say(f"predictions on {report.device}, {report.precision}, in {out} ({busy})")


def _on_interruption_and_faults(slide: PredictedSlide) -> Iterator[str]:
    if slide.kept:
        yield f"{slide.kept} of {slide.predicted} tiles had been predicted before the interruption, and were kept"
    if slide.broken:
        first = next(iter(slide.broken.values()))
        places = listed(slide.broken, joint="; ")
        yield f"BROKEN: {len(slide.broken)} tile(s) cannot be read and are background: at {places} ({first})"


def _measures(slide: PredictedSlide) -> Iterator[str]:
    if (speed := slide.speed) is not None:
        area = "" if speed.mm2_per_second is None else f", {speed.mm2_per_second:.3g} mm2/s"
        yield (
            f"{speed.slowest} held the others up (device busy {speed.device_busy_in_loop:.0%} of the loop, "
            f"{speed.device_busy:.0%} of the slide); {speed.tiles_per_second:.3g} tiles/s, "
            f"{speed.megapixels_per_second:.3g} Mpx/s{area}; {speed.readers} reading thread(s)"
        )
    if (distance := slide.distance) is not None:
        theirs = "" if distance.training is None else ", theirs {:.1f} to {:.1f}".format(*distance.training)
        y, farthest = max(distance.stripes.items(), key=lambda stripe: stripe[1])
        yield (
            f"distance from the training slides {distance.slide:.1f}{theirs}; of the farthest stripe {farthest:.1f} "
            f"(at y = {y:,})"
        )
    if slide.uncertainty:
        yield "uncertainty, of 1: " + ", ".join(f"mean {name} {mean:.3f}" for name, mean in slide.uncertainty.items())
    if (seams := slide.seams) is not None:
        yield (
            f"probabilities jump by {seams.at_borders:.4f} at the borders of tiles, by {seams.elsewhere:.4f} elsewhere"
        )
