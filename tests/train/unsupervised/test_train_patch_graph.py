"""Graphs of patches, the ARMA layer and modularity: held against plain loops, torch_geometric and networkx."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import networkx
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from numpy.typing import NDArray

from qpkit.errors import ConfigError
from qpkit_train.unsupervised.arma import ArmaConv
from qpkit_train.unsupervised.modularity import modularity, modularity_loss, modularity_of
from qpkit_train.unsupervised.patch_graph import PatchGraph, join_alike, join_patches
from qpkit_train.unsupervised.settings import GraphSettings
from qpkit_train.unsupervised.unsegarmanet import assigned, fit_graph, segment_picture

CPU = torch.device("cpu")


def random_graph(rng: np.random.Generator, nodes: int, fraction: float = 0.3) -> PatchGraph:
    """A graph with at least one edge."""
    joined = np.triu(rng.random((nodes, nodes)) < fraction, 1)
    joined[0, 1] = True
    return PatchGraph(nodes, np.argwhere(joined).astype(np.int32))


def halves(rows: int, columns: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[Any]]:
    """Features of a grid of patches of which left and right look different, their centres, and which are right."""
    y, x = np.mgrid[:rows, :columns].reshape(2, -1)
    right = x >= columns // 2
    features = np.where(right[:, None], [1.0, 0, 1, 0, 0, 0], [0.0, 1, 0, 1, 0, 0]) + rng.normal(0, 0.15, (x.size, 6))
    return features.astype(np.float32), np.stack([x, y], axis=1) * 64 + 48, right


@given(st.integers(0, 999), st.integers(2, 60), st.integers(0, 2))
@examples(max_examples=25)
def test_patches_are_joined_as_two_loops_say(seed: int, count: int, slides: int) -> None:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, 4)).astype(np.float32)
    centres, slide = rng.integers(0, 6, (count, 2)) * 64, rng.integers(0, slides + 1, count)
    graph = join_patches(features, centres, slide, similarity=0.3, distance_px=192)
    wanted = []
    for one in range(count):
        for other in range(one + 1, count):
            cosine = features[one] @ features[other]
            cosine /= np.linalg.norm(features[one]) * np.linalg.norm(features[other])
            near = np.linalg.norm(centres[one] - centres[other]) < 192
            if slide[one] == slide[other] and near and cosine > 0.3:
                wanted.append((one, other))
    assert [tuple(edge) for edge in graph.edges.tolist()] == wanted


def test_patches_of_other_slides_are_joined_only_if_asked_and_only_the_most_alike() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(3000, 3)).astype(np.float32)
    slide, centres = np.arange(3000) % 2, np.zeros((3000, 2)) + np.arange(3000)[:, None] * 1000
    assert not len(join_patches(features, centres, slide, similarity=0.5, distance_px=200).edges)
    graph = join_patches(features, centres, slide, similarity=0.5, distance_px=200, across_slides=2)
    one, other = graph.edges.T
    assert (slide[one] != slide[other]).all() and graph.degrees.min() >= 2 and len(graph.edges) <= 6000
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    cosines = np.where(slide == slide[7], -2, unit @ unit[7])
    assert set(np.argsort(-cosines)[:2]) <= set(graph.edges[(graph.edges == 7).any(axis=1)].ravel())


def test_a_fraction_of_the_near_patches_is_joined_whatever_their_cosines_are() -> None:
    rng = np.random.default_rng(0)
    features = rng.random((400, 20)).astype(np.float32) + 5  # all alike to a fixed threshold
    y, x = np.mgrid[:20, :20].reshape(2, -1)
    centres, zeros = np.stack([x, y], axis=1) * 64, np.zeros(400, int)
    plain = join_patches(features, centres, zeros, similarity=0.8, distance_px=200)
    assert len(plain.edges) == plain.pairs
    half = join_patches(features, centres, zeros, similarity=0.8, distance_px=200, fraction=0.5)
    assert len(half.edges) == pytest.approx(plain.pairs / 2, abs=2) and half.similarity > 0.99
    assert len(join_alike(features, similarity=0.8, fraction=0.25).edges) == pytest.approx(400 * 399 / 8, abs=2)
    assert len(join_alike(features, similarity=2, fraction=1.0).edges) == 400 * 399 / 2
    shifted = fit_graph(
        features,
        centres,
        zeros,
        clusters=2,
        settings=GraphSettings(centre=True, epochs=2, similarity=0.5),
        seed=0,
        device=CPU,
    )
    assert 0 < shifted.edges < shifted.pairs / 10 and shifted.alone > 0


def test_tokens_are_joined_wherever_they_lie() -> None:
    features = np.random.default_rng(0).normal(size=(1500, 3)).astype(np.float32)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    graph = join_alike(features, similarity=0.999)
    assert np.array_equal(graph.edges, np.argwhere(np.triu(unit @ unit.T > 0.999, 1)))


@given(st.integers(0, 999))
@examples(max_examples=20)
def test_modularity_is_that_of_networkx(seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, 12)
    labels = rng.integers(0, 3, 12)
    labels[:3] = range(3)
    plain = networkx.Graph()
    plain.add_nodes_from(range(12))
    plain.add_edges_from(graph.edges.tolist())
    groups = [set(np.flatnonzero(labels == number).tolist()) for number in range(3)]
    wanted = networkx.community.modularity(plain, groups)
    hard = torch.nn.functional.one_hot(torch.from_numpy(labels)).float()
    adjacency = graph.adjacency(CPU, normalized=False)
    assert modularity_of(labels, graph) == pytest.approx(wanted, abs=1e-12)
    assert float(modularity(hard, adjacency)) == pytest.approx(wanted, abs=1e-6)
    balance = 3**0.5 / 12 * np.linalg.norm(np.bincount(labels)) - 1
    assert float(modularity_loss(hard, adjacency)) == pytest.approx(balance - wanted, abs=1e-6)


def test_modularity_of_soft_memberships_is_the_trace_that_was_never_formed() -> None:
    graph = random_graph(np.random.default_rng(1), 9)
    adjacency = graph.adjacency(CPU, normalized=False)
    soft = torch.softmax(torch.randn(9, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    dense, degrees = adjacency.to_dense(), torch.from_numpy(graph.degrees).float()
    edges = len(graph.edges)
    formed = dense - torch.outer(degrees, degrees) / (2 * edges)
    wanted = float(torch.trace(soft.T @ formed @ soft)) / (2 * edges)
    assert float(modularity(soft, adjacency)) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(("stacks", "layers"), [(2, 4), (1, 1), (3, 2)])
def test_the_layer_is_that_of_torch_geometric(stacks: int, layers: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("torch_geometric", reason="pip install 'qpkit[graph]' brings torch_geometric")
        from torch_geometric.nn import ARMAConv
    torch.manual_seed(0)
    graph = random_graph(np.random.default_rng(2), 11, 0.2)
    theirs = ARMAConv(5, 7, num_stacks=stacks, num_layers=layers)
    ours = ArmaConv(5, 7, stacks=stacks, layers=layers)
    with torch.no_grad():
        ours.first.copy_(theirs.init_weight)
        ours.root.copy_(theirs.root_weight)
        ours.bias.copy_(theirs.bias.normal_())
        if layers > 1:
            ours.further.copy_(theirs.weight)
    features = torch.randn(11, 5)
    both = np.concatenate([graph.edges, graph.edges[:, ::-1]]).astype(np.int64)
    wanted = theirs(features, torch.from_numpy(both.T.copy()))
    found = ours(features, graph.adjacency(CPU, normalized=True))
    assert torch.allclose(found, wanted, atol=1e-5)
    found.sum().backward()
    wanted.sum().backward()
    assert torch.allclose(ours.root.grad, theirs.root_weight.grad, atol=1e-4)


def test_a_node_without_edges_is_seen_by_itself_alone() -> None:
    torch.manual_seed(0)
    layer = ArmaConv(3, 4, stacks=2, layers=3)
    graph = PatchGraph(4, np.array([[0, 1], [1, 2]], np.int32))
    features = torch.randn(4, 3)
    found = layer(features, graph.adjacency(CPU, normalized=True))
    other = layer(torch.cat([torch.randn(3, 3), features[3:]]), graph.adjacency(CPU, normalized=True))
    assert torch.equal(found[3], other[3]) and not torch.allclose(found[0], other[0])
    assert torch.isfinite(found).all() and graph.alone == 1


def test_halves_that_look_different_are_told_apart() -> None:
    features, centres, right = halves(10, 12, np.random.default_rng(0))
    fit = fit_graph(features, centres, np.zeros(120, int), clusters=2, seed=0, device=CPU)
    assert max((fit.labels == right).mean(), (fit.labels != right).mean()) > 0.95
    assert np.allclose(fit.memberships.sum(axis=1), 1, atol=1e-5)
    assert fit.losses[-1] < fit.losses[0] and len(fit.losses) == 100
    assert 0.3 < fit.modularity < 0.6 and fit.in_use == 2 and fit.edges > 500 and fit.alone == 0


def test_patches_in_another_order_get_the_same_memberships_bit_for_bit() -> None:
    features, centres, right = halves(6, 8, np.random.default_rng(0))
    slides = right.astype(int)
    order = np.random.default_rng(3).permutation(len(features))
    how = GraphSettings(epochs=20, dropout=0.2)
    one = fit_graph(features, centres, slides, clusters=3, settings=how, seed=4, device=CPU)
    other = fit_graph(features[order], centres[order], slides[order], clusters=3, settings=how, seed=4, device=CPU)
    assert np.array_equal(one.memberships[order], other.memberships) and one.losses == other.losses
    assert one.edges == other.edges and one.modularity == other.modularity


def test_slides_that_were_not_learned_from_are_assigned_by_the_same_network() -> None:
    rng = np.random.default_rng(0)
    features, centres, right = halves(8, 10, rng)
    zeros = np.zeros(80, int)
    fit = fit_graph(features, centres, zeros, clusters=2, seed=0, device=CPU)
    again = assigned(fit.model, features, centres, zeros)
    assert np.allclose(again, fit.memberships, atol=1e-5)
    more, _, _ = halves(8, 10, rng)
    labels = assigned(fit.model, more, centres, zeros).argmax(axis=1)
    assert max((labels == right).mean(), (labels != right).mean()) > 0.95


def test_a_picture_of_two_halves_is_divided_by_its_features_alone() -> None:
    features, _, right = halves(12, 14, np.random.default_rng(0))
    how = GraphSettings(lr=1e-2)
    fit = segment_picture(features.reshape(12, 14, -1), clusters=2, settings=how, seed=0, device=CPU)
    assert max((fit.labels == right).mean(), (fit.labels != right).mean()) > 0.95 and len(fit.losses) == 20


def test_what_cannot_be_divided_is_one_line() -> None:
    features, centres, _ = halves(4, 4, np.random.default_rng(0))
    slides = np.zeros(16, int)
    for given_, clusters, how, said in (
        (features[:2], 3, GraphSettings(), "2 patches with tissue are less than 3 clusters"),
        (features, 1, GraphSettings(), "clusters = 1 divides nothing"),
        (np.ones_like(features), 2, GraphSettings(), "all 16 features of patches are the same"),
        (features, 2, GraphSettings(distance_px=10), "no two of 16 patches are joined"),
    ):
        count = len(given_)
        with pytest.raises(ConfigError, match=said) as err:
            fit_graph(given_, centres[:count], slides[:count], clusters=clusters, settings=how, seed=0, device=CPU)
        assert len(str(err.value)) < 200
    with pytest.raises(ConfigError, match="leaves gaps"):
        GraphSettings(stride_px=128)


def test_a_graph_of_many_patches_takes_memory_by_its_edges() -> None:
    columns = 150
    y, x = np.mgrid[:columns, :columns].reshape(2, -1)
    features = np.random.default_rng(0).normal(1, 0.3, (x.size, 8)).astype(np.float32)
    graph = join_patches(
        features, np.stack([x, y], axis=1) * 64, np.zeros(x.size, int), similarity=0.8, distance_px=200
    )
    assert 10 * x.size < len(graph.edges) <= 14 * x.size and sys.getsizeof(graph.edges) <= 8 * 14 * x.size + 200
