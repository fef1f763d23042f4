"""Train a network that gives tiles the staining of another laboratory or scanner, of which nothing is annotated.

Two networks play against each other: one restains tiles, one tells restained tiles from pictures of the target (on
patches, least squares: Isola et al. 2017, Mao et al. 2017). What the first one changes costs it as much as the
structure suffers: 1 - SSIM of the grey levels (Wang et al. 2004), so that a mask still fits its tile.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from qpkit.dataset import TileSet, read_tile_set
from qpkit.dataset.manifest import INFO_NAME, TABLE_NAME
from qpkit.errors import ConfigError
from qpkit.files import new_folder, sha256
from qpkit.progress import OnProgress, no_progress
from qpkit.report.figures.contact_sheet import contact_sheet
from qpkit_train.appearance import look_of
from qpkit_train.augment.stainings import statistics
from qpkit_train.augment.style_network import WEIGHTS_NAME, StyleNetwork, save_style
from qpkit_train.augment.style_sources import pictures_in
from qpkit_train.luma import LUMA
from qpkit_train.machine.devices import pick_device
from qpkit_train.style_settings import DEFAULT_STYLE, StyleSettings

PICTURE_NAME: Final = "style.png"
_MOST: Final = 400
"""Tiles, and pictures of the target, that are kept in memory."""

_SHOWN: Final = 5
_WINDOW: Final = 11
_SIGMA: Final = 1.5
_C1, _C2 = 0.01**2, 0.03**2
"""Window and constants of SSIM, as Wang et al. have them for values in 0..1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StyleReport:
    """What came out.

    Args:
        out: The folder.
        tiles, targets: Pictures that were used on either side.
        before, after: Distance of the mean colour of tissue to that of the target, in CIE Lab (2 is just visible).
        ssim: Of grey levels before and after, mean; 1 is the same structure.
    """

    out: Path
    tiles: int
    targets: int
    before: float
    after: float
    ssim: float


def train_style(
    tiles: Path, target: Path, out: Path, settings: StyleSettings = DEFAULT_STYLE, *, overwrite: bool = False,
    on_progress: OnProgress = no_progress,
) -> StyleReport:  # fmt: skip
    """Train a network for `augment.style_way = "network"`; nothing is left if it is interrupted.

    Args:
        tiles: Folder of tiles, of which those for training are restained.
        target: Folder of tiles, or of PNG, JPEG or TIFF pictures, at about the same um/px.
        out: Folder to make: the network, and a picture of tiles before and after.
        settings: How.
        overwrite: Replace what an earlier call made.
        on_progress: Called with (steps done, steps, text).

    Raises:
        ConfigError: A side has no picture with tissue, or a picture cannot be read.
        FormatError: The tiles are gone or damaged.
        OutputError: `out` is taken or cannot be written.
    """
    with new_folder(out, marker=WEIGHTS_NAME, overwrite=overwrite) as folder:
        own, other = (
            _pictures(path, settings.crop_px, train=number == 0) for number, path in enumerate((tiles, target))
        )
        rng, device = np.random.default_rng(settings.seed), pick_device()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            network, judge = StyleNetwork(settings.width).to(device), _judge().to(device)
        optimizers = [
            torch.optim.Adam(part.parameters(), lr=settings.lr, betas=(0.5, 0.99)) for part in (network, judge)
        ]
        batches = zip(_crops(own, settings, rng), _crops(other, settings, rng), strict=True)
        for step, (images, targets) in enumerate(itertools.islice(batches, settings.steps), start=1):
            told = _step(images.to(device), targets.to(device), network, judge, optimizers, settings.structure)
            on_progress(step, settings.steps, told)
        report = _measured(network.cpu().eval(), own, other, out, rng, settings, folder)
        facts = {
            "tiles": str(tiles), "target": str(target), "settings": asdict(settings),
            "before": report.before, "after": report.after, "ssim": report.ssim,
            "tiles_sha256": sha256(tiles / TABLE_NAME),
        }  # fmt: skip
        save_style(network, folder / WEIGHTS_NAME, facts)
    return report


def _pictures(path: Path, side: int, *, train: bool) -> list[NDArray[np.uint8]]:
    """Up to 400 pictures with tissue, at least `side` px wide and high."""
    if train or (path / INFO_NAME).is_file():
        found: Iterator[NDArray[np.uint8]] = _of_tiles(read_tile_set(path), train=train)
    else:
        found = pictures_in(path, side)
    kept = list(itertools.islice((pixels for pixels in found if look_of(pixels) is not None), _MOST))
    if not kept:
        raise ConfigError(f"{path}: no picture shows tissue, so there is no staining to learn")
    if min(kept[0].shape[:2]) < side:
        raise ConfigError(f"{path}: its tiles have {min(kept[0].shape[:2])} px, less than --crop-px {side}")
    return kept


