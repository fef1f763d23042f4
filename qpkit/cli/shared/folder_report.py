"""What an import of a folder of images and masks came to, as tables."""

from __future__ import annotations

from qpkit.cli.shared.console import say, say_all, table
from qpkit.workflows.folders.report import FolderReport

_MOST_ROWS = 20


def show_folder(report: FolderReport) -> None:
    """Print what was paired, what masks mean, the splits and the notes."""
    say(f"paired: {report.paired}")
    shown = report.pictures[:_MOST_ROWS]
    more = f", first {_MOST_ROWS} of {len(report.pictures):,}" if len(report.pictures) > _MOST_ROWS else ""
    mpp = "um/px unknown" if report.mpp is None else f"{report.mpp:.4g} um/px"
    rows = [(item.name, item.split, item.width, item.height, item.tiles, item.objects) for item in shown]
    columns = ("image", "split", "width", "height", "tiles", "objects")
    has_objects = any(item.objects for item in report.pictures)
    table(
        f"Images, tiles of {report.tile_size} px at {mpp}{more}",
        columns if has_objects else columns[:-1],
        rows if has_objects else [row[:-1] for row in rows],
    )
    labels = report.labels
    values = [
        (value, labels.name_of(value), sum(item.pixels.get(value, 0) for item in report.pictures))
        for value in labels.values
    ]
    table("Mask pixels", ("value", "class", "px"), values)
    splits = [(name, c["groups"], c["tiles"], c["positive"]) for name, c in report.splits.items()]
    table("Splits", ("split", "groups", "tiles", "with a class"), splits)
    say_all("note: ", report.notes)
