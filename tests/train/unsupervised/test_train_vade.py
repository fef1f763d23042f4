"""VaDE: the bound is the bound, made-up groups are found, and neither order nor repetition changes a bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from qpkit.errors import ConfigError
from qpkit_train.unsupervised.kmeans import kmeans
from qpkit_train.unsupervised.samples import content_order, principal_components, resized
from qpkit_train.unsupervised.settings import VadeSettings
from qpkit_train.unsupervised.vade import Mixture, Vade, as_images, as_patches
from qpkit_train.unsupervised.vade_fit import VadeFit, describe, fit_vade, responsibilities

CPU = torch.device("cpu")
SMALL = VadeSettings(side_px=16, hidden=32, latent=4, epochs=6, pretrain_epochs=6, lr=1e-3, batch_size=16, components=5)


def drawn(count: int, *, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Patches of 24 px of three kinds (pink, blue stripes, pale), with noise, and their kinds."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 3, count)
    looks = np.zeros((3, 24, 24, 3))
    looks[0] = (220, 120, 170)
    looks[1] = (90, 70, 160)
    looks[1, ::4] = (200, 190, 220)
    looks[2] = (235, 225, 235)
    patches = looks[kinds] + rng.normal(0, 12, (count, 24, 24, 3)) + rng.normal(0, 8, (count, 1, 1, 3))
    return patches.clip(0, 255).astype(np.uint8), kinds


def accuracy(labels: NDArray[np.int64], kinds: NDArray[np.int64]) -> float:
    """Under the best assignment of clusters to kinds."""
    table = np.zeros((int(labels.max()) + 1, int(kinds.max()) + 1))
    np.add.at(table, (labels, kinds), 1)
    return float(table[linear_sum_assignment(-table)].sum() / len(kinds))


def fitted(patches: NDArray[np.uint8], seed: int = 0, how: VadeSettings = SMALL) -> VadeFit:
    return fit_vade(patches, clusters=3, settings=how, seed=seed, device=CPU)


@given(st.integers(0, 99))
@examples(max_examples=10)
def test_the_divergence_is_what_drawing_from_both_distributions_gives(seed: int) -> None:
    torch.manual_seed(seed)
    mixture = Mixture(3, 2).double()
    for parameter in mixture.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    mean, log_variance = torch.randn(1, 2).double(), 0.5 * torch.randn(1, 2).double()
    clusters = torch.softmax(torch.randn(1, 3), dim=1).double()
    exact = float(mixture.divergence(mean, log_variance, clusters).detach())

    z = mean + torch.exp(0.5 * log_variance) * torch.randn(40_000, 2).double()
    chosen = torch.multinomial(clusters[0], 40_000, replacement=True)
    of_z = torch.distributions.Normal(mean, torch.exp(0.5 * log_variance)).log_prob(z).sum(dim=1)
    drawn = of_z + clusters[0].log()[chosen] - mixture.log_joint(z).gather(1, chosen[:, None])[:, 0]
    error = float(drawn.std().detach()) / 200
    assert exact == pytest.approx(float(drawn.mean().detach()), abs=4.5 * error + 1e-12)


def test_the_loss_is_the_negative_lower_bound_but_for_a_constant() -> None:
    torch.manual_seed(0)
    model = Vade(3, SMALL)
    images, noise, weight = torch.rand(5, 3, 16, 16) * 2 - 1, torch.randn(5, 4), 1.7
    wrong, divergence = model.loss(images, noise, weight)
    mean, log_variance = model.encode(images)
    z = mean + noise * torch.exp(0.5 * log_variance)
    deviation = (1 / (2 * weight)) ** 0.5
    likelihood = torch.distributions.Normal(model.decode(z), deviation).log_prob(images).flatten(1).sum(dim=1)
    constant = images[0].numel() * (np.log(deviation) + 0.5 * np.log(2 * np.pi))
    assert torch.allclose(wrong, -likelihood - constant, rtol=1e-4)
    published = model.mixture.responsibilities(z)
    assert torch.allclose(divergence, model.mixture.divergence(mean, log_variance, published))


def test_the_divergence_is_least_where_clusters_are_those_of_bayes() -> None:
    torch.manual_seed(0)
    mixture = Mixture(3, 2)
    torch.nn.init.normal_(mixture.means)
    z, narrow = torch.randn(6, 2), torch.full((6, 2), -12.0)
    best = mixture.divergence(z, narrow, mixture.responsibilities(z))
    other = mixture.divergence(z, narrow, torch.softmax(torch.randn(6, 3), dim=1))
    assert (best <= other + 1e-4).all()


@pytest.mark.parametrize("variant", ["dense", "convolutional"])
def test_kinds_of_made_up_patches_are_found(variant: str) -> None:
    patches, kinds = drawn(240)
    fit = fitted(patches, how=VadeSettings.of(**{**_values(SMALL), "variant": variant}))
    assert accuracy(fit.labels, kinds) > 0.95
    assert fit.in_use == 3 and fit.learned_from == 240
    assert fit.responsibilities.shape == (240, 3) and fit.z.shape == (240, 4)
    assert fit.decode().shape == (3, 16, 16, 3) and fit.decode().dtype == np.uint8
    means = np.array([patches[fit.labels == number].mean() for number in range(3)])
    assert np.abs(fit.decode().mean(axis=(1, 2, 3)) - means).max() < 30


def test_responsibilities_sum_to_one_and_losses_fall() -> None:
    patches, _ = drawn(120)
    fit = fitted(patches)
    assert np.allclose(fit.responsibilities.sum(axis=1), 1, atol=1e-5)
    assert len(fit.losses) == 6 and len(fit.pretraining) == 6
    assert fit.losses[-1].total < fit.losses[0].total
    assert fit.losses[0].total == pytest.approx(fit.losses[0].reconstruction + fit.losses[0].divergence)


def test_the_same_seed_gives_the_same_bits_and_another_one_others() -> None:
    patches, _ = drawn(60)
    one, again, other = fitted(patches), fitted(patches), fitted(patches, seed=1)
    assert np.array_equal(one.responsibilities, again.responsibilities) and one.losses == again.losses
    assert not np.array_equal(one.z, other.z)


def test_patches_in_another_order_get_the_same_clusters_bit_for_bit() -> None:
    patches, _ = drawn(60)
    order = np.random.default_rng(5).permutation(60)
    assert np.array_equal(fitted(patches).responsibilities[order], fitted(patches[order]).responsibilities)


def test_a_sample_is_learned_from_and_all_are_assigned_also_patches_that_were_never_seen() -> None:
    patches, kinds = drawn(300)
    fit = fitted(patches[:200], how=VadeSettings.of(**{**_values(SMALL), "most_patches": 120}))
    assert fit.learned_from == 120 and len(fit.labels) == 200
    found = responsibilities(fit.model, patches)
    assert np.allclose(found[:200], fit.responsibilities, atol=1e-4)
    assert accuracy(found.argmax(axis=1), kinds) > 0.95
    assert describe(fit.model, patches[:0]).shape == (0, 4)


def test_what_cannot_be_divided_is_one_line() -> None:
    patches, _ = drawn(20)
    for few, clusters, said in (
        (patches[:2], 3, "2 patches with tissue are less than 3 clusters"),
        (patches, 1, "clusters = 1 divides nothing"),
        (np.full_like(patches, 200), 3, "all 20 patches are the same"),
    ):
        with pytest.raises(ConfigError, match=said) as err:
            fit_vade(few, clusters=clusters, settings=SMALL, seed=0, device=CPU)
        assert len(str(err.value)) < 200
    with pytest.raises(ConfigError, match="multiple of 16"):
        VadeSettings(variant="convolutional", side_px=40)


def test_components_are_those_of_an_exact_decomposition() -> None:
    patches, _ = drawn(80)
    found = principal_components(patches, 3, seed=0)
    flat = patches.reshape(80, -1) - patches.reshape(80, -1).mean(axis=0)
    left, sizes, _ = np.linalg.svd(flat, full_matrices=False)
    assert np.allclose(np.abs(found), np.abs((left * sizes)[:, :3]), rtol=0.02, atol=20)
    assert principal_components(patches[:2], 50, seed=0).shape == (2, 2)


def test_k_means_numbers_clusters_by_size_and_takes_points_that_do_not_differ() -> None:
    points = np.repeat([[0.0, 0], [9, 9], [0, 9]], [3, 9, 5], axis=0)
    assert np.array_equal(kmeans(points, 3, seed=0), np.repeat([2, 0, 1], [3, 9, 5]))
    assert set(kmeans(points, 5, seed=0)) <= set(range(5))


def test_pixels_survive_what_the_network_sees_and_resizing_keeps_the_mean() -> None:
    patches, _ = drawn(6)
    assert np.array_equal(as_patches(as_images(torch.from_numpy(patches))).numpy(), patches)
    small = resized(patches, 16)
    assert small.shape == (6, 16, 16, 3) and abs(small.mean() - patches.mean()) < 2
    assert resized(patches, 24) is patches
    assert sorted(content_order(patches, seed=3)) == list(range(6))


def _values(settings: VadeSettings) -> dict[str, object]:
    return {name: getattr(settings, name) for name in settings.__dataclass_fields__}
