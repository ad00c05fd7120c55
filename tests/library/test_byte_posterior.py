"""A network's output that tilts the histogram of bytes, against Bayes' rule and against worlds of independent bytes."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from worlds import f64, gaussian, scalar

from gendi.diffusion.gaussian.config import Parameterisation
from gendi.diffusion.gaussian.denoiser import NetworkDenoiser
from gendi.diffusion.gaussian.likelihood import log_density, variational_bound
from gendi.diffusion.gaussian.schedule import make_schedule
from gendi.diffusion.networks.build import build_network
from gendi.diffusion.networks.byte_posterior import STATISTICS, BytePosterior, statistics
from gendi.diffusion.networks.config import NetworkConfig
from gendi.diffusion.networks.registry import validate
from gendi.errors import UsageError

VALUES = np.arange(256) / 127.5 - 1
LOG_SNRS = (-19.0, -6.0, -0.1, 0.1, 5.0, 9.0, 13.9)


def spiky() -> np.ndarray:
    """A histogram like that of pen strokes: much background, a peak of three values near white, and greys."""
    p = np.full(256, 0.15 / 256)
    p[0] += 0.7
    p[[252, 253, 254]] += 0.05
    return p


def posterior(p: np.ndarray, channels: int = 1) -> BytePosterior:
    module = BytePosterior(channels).double()
    module.log_prior[:] = torch.from_numpy(np.log(p))
    return module


def noisy(log_snr: float, n: int, seed: int = 0) -> tuple[Tensor, float, float]:
    """Return n noisy bytes of the spiky histogram, float64, with alpha and sigma."""
    rng = np.random.default_rng(seed)
    alpha, sigma = (1 / math.sqrt(1 + math.exp(sign * log_snr)) for sign in (-1, 1))
    return torch.from_numpy(alpha * rng.choice(VALUES, n, p=spiky()) + sigma * rng.standard_normal(n)), alpha, sigma


def by_bayes(x: Tensor, alpha: float, sigma: float, p: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Return E[v | x] of every number in extended precision, by the definition."""
    long = np.longdouble
    logits = np.log(p.astype(long)) + theta.astype(long) @ statistics().numpy().astype(long).T
    away = x.numpy().astype(long)[:, None] - long(alpha) * VALUES.astype(long)
    logits = logits - away**2 / (2 * long(sigma) ** 2)
    share = np.exp(logits - logits.max(1, keepdims=True))
    return (share @ VALUES.astype(long) / share.sum(1)).astype(np.float64)


@pytest.mark.parametrize("log_snr", LOG_SNRS)
@pytest.mark.parametrize(("dtype", "allowed"), [(torch.float64, 1e-9), (torch.float32, 2e-3)])
def test_v_is_that_of_bayes_rule(log_snr: float, dtype: torch.dtype, allowed: float) -> None:
    """eps_hat = alpha v + sigma x_t: in float32 an error of 2e-3 costs 2e-6 nats per unit of log-SNR."""
    x, alpha, sigma = noisy(log_snr, 60)
    theta = gaussian(60, STATISTICS)
    expected = by_bayes(x, alpha, sigma, spiky(), theta.numpy())
    module = posterior(spiky()).to(dtype)
    value = torch.full((1,), -log_snr / 8, dtype=torch.float64)
    v = module(x.to(dtype).reshape(1, 1, 6, 10), value, theta.T.reshape(1, STATISTICS, 6, 10).to(dtype))
    assert v.dtype == dtype
    v = v.double().reshape(-1)
    eps_hat, x_0_hat = alpha * v + sigma * x, alpha * x - sigma * v
    np.testing.assert_allclose(eps_hat.numpy(), (x.numpy() - alpha * expected) / sigma, rtol=0, atol=allowed)
    np.testing.assert_allclose(x_0_hat.numpy(), expected, rtol=0, atol=allowed)


@pytest.mark.parametrize("log_snr", LOG_SNRS)
def test_gradients_are_differences(log_snr: float) -> None:
    x, _, sigma = noisy(log_snr, 12)
    module, value = posterior(spiky()), torch.full((1,), -log_snr / 8, dtype=torch.float64)
    x = x.reshape(1, 1, 3, 4).requires_grad_()
    theta = (0.5 * gaussian(1, STATISTICS, 3, 4)).requires_grad_()
    step = 1e-4 * min(1.0, sigma)
    assert torch.autograd.gradcheck(lambda at: module(at, value, theta.detach()), x, eps=step, atol=1e-5, rtol=1e-5)
    assert torch.autograd.gradcheck(lambda at: module(x.detach(), value, at), theta, eps=1e-5, atol=1e-6, rtol=1e-6)


