"""Train VaDE on patches: autoencoder first, then k-means and its mixture, then everything together.

A mixture can lose its components: all responsibilities go to one, and what is left is a plain variational
autoencoder. As the authors do, the autoencoder learns first, so that the mixture starts among descriptions that mean
something; the first clusters are those of k-means on the principal components of the raw pixels, and a component starts
with the mean and the variance of its members' descriptions. The squared error is summed over a patch and not averaged,
so that it outweighs the divergence: with the mean (reconstruction = 1/12,288) descriptions fade, and the divergence of
500 patches of breast tissue fell from 17 to 3 nats in 15 epochs. Nothing more is done; `VadeFit.in_use` counts what is
left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qpkit.errors import ConfigError
from qpkit.progress import OnProgress, Ticker, no_progress
from qpkit_train.machine.devices import choose_precision
from qpkit_train.machine.seeding import seeded
from qpkit_train.unsupervised.kmeans import kmeans
from qpkit_train.unsupervised.samples import (
    check_clusters,
    check_not_alike,
    clusters_in_use,
    content_order,
    principal_components,
    resized,
)
from qpkit_train.unsupervised.settings import DEFAULT_VADE, VadeSettings
from qpkit_train.unsupervised.vade import Vade, as_images, as_patches, squared_error

_BATCH: Final = 256
"""Patches that are encoded at once."""

_NARROW: Final = 0.01
"""Variance of q(z|x) at the beginning, of the variance of all descriptions."""

_LEAST_VARIANCE: Final = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class VadeLoss:
    """The mean loss of an epoch, by patch.

    Args:
        total: Negative lower bound in nats, but for a constant; of an epoch of the autoencoder, the reconstruction.
        reconstruction: Weighed squared error.
        divergence: From the mixture, in nats.
    """

    total: float
    reconstruction: float
    divergence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class VadeFit:
    """What came out.

    Args:
        model: On the device, in eval mode.
        responsibilities: (n, k) float32, p(c|z) at the mean of q(z|x); rows sum to 1.
        z: (n, latent) float32, means of q(z|x).
        pretraining: Of each epoch of the autoencoder.
        losses: Of each epoch of the whole.
        learned_from: Patches of the sample.
    """

    model: Vade
    responsibilities: NDArray[np.float32]
    z: NDArray[np.float32]
    pretraining: tuple[VadeLoss, ...]
    losses: tuple[VadeLoss, ...]
    learned_from: int

    @property
    def labels(self) -> NDArray[np.int64]:
        """(n,) clusters from 0: the most probable ones."""
        return np.asarray(self.responsibilities.argmax(axis=1), np.int64)

    @property
    def in_use(self) -> int:
        """Clusters that at least 1 % of the patches are in."""
        return clusters_in_use(self.responsibilities)

    def decode(self) -> NDArray[np.uint8]:
        """What the mean of each component looks like: (k, side_px, side_px, 3) RGB."""
        with torch.inference_mode():
            return as_patches(self.model.decode(self.model.mixture.means)).cpu().numpy()


def fit_vade(
    patches: NDArray[np.uint8], *, clusters: int, settings: VadeSettings = DEFAULT_VADE, seed: int,
    device: torch.device, on_progress: OnProgress = no_progress,
) -> VadeFit:  # fmt: skip
    """Train on patches and assign each to clusters.

    The large layers work in bfloat16 where the device multiplies it. The same patches and seed give the same bits on
    such a CPU with as many threads, in whatever order patches come: they are sorted by their content first
    (`content_order`). If there are more than `settings.most_patches`, that order's first
    are the sample that is learned from.

    Args:
        patches: (n, h, w, 3) RGB; they stay bytes, in memory as they come and once more at side_px.
        clusters: Components of the mixture.
        settings: How.
        seed: Of the sample, weights, k-means, batches and the noise of z.
        device: To train on.
        on_progress: Called with (epochs done, epochs, text).

    Raises:
        ConfigError: Fewer patches than clusters, fewer than 2 clusters, all patches are the same, or the loss is no
            number any more.
    """
    check_clusters(len(patches), clusters)
    check_not_alike(patches)
    order = content_order(patches, seed=seed)
    sample = resized(patches[order[: settings.most_patches]], settings.side_px)
    check_not_alike(sample, what="sampled patches")
    tick = Ticker(settings.pretrain_epochs + settings.epochs, on_progress)
    with seeded(seed, 0, device):
        training = _Training(Vade(clusters, settings).to(device), sample, settings, seed, tick)
        pretraining = training.run(settings.pretrain_epochs, whole=False)
        training.start_mixture(
            kmeans(principal_components(sample, settings.components, seed=seed), clusters, seed=seed)
        )
        losses = training.run(settings.epochs, whole=True)
    model = training.model.eval()
    z = np.empty((len(patches), settings.latent), np.float32)
    z[order] = describe(model, patches[order])
    return VadeFit(
        model=model,
        responsibilities=_responsibilities(model, z),
        z=z,
        pretraining=pretraining,
        losses=losses,
        learned_from=len(sample),
    )


def describe(model: Vade, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Means of q(z|x) of patches, seen before or not.

    Args:
        model: Of a fit.
        patches: (n, h, w, 3) RGB.

    Returns:
        (n, latent).
    """
    found = [np.empty((0, model.mean.out_features), np.float32)]
    for start in range(0, len(patches), _BATCH):
        found.append(_encoded(model, resized(patches[start : start + _BATCH], model.side_px))[0])
    return np.concatenate(found)


