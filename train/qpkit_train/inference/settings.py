"""How slides are predicted. Knows no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from qpkit.errors import ConfigError
from qpkit.settings import Flag, Range, Settings
from qpkit_train.inference.pixels.blend import Blend
from qpkit_train.inference.running.together import LOOKS, Tta
from qpkit_train.inference.thresholds import Thresholds, parse_thresholds
from qpkit_train.models.card import Calibrate


def parse_runs(texts: Sequence[str]) -> tuple[Path, ...]:
    """Read the further models of `qpkit predict --with`."""
    return tuple(Path(text) for text in texts)


def parse_devices(text: str) -> tuple[str, ...]:
    """Read "0,1" or "cpu,cpu": the numbers of GPUs, or cpu or mps, one for each process.

    Raises:
        ConfigError: Anything else.
    """
    names = tuple(part.strip() for part in text.split(","))
    if not all(name.isdecimal() or name in ("cpu", "mps") for name in names):
        raise ConfigError(f"--devices {text!r}: has to be numbers of GPUs such as 0,1, or cpu or mps, one a process")
    return names


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictSettings(Settings):
    """How slides are predicted.

    Args:
        probabilities: Write a raster of probabilities beside each one of labels, too.
        uncertainty: Write a raster of how unsure the model is, too: the entropy of its probabilities and, where there
            are several looks (--with, --tta), their spread.
        ome_zarr: Write the labels once more as OME-Zarr 0.5, in a folder for each slide.
        halo_px: Tile px read around each tile so that the model sees its surroundings; rounded up to a multiple of 32.
        tile_px: Tile px that the model is sure of at a time; rounded up to a multiple of 32.
        batch_size: Tiles at a time; 2 if left out, 8 on a GPU.
        only_tissue: Leave glass at the background's value, or predict everything.
        within: Predict only inside annotations of this class or name (* and ? stand for any text), or inside those of a
            GeoJSON file; all else is labelled ignore.
        thresholds: Background where a class is less probable than this; natural undoes what the sampler showed too
            often, validated had the highest Dice on the validation tiles.
        blend: What becomes of the halo: crop throws it away; linear and gaussian take the mean of all tiles that saw a
            pixel, with weights that fall towards the edges of each.
        tta: Test-time augmentation: the mean over mirrored tiles (flips, 4 times the work), or turned ones, too (d4, 8
            times).
        calibrate: Estimate the statistics of batch normalisation anew on each slide, for slides that look otherwise
            than the training's. Only for run folders.
        compile: Run the network through torch.compile: slow to start, then faster on most GPUs; probabilities may
            differ in the last digit. Only for run folders, and not with calibrate.
        others: Run folder, .onnx or .toml file of a further model with the same classes and um/px; the mean of the
            models' probabilities counts (repeatable).
        readers: Threads that read tiles; found while predicting if left out. The result does not depend on it.
    """

    probabilities: bool = False
    uncertainty: bool = False
    ome_zarr: bool = False
    halo_px: Annotated[int, Flag(name="--halo"), Range(at_least=0)] = 128
    tile_px: Annotated[int, Flag(name="--tile-size"), Range(at_least=1)] = 768
    batch_size: Annotated[int | None, Range(at_least=1)] = None
    only_tissue: Annotated[bool, Flag(name="--only-tissue/--everything")] = True
    within: Annotated[str | None, Flag(metavar="CLASS|NAME|GEOJSON")] = None
    thresholds: Annotated[
        Thresholds | None,
        Flag(name="--threshold", parse=parse_thresholds, many=True, metavar="CLASS=PROBABILITY|natural|validated"),
    ] = None
    blend: Blend = "crop"
    tta: Tta = "none"
    calibrate: Calibrate = "none"
    compile: bool = False
    others: Annotated[tuple[Path, ...], Flag(name="--with", parse=parse_runs, many=True, metavar="RUN")] = ()
    readers: Annotated[int | None, Range(at_least=1)] = None

    @property
    def looks(self) -> int:
        """How often each pixel is predicted: models times turns."""
        return (1 + len(self.others)) * len(LOOKS[self.tta])

    def faults(self) -> Iterator[str]:
        """Name what does not go together."""
        if self.blend != "crop" and self.halo_px > self.tile_px:
            yield f"--blend {self.blend}: --halo {self.halo_px} has to be at most --tile-size {self.tile_px}"
        if self.blend != "crop" and not self.halo_px:
            yield f"--blend {self.blend}: needs a --halo, over which tiles overlap"
        if self.compile and self.calibrate != "none":
            yield f"--compile: not with --calibrate {self.calibrate}, which changes the network for each slide"
