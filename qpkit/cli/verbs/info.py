"""qpkit info: what a project, slide, .qpdata, GeoJSON, tiles, run, predictions folder or .onnx model holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from qpkit.cli.shared.console import table
from qpkit.extras import extra

if TYPE_CHECKING:
    from qpkit.workflows.info import Info


def command(
    path: Path = typer.Argument(..., help="Project, slide, .qpdata, GeoJSON, tiles, run, .onnx model or predictions."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Show what a path holds."""
    import msgspec

    from qpkit.workflows.info import describe

    info = _model(path) if path.suffix.lower() == ".onnx" else describe(path)
    if as_json:
        typer.echo(msgspec.json.encode({"kind": info.kind, **info.facts, "rows": info.rows}).decode())
        return
    table(info.kind, ("", ""), [(name, _text(value)) for name, value in info.facts.items()])
    if info.rows:
        table("", tuple(info.rows[0]), [tuple(map(_text, row.values())) for row in info.rows])


def _text(value: Any) -> Any:
    """As people read it: 640 x 480, Tumor 3, Patient=A."""
    if isinstance(value, tuple):
        return " x ".join(map(str, value))
    if isinstance(value, dict):
        parts = [f"{key} {part:,}" if isinstance(part, int) else f"{key}={part}" for key, part in value.items()]
        return ", ".join(parts) or "-"
    return ", ".join(value) if isinstance(value, list) else value


def _model(path: Path) -> Info:
    """What an exported model says of itself."""
    from qpkit.workflows.info import Info

    with extra("train"):
        from qpkit_train.inference.running.onnx_model import OnnxModel

    card = OnnxModel(path).card
    facts: dict[str, Any] = {
        "file": str(path),
        "run": card.run,
        "recipe": card.name,
        "um/px": card.mpp,
        "downsample": card.downsample,
    }
    if len(card.factors) > 1:
        facts["surroundings"] = [f"{factor} times" for factor in card.factors[1:]]
    rows = [{"channel": i, "class": card.labels.name_of(v)} for i, v in enumerate(card.labels.trained_values)]
    return Info(kind="model", facts=facts, rows=rows)
