"""UnSeGArmaNet: patches, joined where they look alike, are divided so that most edges lie inside of clusters.

    features of patches ─► ARMA ─► ReLU ─► linear ─► ReLU ─► linear ─► softmax ─► memberships C
    edges ─────────────────┘                                                        │
        └──────────────────────────────── modularity loss ◄──────────────────────────┘

Reddy et al. 2024 (BMVC, "UnSeGArmaNet"): one graph is learned at a time, with all of its nodes in every step, and the
memberships after the last step are the answer.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qpkit.errors import ConfigError
from qpkit.progress import OnProgress, Ticker, no_progress
from qpkit_train.machine.seeding import seeded
from qpkit_train.unsupervised.arma import ArmaConv
from qpkit_train.unsupervised.modularity import modularity_loss, modularity_of
from qpkit_train.unsupervised.patch_graph import PatchGraph, join_alike, join_patches
from qpkit_train.unsupervised.samples import check_clusters, check_not_alike, clusters_in_use
from qpkit_train.unsupervised.settings import DEFAULT_GRAPH, GraphSettings


class UnSeGArmaNet(nn.Module):
    """An ARMA layer and two linear ones.

    Args:
        channels: Of the features.
        clusters: How many.
        settings: Sizes.
    """

    def __init__(self, channels: int, clusters: int, settings: GraphSettings) -> None:
        super().__init__()
        self.arma = ArmaConv(
            channels, settings.channels, stacks=settings.stacks, layers=settings.layers, dropout=settings.dropout
        )
        self.hidden = nn.Linear(settings.channels, settings.hidden)
        self.clusters = nn.Linear(settings.hidden, clusters)

    def forward(self, features: Tensor, normalized: Tensor) -> Tensor:
        """(n, channels) and (n, n) sparse D^-1/2 A D^-1/2 to (n, clusters), rows of which sum to 1."""
        found = torch.relu(self.hidden(torch.relu(self.arma(features, normalized))))
        return torch.softmax(self.clusters(found), dim=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphFit:
    """What came out.

    Args:
        model: On the device, in eval mode.
        memberships: (n, k) float32; rows sum to 1.
        losses: Of each step.
        edges: Pairs of patches that are joined.
        pairs: Pairs that were near enough to be compared. If nearly all of them are joined, the edges say nothing of
            what patches look like, only where they lie: the similarity is too low for these features.
        similarity: Cosine that edges exceed.
        alone: Patches that are joined with none; their own features decide.
        modularity: Of the most probable clusters: 0 as a random division, at most 1.
    """

    model: UnSeGArmaNet
    memberships: NDArray[np.float32]
    losses: tuple[float, ...]
    edges: int
    pairs: int
    similarity: float
    alone: int
    modularity: float

    @property
    def labels(self) -> NDArray[np.int64]:
        """(n,) clusters from 0: the most probable ones."""
        return np.asarray(self.memberships.argmax(axis=1), np.int64)

    @property
    def in_use(self) -> int:
        """Clusters that at least 1 % of the patches are in."""
        return clusters_in_use(self.memberships)


def fit_graph(
    features: NDArray[np.float32], centres: NDArray[Any], slides: NDArray[Any], *,
    clusters: int, settings: GraphSettings = DEFAULT_GRAPH, seed: int, device: torch.device,
    on_progress: OnProgress = no_progress,
) -> GraphFit:  # fmt: skip
    """Divide patches of one or many slides.

    Patches are sorted by slide and place first, so patches that come in another order get the same memberships, bit for
    bit on a CPU with as many threads, as long as no two of a slide have the same centre.

    Args:
        features: (n, d).
        centres: (n, 2) x, y in px of the level that patches were taken from.
        slides: (n,) number of the slide that each patch is from; clusters are the same for all.
        clusters: How many.
        settings: How.
        seed: Of the weights and of dropout.
        device: To train on; where it is MPS, which has no sparse products, the CPU is taken.
        on_progress: Called with (steps done, steps, text).

    Raises:
        ConfigError: Fewer patches than clusters, fewer than 2 clusters, all features are the same, no two patches are
            joined, or the loss is no number any more.
    """
    check_clusters(len(features), clusters)
    check_not_alike(features, what="features of patches")
    order = np.lexsort((centres[:, 0], centres[:, 1], slides))
    ordered = _seen(features[order], settings)
    graph = _joined(ordered, centres[order], slides[order], settings)
    fit = _fit(ordered, graph, clusters, settings, settings.epochs, seed, device, on_progress)
    memberships = np.empty_like(fit.memberships)
    memberships[order] = fit.memberships
    return dataclasses.replace(fit, memberships=memberships)


def assigned(
    model: UnSeGArmaNet, features: NDArray[np.float32], centres: NDArray[Any], slides: NDArray[Any], *,
    settings: GraphSettings = DEFAULT_GRAPH,
) -> NDArray[np.float32]:  # fmt: skip
    """Memberships of patches by a network that has learned, of slides seen before or not.

    Args:
        model: Of a fit.
        features, centres, slides: As of `fit_graph`.
        settings: Those of the fit: they say which patches are joined. The mean that `centre` takes off, and the
            similarity that `join_fraction` comes to, are those of these patches.

    Returns:
        (n, k); rows sum to 1.
    """
    features = _seen(features, settings)
    graph = _joined(features, centres, slides, settings)
    device = model.hidden.weight.device
    with torch.inference_mode():
        nodes = torch.from_numpy(features).to(device)
        found: Tensor = model(nodes, graph.adjacency(device, normalized=True))
        return found.cpu().numpy()


def segment_picture(
    features: NDArray[np.float32], *, clusters: int, settings: GraphSettings = DEFAULT_GRAPH, seed: int,
    device: torch.device, on_progress: OnProgress = no_progress,
) -> GraphFit:  # fmt: skip
    """Divide the tokens of one picture as the authors do: joined by their features alone, `picture_epochs` steps.

    Args:
        features: (h, w, d), as `picture_tokens` gives them.
        clusters, settings, seed, device, on_progress: As of `fit_graph`.

    Returns:
        The fit with h w memberships, row by row: `fit.labels.reshape(h, w)` is the label image of the picture.

    Raises:
        ConfigError: As of `fit_graph`.
    """
    tokens = _seen(features.reshape(-1, features.shape[-1]), settings)
    check_clusters(len(tokens), clusters, what="tokens of the picture")
    check_not_alike(tokens, what="tokens of the picture")
    graph = join_alike(tokens, similarity=settings.similarity, fraction=settings.join_fraction)
    return _fit(tokens, graph, clusters, settings, settings.picture_epochs, seed, device, on_progress)


def _seen(features: NDArray[np.float32], settings: GraphSettings) -> NDArray[np.float32]:
    """(n, d) features as they are compared and as the network gets them."""
    plain = np.ascontiguousarray(features, np.float32)
    return plain - plain.mean(axis=0) if settings.centre else plain


def _joined(
    features: NDArray[np.float32], centres: NDArray[Any], slides: NDArray[Any], settings: GraphSettings
) -> PatchGraph:
    return join_patches(
        features, centres, slides, similarity=settings.similarity, distance_px=settings.distance_px,
        fraction=settings.join_fraction, across_slides=settings.across_slides,
    )  # fmt: skip


def _fit(
    features: NDArray[np.float32], graph: PatchGraph, clusters: int, settings: GraphSettings, epochs: int, seed: int,
    device: torch.device, on_progress: OnProgress,
) -> GraphFit:  # fmt: skip
    if not len(graph.edges):
        raise ConfigError(
            f"no two of {graph.patches:,} patches are joined: of {graph.pairs:,} near pairs none has a cosine above "
            f"{graph.similarity:g}; lower the similarity"
        )
    device = torch.device("cpu") if device.type == "mps" else device
    nodes = torch.from_numpy(features).to(device)
    adjacency, normalized = (graph.adjacency(device, normalized=how) for how in (False, True))
    tick, losses = Ticker(epochs, on_progress), []
    with seeded(seed, 0, device):
        model = UnSeGArmaNet(features.shape[1], clusters, settings).to(device)
        adam = torch.optim.Adam(model.parameters(), lr=settings.lr)
        for step in range(epochs):
            adam.zero_grad()
            loss = modularity_loss(model(nodes, normalized), adjacency)
            loss.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
            adam.step()
            losses.append(float(loss.detach()))
            if not math.isfinite(losses[-1]):
                raise ConfigError(f"the loss of the graph became {losses[-1]} in step {step + 1}; lower the lr")
            tick(f"graph: step {step + 1}/{epochs} loss {losses[-1]:.4f}")
    with torch.inference_mode():
        memberships = model.eval()(nodes, normalized).cpu().numpy()
    return GraphFit(
        model=model,
        memberships=memberships,
        losses=tuple(losses),
        edges=len(graph.edges),
        pairs=graph.pairs,
        similarity=graph.similarity,
        alone=graph.alone,
        modularity=modularity_of(memberships.argmax(axis=1), graph),
    )