def test_rows_channels_and_chunks_do_not_touch_one_another() -> None:
    """Three channels with histograms of their own, at two noise levels, in more numbers than are computed at a time."""
    module = BytePosterior(3).double()
    module.count(torch.from_numpy(np.random.default_rng(0).choice(VALUES, (2, 3, 30, 40), p=spiky())))
    assert len({tuple(p.tolist()) for p in module.log_prior}) == 3
    x, theta, value = gaussian(2, 3, 30, 40), gaussian(2, 3 * STATISTICS, 30, 40), f64(-1.0, 0.5)
    whole = module(x, value, theta)
    for row, channel, i, j in ((0, 0, 0, 0), (0, 2, 29, 39), (1, 1, 15, 7)):
        alone = BytePosterior(1).double()
        alone.log_prior[:] = module.log_prior[channel]
        own = theta[row, channel * STATISTICS : (channel + 1) * STATISTICS, i, j].reshape(1, STATISTICS, 1, 1)
        one = alone(x[row, channel, i, j].reshape(1, 1, 1, 1), value[row : row + 1], own)
        assert one.item() == pytest.approx(whole[row, channel, i, j].item(), rel=1e-12)


def test_a_histogram_counts_every_byte_once_more() -> None:
    module = BytePosterior(2)
    rows = torch.from_numpy(VALUES[[0, 0, 255, 7]]).float().reshape(2, 1, 1, 2).expand(2, 2, 1, 2)
    module.count(rows)
    assert module.log_prior.exp()[1, [0, 255, 7, 8]].tolist() == pytest.approx([v / 260 for v in (3, 2, 2, 1)])
    torch.testing.assert_close(module.log_prior.exp().sum(1), torch.ones(2))


def untrained(kind: str = "unet") -> NetworkDenoiser:
    """A network whose outputs start at zero: the exact denoiser of independent bytes."""
    small = NetworkConfig(channels=(8, 8), blocks=1, groups=2, time_dim=16, output="bytes")
    if kind == "dit":
        small = NetworkConfig("dit", channels=(8,), blocks=1, patch=2, heads=1, time_dim=16, output="bytes")
    network = build_network(small, (1, 4, 4))
    module = network.posterior
    assert isinstance(module, BytePosterior)
    module.log_prior[:] = torch.from_numpy(np.log(spiky()))
    return NetworkDenoiser(network, make_schedule("cosine", None), Parameterisation(prediction="v")).eval()


def pictures(n: int) -> tuple[Tensor, np.ndarray]:
    """Return n pictures of independent bytes, and the exact code length of each in nats per dimension."""
    drawn = np.random.default_rng(1).choice(256, (n, 1, 4, 4), p=spiky())
    return torch.from_numpy(VALUES[drawn]).float(), -np.log(spiky()[drawn]).reshape(n, -1).mean(1)


@pytest.mark.statistical
@pytest.mark.parametrize("kind", ["unet", "dit"])
def test_an_untrained_network_costs_the_entropy_of_the_histogram(kind: str) -> None:
    """The bound of independent bytes is their code length under the histogram: 5 standard errors of the drawn terms."""
    x_0, exact = pictures(200)
    bound = variational_bound(untrained(kind), x_0, draws=60, half_bin=1 / 255)
    assert abs(bound.total.nats - exact.mean()) < 5 * bound.error_t
    assert bound.error_t < 0.03


def test_the_flow_codes_independent_bytes_at_their_exact_length() -> None:
    """Picture by picture: normal noise fills a bin as the density at sigma / alpha = 1e-3 does, up to the 1e-4 of its
    tails that the bin's edges cut off, and a solver with a tolerance of 1e-4 errs by less than 1e-2."""
    x_0, exact = pictures(3)
    found = log_density(
        untrained(), x_0, half_bin=1 / 255, dequantisation="normal", divergence="exact", rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(found.values.numpy(), exact, atol=1e-2)


def test_bf16_leaves_the_posterior_exact() -> None:
    denoiser = untrained()
    x = scalar(0.01).float() * gaussian(2, 1, 4, 4).float() - 1
    exact = denoiser(x, f64(0.01, 0.02))
    denoiser.precision = "bf16"
    torch.testing.assert_close(denoiser(x, f64(0.01, 0.02)), exact, rtol=0, atol=0)  # its outputs are 0 in either


def test_a_vector_has_no_bytes() -> None:
    with pytest.raises(UsageError, match="for images"):
        validate(NetworkConfig("mlp", channels=(8,), blocks=1, output="bytes"))