def _of_tiles(tiles: TileSet, *, train: bool) -> Iterator[NDArray[np.uint8]]:
    """Tiles, evenly out of all of them."""
    records = tiles.of_split("train") if train else tiles.tiles
    step = max(1, len(records) // (4 * _MOST))
    return (tiles.read_image(tile) for tile in records[::step])


def _crops(
    pictures: Sequence[NDArray[np.uint8]], settings: StyleSettings, rng: np.random.Generator
) -> Iterator[Tensor]:
    """Batches of random crops, (n, 3, side, side) in 0..1, mirrored and turned."""
    side = settings.crop_px
    while True:
        crops: list[NDArray[np.uint8]] = []
        while len(crops) < settings.batch_size:
            pixels = pictures[int(rng.integers(len(pictures)))]
            top, left = (int(rng.integers(length - side + 1)) for length in pixels.shape[:2])
            crop = np.rot90(pixels[top : top + side, left : left + side], int(rng.integers(4)))
            crops.append(crop[::-1] if rng.integers(2) else crop)
        yield torch.from_numpy(np.stack(crops)).movedim(-1, 1).float() / 255


def _judge() -> nn.Sequential:
    """Says of patches of 22 px how much they look like the target: about 1 if they do, 0 if not."""
    layers: list[nn.Module] = []
    for before, after in ((3, 32), (32, 64)):
        layers += [
            nn.utils.parametrizations.spectral_norm(nn.Conv2d(before, after, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.2),
        ]
    layers.append(nn.Conv2d(64, 1, 4, padding=1))
    return nn.Sequential(*layers)


def _step(
    images: Tensor, targets: Tensor, network: nn.Module, judge: nn.Module, optimizers: Sequence[torch.optim.Optimizer],
    structure: float,
) -> str:  # fmt: skip
    """One step of either network; gives what to say of it."""
    made = network(images)
    judge.requires_grad_(False)
    likeness, kept = (judge(made) - 1).square().mean(), ssim(images, made).mean()
    optimizers[0].zero_grad()
    (likeness + structure * (1 - kept)).backward()
    optimizers[0].step()
    judge.requires_grad_(True)
    doubt = (judge(targets) - 1).square().mean() + judge(made.detach()).square().mean()
    optimizers[1].zero_grad()
    doubt.backward()
    optimizers[1].step()
    return f"likeness {1 - float(likeness.detach()) ** 0.5:.2f}, SSIM {float(kept.detach()):.3f}"


def ssim(one: Tensor, other: Tensor) -> Tensor:
    """Structural similarity of the grey levels of pictures in 0..1. Wang et al. 2004.

    Args:
        one, other: (n, 3, h, w), at least 11 px wide and high.

    Returns:
        (n,), the mean over all whole windows; 1 for the same pictures.
    """
    weights = torch.tensor(LUMA, dtype=one.dtype, device=one.device).view(1, 3, 1, 1)
    a, b = ((part * weights).sum(dim=1, keepdim=True) for part in (one, other))
    places = torch.arange(_WINDOW, dtype=one.dtype, device=one.device) - _WINDOW // 2
    line = torch.exp(-0.5 * (places / _SIGMA) ** 2)
    line = line / line.sum()

    def blurred(values: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(values, line.view(1, 1, 1, -1)), line.view(1, 1, -1, 1))

    mean_a, mean_b = blurred(a), blurred(b)
    variances = blurred(a * a) - mean_a**2 + blurred(b * b) - mean_b**2
    together = blurred(a * b) - mean_a * mean_b
    found = (2 * mean_a * mean_b + _C1) * (2 * together + _C2) / ((mean_a**2 + mean_b**2 + _C1) * (variances + _C2))
    return found.mean(dim=(1, 2, 3))


def _measured(
    network: StyleNetwork, own: Sequence[NDArray[np.uint8]], other: Sequence[NDArray[np.uint8]], out: Path,
    rng: np.random.Generator, settings: StyleSettings, folder: Path,
) -> StyleReport:  # fmt: skip
    """Compare crops before and after with those of the target, and draw some."""
    images, targets = (
        torch.cat(list(itertools.islice(_crops(pictures, settings, rng), 8))) for pictures in (own, other)
    )
    with torch.no_grad():
        made = network(images)
    means = [statistics(pictures)[0].nanmean(dim=0) for pictures in (images, made, targets)]
    rows = (images[:_SHOWN], made[:_SHOWN], targets[:_SHOWN])
    shown = [_bytes_of(picture) for row in rows for picture in row]
    titles = [title for title in ("tile", "restained", "of the target") for _ in range(len(images[:_SHOWN]))]
    (folder / PICTURE_NAME).write_bytes(contact_sheet(shown, titles))
    return StyleReport(
        out=out,
        tiles=len(own),
        targets=len(other),
        before=round(float((means[0] - means[2]).norm()), 2),
        after=round(float((means[1] - means[2]).norm()), 2),
        ssim=round(float(ssim(images, made).mean()), 4),
    )


def _bytes_of(picture: Tensor) -> Any:
    return (picture.movedim(0, -1) * 255).round().to(torch.uint8).numpy()
