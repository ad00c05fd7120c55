"""The negative-binomial autoencoder: its likelihood against scipy, its reconstruction of a world of low rank."""

import numpy as np
import pytest
import torch
from scipy import stats

from gendi.data.cells import autoencoder
from gendi.data.cells.autoencoder import Autoencoder, fit_latent, log_negative_binomial
from gendi.data.cells.codec import DepthLaw, Header
from gendi.data.split import Split


def test_likelihood_is_scipys():
    rng = np.random.default_rng(0)
    k, mu, a = rng.integers(0, 30, (20, 5)), rng.uniform(0.01, 30, (20, 5)), rng.uniform(0.1, 3, 5)
    found = log_negative_binomial(
        torch.from_numpy(k.astype(np.float32)), *(torch.from_numpy(t).float() for t in (mu, a))
    )
    np.testing.assert_allclose(found, stats.nbinom(1 / a, 1 / (1 + a * mu)).logpmf(k), rtol=1e-4, atol=1e-4)


def test_bound_is_the_likelihood_where_the_posterior_is_the_prior():
    """Mean 0 and log variance 0: no divergence, and means that depend on the noise alone."""
    network = Autoencoder(4, 4, 2, 8)
    torch.nn.init.zeros_(network.encoder[-1].weight)
    torch.nn.init.zeros_(network.encoder[-1].bias)
    k, noise = torch.tensor([[3.0, 0, 1, 7], [0, 2, 2, 1]]), torch.randn(2, 2)
    mu = network.means(noise, k.sum(1))
    torch.testing.assert_close(mu.sum(1), k.sum(1))
    expected = -log_negative_binomial(k, mu, network.log_dispersion.exp()).sum(1).mean()
    torch.testing.assert_close(network.bound(k, torch.randn(2, 4), noise), expected)


def low_rank(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    side = rng.integers(0, 2, n)
    rates = np.stack([np.linspace(1, 9, 20), np.linspace(9, 1, 20)])
    rates /= rates.sum(1, keepdims=True)
    return rng.poisson(rates[side] * rng.lognormal(6, 0.2, n)[:, None]), side


def test_two_kinds_of_cells_stay_apart():
    """Decoded latents of a cell have its own kind's profile: cells are told apart by the sign of the first half minus
    the second, which no cell of 400 counts has wrong by chance (a gap of 0.4 in share, ten standard errors).
    """
    counts, _ = low_rank(400, 0)
    header, depth = Header(20, None, {}), DepthLaw.fit(counts.sum(1).astype(np.float64))
    codec = fit_latent(header, {}, depth, np.arange(20), Split(counts), 2, 0)
    fresh, kind = low_rank(100, 1)
    x = codec.encode(torch.from_numpy(fresh), {}, torch.arange(100))
    again = codec.decode(x, {}, 0, 0).numpy()
    assert ((again[:, :10].sum(1) > again[:, 10:].sum(1)) == (kind == 1)).mean() > 0.97
    assert again.sum() == pytest.approx(fresh.sum(), rel=0.05)  # depths are the cells' own
    for rows in (kind == 0, kind == 1):  # rates from 1 to 9 of 100: the shares' own error over 50 cells is 2% of them
        assert np.corrcoef(fresh[rows].mean(0), again[rows].mean(0))[0, 1] > 0.95


def test_training_draws_nothing_from_the_global_stream(monkeypatch):
    monkeypatch.setattr(autoencoder, "STEPS", 3)
    counts, _ = low_rank(10, 0)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    fit_latent(Header(20, None, {}), {}, DepthLaw(5.0, 1.0), np.arange(20), Split(counts), 2, 0)
    assert torch.equal(torch.random.get_rng_state(), before)
