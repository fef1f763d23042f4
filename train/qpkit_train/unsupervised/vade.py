"""VaDE: a variational autoencoder whose prior is a mixture of Gaussians, one for each cluster.

    patch x ─► encoder ─► mean, log variance of q(z|x) ─► z ─► decoder ─► patch
                                                          │
                          mixture: pi, mu, log sigma^2 ───┴─► p(c|z), the cluster

The loss is the negative evidence lower bound of Jiang et al. 2017 (arXiv 1611.05148, equation 10): the squared error of
the patch (a Gaussian likelihood up to a constant) and the divergence of q(z, c|x) = q(z|x) p(c|z) from the mixture.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor, nn

from qpkit_train.unsupervised.settings import VadeSettings

_CHANNELS: Final = (3, 32, 64, 128, 128)
"""Of the convolutional variant, from the patch to the deepest features."""


class Mixture(nn.Module):
    """A mixture of Gaussians with diagonal covariances, all of it learned.

    Args:
        clusters: Components.
        latent: Numbers that describe a patch.

    Attributes:
        logits: (k,), whose softmax is pi.
        means: (k, latent).
        log_variances: (k, latent).
    """

    def __init__(self, clusters: int, latent: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(clusters))
        self.means = nn.Parameter(torch.zeros(clusters, latent))
        self.log_variances = nn.Parameter(torch.zeros(clusters, latent))

    def log_joint(self, z: Tensor) -> Tensor:
        """(n, latent) to (n, k): log p(z, c)."""
        scaled = (z.unsqueeze(1) - self.means).square() * torch.exp(-self.log_variances)
        density = -0.5 * (math.log(2 * math.pi) + self.log_variances + scaled).sum(dim=-1)
        return torch.log_softmax(self.logits, dim=0) + density

    def responsibilities(self, z: Tensor) -> Tensor:
        """(n, latent) to (n, k): p(c|z), which sum to 1."""
        return torch.softmax(self.log_joint(z), dim=1)

    def divergence(self, mean: Tensor, log_variance: Tensor, clusters: Tensor) -> Tensor:
        """Kullback-Leibler divergence of q(z, c) = N(z; mean, variance) clusters(c) from the mixture, exactly.

        Args:
            mean, log_variance: (n, latent) of q(z).
            clusters: (n, k) of q(c), which sum to 1.

        Returns:
            (n,) nats.
        """
        apart = (mean.unsqueeze(1) - self.means).square() + torch.exp(log_variance).unsqueeze(1)
        crossed = 0.5 * (self.log_variances + apart * torch.exp(-self.log_variances)).sum(dim=-1)
        least = torch.finfo(clusters.dtype).tiny
        chosen = torch.log(clusters.clamp(min=least)) - torch.log_softmax(self.logits, dim=0)
        return (clusters * (crossed + chosen)).sum(dim=1) - 0.5 * (1 + log_variance).sum(dim=1)


class Vade(nn.Module):
    """The autoencoder and its mixture.

    Args:
        clusters: Components of the mixture.
        settings: Sizes and the variant.
    """

    def __init__(self, clusters: int, settings: VadeSettings) -> None:
        super().__init__()
        self.side_px = settings.side_px
        dense = settings.variant == "dense"
        self.encoder, width = _dense_encoder(settings) if dense else _convolutional_encoder(settings)
        self.mean = nn.Linear(width, settings.latent)
        self.log_variance = nn.Linear(width, settings.latent)
        self.decoder = _dense_decoder(settings) if dense else _convolutional_decoder(settings)
        self.mixture = Mixture(clusters, settings.latent)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(n, 3, side, side) in -1..1 to the mean and log variance of q(z|x), (n, latent) float32 each."""
        features = self.encoder(images).float()
        # bfloat16 would round descriptions to 1/256 of their size.
        with torch.autocast(images.device.type, enabled=False):
            return self.mean(features), self.log_variance(features)

    def decode(self, z: Tensor) -> Tensor:
        """(n, latent) to (n, 3, side, side) float32 in -1..1."""
        images: Tensor = self.decoder(z).float()
        return images.view(len(z), 3, self.side_px, self.side_px)

    def loss(self, images: Tensor, noise: Tensor, weight: float) -> tuple[Tensor, Tensor]:
        """The two parts of the negative lower bound, for each patch.

        Args:
            images: (n, 3, side, side) in -1..1.
            noise: (n, latent), normally distributed: which z is drawn of q(z|x).
            weight: Of the squared error.

        Returns:
            (n,) weighed squared error, -log p(x|z) but for a constant; (n,) divergence in nats. As published, q(c|x) is
            p(c|z) of the z that was drawn.
        """
        mean, log_variance = self.encode(images)
        z = mean + noise * torch.exp(0.5 * log_variance)
        wrong = squared_error(self.decode(z), images)
        return weight * wrong, self.mixture.divergence(mean, log_variance, self.mixture.responsibilities(z))


def squared_error(found: Tensor, images: Tensor) -> Tensor:
    """(n,): the squared error summed over the values of a patch, which is 12,288 x MSE at 64 x 64 px."""
    return (found - images).square().flatten(1).sum(dim=1)


def as_images(patches: Tensor) -> Tensor:
    """(n, side, side, 3) uint8 to (n, 3, side, side) float32 in -1..1."""
    return patches.movedim(-1, 1).float() / 127.5 - 1


def as_patches(images: Tensor) -> Tensor:
    """What `as_images` undoes: (n, 3, side, side) in -1..1 to (n, side, side, 3) uint8."""
    return ((images + 1) * 127.5).round().clamp(0, 255).byte().movedim(1, -1)


def _dense_encoder(settings: VadeSettings) -> tuple[nn.Module, int]:
    values, hidden = 3 * settings.side_px**2, settings.hidden
    return nn.Sequential(
        nn.Flatten(), nn.Linear(values, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()
    ), hidden  # fmt: skip


def _dense_decoder(settings: VadeSettings) -> nn.Module:
    values, hidden = 3 * settings.side_px**2, settings.hidden
    return nn.Sequential(
        nn.Linear(settings.latent, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, values),
        nn.Tanh(),
    )  # fmt: skip


def _convolutional_encoder(settings: VadeSettings) -> tuple[nn.Module, int]:
    parts: list[nn.Module] = []
    for channels, out in pairwise(_CHANNELS):
        parts += [nn.Conv2d(channels, out, 4, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*parts, nn.Flatten()), _CHANNELS[-1] * (settings.side_px // 16) ** 2


def _convolutional_decoder(settings: VadeSettings) -> nn.Module:
    side, turned = settings.side_px // 16, _CHANNELS[::-1]
    parts: list[nn.Module] = [nn.Linear(settings.latent, turned[0] * side**2), nn.Unflatten(1, (turned[0], side, side))]
    for channels, out in pairwise(turned):
        parts += [nn.ReLU(), nn.ConvTranspose2d(channels, out, 4, stride=2, padding=1)]
    return nn.Sequential(*parts, nn.Tanh())
