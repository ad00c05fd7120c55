import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from scipy.special import log_ndtr
from worlds import f64, gaussian, scalar

from gendi.diffusion.gaussian.likelihood.terms import discretised_log_likelihood, gaussian_kl, gaussian_log_density

HALF = 1 / 255
CENTRES = torch.arange(256, dtype=torch.float64) / 127.5 - 1


@pytest.mark.parametrize("second", [(0.0, 0.0), (-2.0, 1.5), (0.4, -3.0)])
def test_kl_is_the_integral(second: tuple[float, float]) -> None:
    (m1, v1), (m2, v2) = (0.3, -0.7), second
    p, q = stats.norm(m1, math.exp(v1 / 2)), stats.norm(m2, math.exp(v2 / 2))
    expected, _ = integrate.quad(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), m1 - 8, m1 + 8, epsabs=1e-12)
    assert gaussian_kl(*map(scalar, (m1, v1, m2, v2))).item() == pytest.approx(expected, rel=1e-9)


def test_kl_is_zero_for_equals_and_second_order_beside_them() -> None:
    mean, logvar = gaussian(50), gaussian(50, seed=1)
    assert (gaussian_kl(mean, logvar, mean, logvar) == 0).all()
    near = gaussian_kl(mean, logvar, mean, logvar + 1e-6)  # v^2 / 4
    torch.testing.assert_close(near, torch.full_like(near, 2.5e-13), rtol=1e-3, atol=0)


def test_density_is_scipys() -> None:
    x, mean, log_std = gaussian(3, 20).unbind()
    expected = stats.norm(mean.numpy(), log_std.exp().numpy()).logpdf(x.numpy())
    np.testing.assert_allclose(gaussian_log_density(x, mean, log_std).numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mean", [-3.0, -1.0, 0.0, 0.1234, 1.0, 5.0])
@pytest.mark.parametrize("log_std", [-7.0, -4.9, -2.0, 0.0, 1.0])
def test_bins_sum_to_one(mean: float, log_std: float, dtype: torch.dtype) -> None:
    x_0 = CENTRES.to(dtype)
    log_p = discretised_log_likelihood(x_0, torch.tensor(mean, dtype=dtype), torch.tensor(log_std, dtype=dtype), HALF)
    assert log_p.dtype == dtype
    tolerance = 1e-10 if dtype == torch.float64 else 2e-3  # float32 places an edge to 1e-7, of a std of 9e-4
    assert log_p.double().exp().sum().item() == pytest.approx(1, abs=tolerance)


def test_a_bin_is_scipys_difference() -> None:
    mean, log_std = gaussian(256) * 0.3, scalar(-2.5)
    law = stats.norm(mean.numpy(), math.exp(-2.5))
    edges = CENTRES.numpy()
    expected = law.cdf(edges + HALF) - law.cdf(edges - HALF)
    expected[0], expected[-1] = law.cdf(edges + HALF)[0], law.sf(edges - HALF)[-1]
    seen = discretised_log_likelihood(CENTRES, mean, log_std, HALF).exp()
    np.testing.assert_allclose(seen.numpy(), expected, atol=1e-15, rtol=1e-9)


@pytest.mark.parametrize("side", [-1.0, 1.0])
@pytest.mark.parametrize("far", [10.0, 40.0, 300.0])
def test_tails_keep_their_digits(side: float, far: float) -> None:
    """Far out nearly all of a bin's mass lies at its near edge: log p = log Phi(near) + log(1 - ratio of the tails)."""
    std = 0.5 / far
    near, beyond = (0.5 - HALF) / std, (0.5 + HALF) / std
    expected = log_ndtr(-near) + math.log1p(-math.exp(log_ndtr(-beyond) - log_ndtr(-near)))
    seen = discretised_log_likelihood(f64(side * 0.5), f64(0.0), scalar(math.log(std)), HALF)
    assert seen.item() == pytest.approx(expected, rel=1e-11)
    assert seen.isfinite().all()


def test_edge_bins_reach_to_infinity_in_float32() -> None:
    """The outer centres come back from bytes an ulp off: they are edges all the same, and their neighbours are not."""
    x_0 = torch.tensor([0, 1, 254, 255], dtype=torch.uint8).float().div(127.5).sub(1)
    for nudge in (-2e-7, 0.0, 2e-7):
        p = discretised_log_likelihood(x_0 + nudge, torch.tensor([-9.0, -9.0, 9.0, 9.0]), torch.tensor(0.0), HALF)
        assert p[0].exp().item() == pytest.approx(1, abs=1e-6)
        assert p[3].exp().item() == pytest.approx(1, abs=1e-6)
        assert p[1] < -30
        assert p[2] < -30


def test_a_narrow_normal_puts_everything_in_one_bin() -> None:
    log_p = discretised_log_likelihood(CENTRES, CENTRES, scalar(-20.0), HALF)
    assert (log_p.abs() < 1e-300).all()


def test_gradients_are_finite_and_right() -> None:
    mean = (CENTRES + 0.02 * gaussian(256)).requires_grad_()
    log_std = torch.full((256,), -4.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda m, s: discretised_log_likelihood(CENTRES, m, s, HALF), (mean, log_std))
