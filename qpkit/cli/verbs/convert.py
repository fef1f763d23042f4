"""qpkit convert."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from qpkit.cli.shared.console import progress, say, table
from qpkit.errors import ConfigError

if TYPE_CHECKING:
    from qpkit.workflows.convert.convert import ConvertReport

_SEGMENTATIONS = ("auto", "polygon", "rle")


def command(
    source: Path | None = typer.Argument(None, metavar="A", help="File of any format, or a QuPath project."),
    target: Path | None = typer.Argument(None, metavar="B", help="File, folder (for several images) or project."),
    source_format: str | None = typer.Option(None, "--from", metavar="NAME", help="Format of A, if not clear."),
    target_format: str | None = typer.Option(None, "--to", metavar="NAME", help="Format of B, if not clear."),
    image: Path | None = typer.Option(None, help="The slide: size, um/px, and the place on the glass (NDPA)."),
    mpp: float | None = typer.Option(None, help="um per px of the slide."),
    size: str | None = typer.Option(None, metavar="WxH", help="Size of the slide in px."),
    offset_nm: str | None = typer.Option(None, metavar="X,Y", help="NDPA: the image's centre from the glass's, nm."),
    offset: str | None = typer.Option(None, metavar="X,Y", help="Label image: its corner in slide px."),
    downsample: float | None = typer.Option(None, help="Label image: slide px per px."),
    labels: Path | None = typer.Option(
        None, help="What a label image's values mean: labels.toml, CSV, TSV or tiger-codes."
    ),
    entry: list[str] = typer.Option([], help="Only this entry of the project (name or id; repeatable)."),
    segmentation: str = typer.Option("auto", help="COCO: auto, polygon or rle."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace files that are there (never .qpdata)."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
    show_list: bool = typer.Option(False, "--list", help="Show the formats and what each cannot hold."),
) -> None:
    """Convert annotations between QuPath and other programs' formats; lists what the target cannot hold."""
    if show_list:
        _list()
        return
    if source is None or target is None:
        raise typer.BadParameter("A and B are needed (or --list)")
    if segmentation not in _SEGMENTATIONS:
        raise ConfigError(f"--segmentation {segmentation!r}: has to be one of {', '.join(_SEGMENTATIONS)}")
    from qpkit.workflows.convert.convert import ConvertSettings, convert

    settings = ConvertSettings(
        source_format=source_format,
        target_format=target_format,
        image=image,
        mpp=mpp,
        size=_size(size),
        centre_nm=_pair(offset_nm, "--offset-nm"),
        offset=_pair(offset, "--offset"),
        downsample=downsample,
        labels=labels,
        entries=tuple(entry),
        segmentation="polygon" if segmentation == "polygon" else "rle" if segmentation == "rle" else "auto",
        overwrite=overwrite,
    )
    with progress("convert") as update:
        report = convert(source, target, settings, on_progress=update)
    _show(report, as_json=as_json)


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)[x,](\d+)", text)
    if match is None:
        raise ConfigError(f"--size {text!r}: has to be WIDTHxHEIGHT in px, like 40000x30000")
    return int(match[1]), int(match[2])


def _pair(text: str | None, option: str) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError as err:
        raise ConfigError(f"{option} {text!r}: has to be X,Y") from err
    return x, y


def _show(report: ConvertReport, *, as_json: bool) -> None:
    if as_json:
        import msgspec

        typer.echo(msgspec.json.encode(report.to_builtins()).decode())
        return
    rows = [
        (i.image, ", ".join(f"{name} {count:,}" for name, count in sorted(i.objects.items())) or "none", i.target)
        for i in report.images
    ]
    table(f"Converted {report.source_format} to {report.target_format}", ("image", "objects", "to"), rows)
    for text, count in report.notes.items():
        say(f"read: {text}: {count:,}")
    for text, count in report.losses.items():
        say(f"lost: {text}: {count:,}")


def _list() -> None:
    from qpkit.workflows.convert.qupath import ALL_FORMATS, PROJECT, PROJECT_LACKS

    rows = [(PROJECT, "QuPath project", ".qpproj, folder", ", ".join(PROJECT_LACKS))]
    rows += [(f.name, f.title, " ".join(f.suffixes), ", ".join(f.lacks) or "-") for f in ALL_FORMATS]
    table("Formats (all are read and written)", ("name", "format", "files", "cannot hold, or changes"), rows)
