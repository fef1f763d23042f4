"""From one staining to another: pictures get the colours of other pictures, in batches, on their device.

Each way looks at pictures and at those whose staining they get, and gives what changes them; the same change fits
pictures of the same place at another scale. Glass stays glass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

Change = Callable[[Tensor], Tensor]
"""What is done to (n, 3, h, w) in 0..1."""

_TISSUE: Final = 0.15
"""Optical density (to the base 10, the largest of three) from which a pixel is tissue, as Macenko et al. have it."""

_FEW: Final = 1e-4
"""Of a picture that is tissue: with less there is no staining to be seen."""

_LOW: Final = 0.01
"""Of the side: frequencies up to this are style. Yang and Soatto 2020, where 0.01 to 0.09 was tried."""

_PERCENT: Final = 0.01
"""Of the pixels, beyond which angles and densities are outliers; Macenko et al. 2009."""

_STEP: Final = 2
"""Stains are found in every second row and column."""

_XYZ: Final = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE: Final = (0.950456, 1.0, 1.088754)
"""sRGB's primaries and D65's white, as CIE has them."""


def reinhard(images: Tensor, targets: Tensor, strength: Tensor) -> Change:
    """Give tissue the mean and deviation of other tissue, in CIE Lab. Reinhard et al. 2001.

    Args:
        images: (n, 3, h, w) in 0..1.
        targets: (n, 3, any, any) in 0..1.
        strength: (n,) in 0..1: 0 changes nothing, 1 gives all of it.
    """
    return towards(images, *statistics(targets), strength)


def towards(images: Tensor, means: Tensor, deviations: Tensor, strength: Tensor) -> Change:
    """Give tissue means and deviations in CIE Lab, (n, 3) each."""
    own_means, own_deviations = statistics(images)
    part = strength.view(-1, 1)
    # Without tissue on either side nothing is known.
    part = part * (own_deviations.isfinite() & deviations.isfinite()).all(dim=1, keepdim=True)
    means, own_means = means.nan_to_num(), own_means.nan_to_num()
    factor = 1 + part * (deviations.nan_to_num(1) / own_deviations.nan_to_num(1).clamp(min=1e-2) - 1)
    shift = own_means + part * (means - own_means)

    def change(pictures: Tensor) -> Tensor:
        lab = to_lab(pictures)
        made = (lab - _wide(own_means)) * _wide(factor) + _wide(shift)
        return torch.lerp(pictures, to_rgb(made), _tissue(pictures) * (part > 0).view(-1, 1, 1, 1))

    return change


def statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of the tissue of (n, 3, h, w) in CIE Lab, (n, 3) each; NaN without any."""
    weight = _tissue(images)
    total = weight.sum(dim=(2, 3))
    total = torch.where(total < _FEW * images[0, 0].numel(), torch.nan, total)
    lab = to_lab(images)
    mean = (lab * weight).sum(dim=(2, 3)) / total
    variance = ((lab - _wide(mean)).square() * weight).sum(dim=(2, 3)) / total
    return mean, variance.sqrt()


def macenko(images: Tensor, targets: Tensor, strength: Tensor) -> Change:
    """Give the two stains the colours and densities of those of other tissue. Macenko et al. 2009.

    What is neither stain stays as it is.

    Args:
        images, targets, strength: As for `reinhard`.
    """
    own, own_most = stains(images)
    other, other_most = stains(targets)
    known = (own.isfinite().all(dim=(1, 2)) & other.isfinite().all(dim=(1, 2))).float()
    part = (strength * known).view(-1, 1, 1)
    own, other = own.nan_to_num(1), other.nan_to_num(1)
    ratio = torch.where(known.view(-1, 1) > 0, other_most / own_most.clamp(min=1e-3), 1.0)
    factor = (1 + part.squeeze(-1) * (ratio - 1)).unsqueeze(1)
    # Of what is there in the own stains, so much more or less is there in the others'.
    difference = torch.lerp(own, other, part) * factor - own
    matrix = difference @ torch.linalg.pinv(own)

    def change(pictures: Tensor) -> Tensor:
        density = _density(pictures)
        more = torch.einsum("nij,njhw->nihw", matrix, density)
        return (10 ** -(density + more)).clamp(0, 1)

    return change


def stains(images: Tensor) -> tuple[Tensor, Tensor]:
    """Find the two stains of pictures.

    Args:
        images: (n, 3, h, w) in 0..1.

    Returns:
        (n, 3, 2) unit vectors of optical density, the one with more red first (haematoxylin), and (n, 2) how much of
        each a pixel has that has much; NaN where too little tissue is seen.
    """
    found = [_stains_of(picture) for picture in _density(images[..., ::_STEP, ::_STEP]).flatten(2)]
    return torch.stack([vectors for vectors, _ in found]), torch.stack([most for _, most in found])


