"""What a clustering looks like: its loss, its patches, and where they lie among each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qpkit.errors import MissingExtraError
from qpkit.ops.projection import neighbour_plane, principal_plane
from qpkit.report.figures.clusters import draw_clusters, loss_curve
from qpkit.report.figures.tile_map import draw_tile_map

_MOST_DOTS: Final = 3000


def loss_picture(losses: Sequence[float], *, what: str) -> bytes:
    """The loss of each epoch, as the content of a PNG file."""
    return loss_curve(losses, what=what)


def latent_pictures(z: NDArray[np.float32], clusters: Sequence[int], names: Sequence[str], *, seed: int) -> bytes:
    """Patches as dots, alike ones beside each other, coloured by cluster and by slide; at most 3,000 of them.

    Args:
        z: (n, latent).
        clusters, names: Of each.
        seed: Of the choice.

    Returns:
        A PNG file: by t-SNE, or where scikit-learn is not installed by the first two principal components.
    """
    chosen = np.sort(np.random.default_rng((seed, 4)).permutation(len(z))[:_MOST_DOTS])
    points = z[chosen].astype(np.float64)
    try:
        places, axes = neighbour_plane(points), ("t-SNE 1", "t-SNE 2")
    except MissingExtraError:
        places, fractions = principal_plane(points)
        axes = (f"component 1 ({fractions[0]:.0%})", f"component 2 ({fractions[1]:.0%})")
    groups = {"cluster": [f"Proposed: {clusters[n]}" for n in chosen], "slide": [names[n] for n in chosen]}
    return draw_tile_map(places, groups, axes=axes)


def samples_picture(
    patches: NDArray[np.uint8], clusters: Sequence[int], *, each: int, decoded: NDArray[np.uint8] | None = None
) -> bytes:
    """A row for each cluster: what its mean is decoded to, and some of its patches.

    Args:
        patches: (n, h, w, 3).
        clusters: Of each, from 1.
        each: So many, the first ones spread over all.
        decoded: (k, h, w, 3), or None.
    """
    numbers = np.array(clusters)
    rows = {}
    for cluster in np.unique(numbers).tolist():
        own = np.flatnonzero(numbers == cluster)
        some = own[np.linspace(0, len(own) - 1, min(each, len(own))).astype(np.int64)]
        mean = [] if decoded is None else [decoded[cluster - 1]]
        rows[f"Proposed: {cluster} ({len(own):,})"] = [*mean, *patches[some]]
    return draw_clusters(rows, first="decoded mean" if decoded is not None else "")
