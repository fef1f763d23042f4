"""What a model card says of a run: what it does, on what it was trained, how well it did, what it is not for.

Everything is taken from run.json; what a run does not know (who scanned and labelled what) is named as missing.
"""

from __future__ import annotations

from typing import Any

from qpkit_train.publishing.anonymous import publishable
from qpkit_train.publishing.settings import PublishSettings
from qpkit_train.run_folder.run import Run


def title_of(run: Run, settings: PublishSettings) -> str:
    """What the model is called."""
    return settings.title or (run.id if run.id.startswith(run.recipe.name) else f"{run.recipe.name} {run.id}")


def scale_of(run: Run) -> str:
    """At which resolution the model sees tissue, in words."""
    if run.mpp is not None:
        return f"{run.mpp:g} um/px"
    return "several resolutions" if run.downsample is None else f"downsample {run.downsample:g} of the slides"


def summary_of(run: Run) -> str:
    """One sentence."""
    names = ", ".join(item.name for item in run.labels.classes if item.value in run.labels.trained_values)
    return f"Semantic segmentation of histology slides at {scale_of(run)}: {names}."


def first_weights_of(run: Run) -> str:
    """What the encoder began with; files and runs are not named, as their names may tell of patients."""
    said = run.recipe.model.encoder_weights
    return said if said == publishable(said) else "of a file or run that is not named here"


def card_body(run: Run, settings: PublishSettings, how_to_run: str, *, first_weights: str) -> str:
    """Write the card in Markdown, without front matter.

    Args:
        run: The run, anonymous.
        settings: What people said.
        how_to_run: The section about running it, in Markdown.
        first_weights: As `first_weights_of` says of the run that is not anonymous.
    """
    sections = (
        (f"# {title_of(run, settings)}", summary_of(run)),
        ("## Input and output", _input_and_output(run)),
        ("## How to run it", how_to_run),
        ("## Intended use", _USE),
        ("## Training data", _data(run, first_weights)),
        ("## Validation", _metrics(run)),
        ("## Licence and authors", _rights(settings)),
    )
    return "\n\n".join(part for section in sections for part in section) + "\n"


_USE = (
    "Research on slides like those of the training: the same stain, tissue and scanner. Not a medical device, not "
    "tested for any diagnosis. Look at predictions before you count them; on other scanners or stains, evaluate first."
)


def channels_of(run: Run) -> list[str]:
    """The names of the output's channels, in order."""
    return [run.labels.name_of(value) for value in run.labels.trained_values]


def _input_and_output(run: Run) -> str:
    rows = [
        f"| {channel} | {name} | {value} |"
        for channel, (name, value) in enumerate(zip(channels_of(run), run.labels.trained_values, strict=True))
    ]
    head = (
        f"RGB at {scale_of(run)}; one channel a class:\n\n| channel | class | value in label rasters |\n|---|---|---|\n"
    )
    return head + "\n".join(rows)


def _data(run: Run, first_weights: str) -> str:
    tiles = run.file.tiles
    lines = [
        f"- {tiles.get('train', 'unknown')} tiles for training and {tiles.get('val', 'unknown')} for validation, of "
        f"{run.file.tile_size_px} px; table with SHA-256 `{tiles.get('sha256', 'unknown')}`",
        f"- recipe `{run.recipe.name}`: {run.recipe.model.architecture}, encoder {run.recipe.model.encoder}, first "
        f"weights {first_weights}; {run.file.epochs} epochs, seed {run.recipe.seed}",
        "- where the slides come from, who labelled them and how patients were split is not recorded in a run: add it",
    ]
    return "\n".join(lines)


def _metrics(run: Run) -> str:
    metrics = run.file.metrics
    on = run.file.tiles.get("validated_on", "val")
    head = (
        f"On the tiles of the split `{on}`, by which epoch {run.file.best_epoch} was chosen, pixel by pixel; so they "
        "are no estimate for new patients (`qpkit evaluate` on held-out slides gives that).\n\n"
        "| class | Dice | IoU | precision | recall |\n|---|---|---|---|---|\n"
    )
    names = ("dice", "iou", "precision", "recall")
    rows = [
        "| " + " | ".join([str(item["name"]), *(_number(item.get(name)) for name in names)]) + " |"
        for item in metrics.get("classes", [])
    ]
    return head + "\n".join([*rows, f"\nMean Dice without background: {_number(metrics.get('mean_dice'))}."])


def _number(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float | int) else "none"


def _rights(settings: PublishSettings) -> str:
    licence = settings.license or "not stated: nobody may use the model until its authors say so"
    return f"- licence: {licence}\n- authors: {', '.join(settings.authors) or 'not stated'}"