def responsibilities(model: Vade, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
    """p(c|z) of patches, seen before or not: (n, h, w, 3) RGB to (n, k), rows sum to 1."""
    return _responsibilities(model, describe(model, patches))


def _responsibilities(model: Vade, z: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.inference_mode():
        device = model.mean.weight.device
        places = torch.from_numpy(z).to(device)
        return model.mixture.responsibilities(places).cpu().numpy()


def _encoded(model: Vade, patches: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and log variance of q(z|x) of a batch at side_px."""
    with torch.inference_mode():
        mean, log_variance = model.encode(as_images(torch.from_numpy(patches).to(model.mean.weight.device)))
        return mean.cpu().numpy(), log_variance.cpu().numpy()


class _Training:
    """A network, its optimizer and the sample."""

    def __init__(self, model: Vade, sample: NDArray[np.uint8], settings: VadeSettings, seed: int, tick: Ticker) -> None:
        self.model, self._sample, self._settings, self._tick = model, sample, settings, tick
        self._device = model.mean.weight.device
        self._short = choose_precision("auto", self._device.type) == "bf16-mixed"
        self._rng = np.random.default_rng((seed, 3))
        self._adam = self._optimizer()

    def run(self, epochs: int, *, whole: bool) -> tuple[VadeLoss, ...]:
        """Train for some epochs, as an autoencoder or with the whole loss."""
        found = []
        for epoch in range(epochs):
            loss = self._epoch(whole)
            stage = "lower bound" if whole else "autoencoder"
            if not math.isfinite(loss.total):
                raise ConfigError(f"VaDE: the loss became {loss.total} in epoch {epoch + 1} ({stage}); lower the lr")
            found.append(loss)
            self._tick(f"VaDE, {stage}: epoch {epoch + 1}/{epochs} loss {loss.total:.1f}")
        return tuple(found)

    def start_mixture(self, labels: NDArray[np.int64]) -> None:
        """Give each component the fraction, mean and variance of the descriptions of its members.

        The variance of q(z|x) becomes 1 % of that of all descriptions, whatever the patch; a component without members
        starts as all patches together. The optimizer forgets the autoencoder's steps.
        """
        with torch.no_grad():
            z = torch.from_numpy(self._described()).double()
            narrow = _NARROW * z.var(dim=0, correction=0) + _LEAST_VARIANCE
            self.model.log_variance.weight.zero_()
            self.model.log_variance.bias.copy_(narrow.log().float())
            for number in range(len(self.model.mixture.logits)):
                members = z[torch.from_numpy(labels == number)]
                near = members if len(members) else z
                self.model.mixture.logits[number] = math.log(len(members) + 1)
                self.model.mixture.means[number] = near.mean(dim=0).float()
                self.model.mixture.log_variances[number] = (near.var(dim=0, correction=0) + narrow).log().float()
        self._adam = self._optimizer()

    def _optimizer(self) -> torch.optim.Adam:
        fused = self._device.type in ("cpu", "cuda")
        return torch.optim.Adam(self.model.parameters(), lr=self._settings.lr, fused=fused)

    def _described(self) -> NDArray[np.float32]:
        starts = range(0, len(self._sample), _BATCH)
        return np.concatenate([_encoded(self.model, self._sample[start : start + _BATCH])[0] for start in starts])

    def _epoch(self, whole: bool) -> VadeLoss:
        order = self._rng.permutation(len(self._sample))
        size = self._settings.batch_size
        sums = torch.zeros(2, dtype=torch.float64)
        for start in range(0, len(order), size):
            chosen = self._sample[np.sort(order[start : start + size])]
            images = as_images(torch.from_numpy(chosen).to(self._device))
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._short):
                wrong, divergence = self._parts(images, whole)
            self._adam.zero_grad()
            (wrong + divergence).mean().backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
            self._adam.step()
            sums += torch.stack([wrong.detach().sum(), divergence.detach().sum()]).cpu().double()
        reconstruction, divergence_mean = (sums / len(order)).tolist()
        return VadeLoss(
            total=reconstruction + divergence_mean, reconstruction=reconstruction, divergence=divergence_mean
        )

    def _parts(self, images: Tensor, whole: bool) -> tuple[Tensor, Tensor]:
        if whole:
            noise = torch.randn(len(images), self._settings.latent, device=self._device)
            return self.model.loss(images, noise, self._settings.reconstruction)
        wrong = squared_error(self.model.decode(self.model.encode(images)[0]), images)
        return self._settings.reconstruction * wrong, torch.zeros_like(wrong)
