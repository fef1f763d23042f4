"""Where patches lie among each other, as a picture; what else a clustering looks like is in qpkit.report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qpkit.errors import MissingExtraError
from qpkit.ops.projection import neighbour_plane, principal_plane
from qpkit.report.figures.tile_map import draw_tile_map

_MOST_DOTS: Final = 2000
"""t-SNE takes seconds for so many, minutes for all."""


def latent_picture(z: NDArray[np.float32], clusters: Sequence[str], slides: Sequence[str], *, seed: int) -> bytes:
    """Draw patches as dots, alike ones beside each other, coloured by cluster and by slide; at most 2,000 of them.

    Args:
        z: (n, latent).
        clusters, slides: Names, of each.
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
    groups = {"cluster": [clusters[n] for n in chosen], "slide": [slides[n] for n in chosen]}
    return draw_tile_map(places, groups, axes=axes)