def _stains_of(density: Tensor) -> tuple[Tensor, Tensor]:
    """Of (3, pixels) optical density."""
    tissue = density[:, density.amax(dim=0) > _TISSUE]
    if tissue.shape[1] < max(16, _FEW * density.shape[1]):
        return torch.full((3, 2), torch.nan).to(density), torch.full((2,), torch.nan).to(density)
    _, axes = torch.linalg.eigh(torch.cov(tissue))
    plane = axes[:, 1:].flip(1)
    # Optical density is positive: so is the main axis, and turning it round the other one changes nothing.
    plane = plane * torch.where(plane.sum(dim=0) < 0, -1.0, 1.0)
    along, beside = plane.T @ tissue
    angles = torch.atan2(beside, along)
    ends = torch.quantile(angles, torch.tensor([_PERCENT, 1 - _PERCENT]).to(angles))
    vectors = (plane @ torch.stack([ends.cos(), ends.sin()])).clamp(min=0)
    vectors = vectors / vectors.norm(dim=0).clamp(min=1e-6)
    vectors = vectors[:, torch.argsort(vectors[0], descending=True)]
    most = torch.quantile(torch.linalg.pinv(vectors) @ tissue, 1 - _PERCENT, dim=1)
    return vectors, most.clamp(min=1e-3)


def fourier(images: Tensor, targets: Tensor, strength: Tensor) -> Change:
    """Give pictures the amplitudes of the lowest frequencies of other ones; phases stay. Yang and Soatto 2020.

    Args:
        images, targets, strength: As for `reinhard`.
    """
    part = strength.view(-1, 1, 1, 1)

    def change(pictures: Tensor) -> Tensor:
        height, width = pictures.shape[-2:]
        others = torch.nn.functional.interpolate(targets, (height, width), mode="area")
        own, other = torch.fft.rfft2(pictures), torch.fft.rfft2(others)
        down = (torch.fft.fftfreq(height) * height).abs() <= max(1, int(_LOW * height))
        across = torch.fft.rfftfreq(width) * width <= max(1, int(_LOW * width))
        low = (down[:, None] & across).to(pictures.device)
        amplitude = torch.lerp(own.abs(), other.abs(), part.expand_as(other.abs()))
        mixed = torch.where(low, torch.polar(amplitude, own.angle()), own)
        made: Tensor = torch.fft.irfft2(mixed, s=(height, width)).clamp(0, 1)
        return made

    return change


def to_lab(images: Tensor) -> Tensor:
    """(n, 3, h, w) sRGB in 0..1 to CIE Lab."""
    linear = torch.where(images > 0.04045, ((images + 0.055) / 1.055).clamp(min=0) ** 2.4, images / 12.92)
    parts = torch.einsum("ij,njhw->nihw", _like(_XYZ, images), linear) / _wide(_like(_WHITE, images)[None])
    bent = torch.where(parts > 0.008856, parts.clamp(min=1e-6) ** (1 / 3), 7.787 * parts + 16 / 116)
    a, b, c = bent.unbind(dim=1)
    return torch.stack([116 * b - 16, 500 * (a - b), 200 * (b - c)], dim=1)


def to_rgb(lab: Tensor) -> Tensor:
    """CIE Lab to sRGB, what is no colour of it clipped to 0..1."""
    light, a, b = lab.unbind(dim=1)
    middle = (light + 16) / 116
    parts = torch.stack([middle + a / 500, middle, middle - b / 200], dim=1)
    cubes = torch.where(parts > 0.206893, parts**3, (parts - 16 / 116) / 7.787) * _wide(_like(_WHITE, lab)[None])
    linear = torch.einsum("ij,njhw->nihw", torch.linalg.inv(_like(_XYZ, lab)), cubes)
    bent = 1.055 * linear.clamp(min=1e-6) ** (1 / 2.4) - 0.055
    return torch.where(linear > 0.0031308, bent, 12.92 * linear).clamp(0, 1)


def _density(images: Tensor) -> Tensor:
    """Optical density; 1 of 255 levels stands for black."""
    return -torch.log10(images.clamp(min=1 / 255))


def _tissue(images: Tensor) -> Tensor:
    """(n, 1, h, w): 1 where there is tissue, 0 where there is none, and between the two where it is thin."""
    return (_density(images).amax(dim=1, keepdim=True) / _TISSUE * 2 - 1).clamp(0, 1)


def _wide(values: Tensor) -> Tensor:
    """(n, 3) as (n, 3, 1, 1)."""
    return values[..., None, None]


def _like(values: object, images: Tensor) -> Tensor:
    return torch.tensor(values, dtype=images.dtype, device=images.device)
