"""Posterior denoisers on Gaussian data, where E[x_0 | x_t, y] and the law of x_0 given y are formulas."""

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from worlds import SCHEDULES, covariance, f64, gaussian, scalar

from gendi.diffusion.gaussian.exact import GaussianDenoiser
from gendi.diffusion.gaussian.inverse.operators import Blur, Function, Mask, Operator, Pool
from gendi.diffusion.gaussian.inverse.posterior import DPS, MMPS, PiGDM, conjugate_gradients
from gendi.diffusion.gaussian.process import Process
from gendi.diffusion.gaussian.samplers import get_sampler, make_grid, sample
from gendi.diffusion.gaussian.schedule import make_schedule
from gendi.errors import UsageError

SHAPE, D = (1, 2, 4), 8
MEAN, COVARIANCE = gaussian(D, seed=3), covariance(D)
KNOWN = torch.tensor([True, True, False, False, True, False, False, True]).reshape(2, 4)
OPERATORS: dict[str, Operator] = {
    "mask": Mask(KNOWN),
    "pool": Pool(2),
    "blur": Blur(0.8),
    "function": Function(lambda x: x.flatten(1)[:, :3] @ torch.ones(3, 2).to(x), SHAPE),
}


class Pictures:
    """A denoiser of vectors as a denoiser of pictures, which are the same numbers in another shape."""

    def __init__(self, denoiser: GaussianDenoiser, shape: tuple[int, ...] = SHAPE) -> None:
        self.denoiser, self.shape, self.schedule = denoiser, shape, denoiser.schedule

    def __call__(self, x_t: Tensor, t: Tensor, **cond: Any) -> Tensor:
        return self.denoiser(x_t.flatten(1), t).unflatten(1, self.shape)


def world(name: str = "cosine") -> Pictures:
    return Pictures(GaussianDenoiser(make_schedule(name), MEAN, COVARIANCE))


def matrix(operator: Operator) -> Tensor:
    """Return A, (m, 8)."""
    return operator(torch.eye(D, dtype=torch.float64).reshape(D, *SHAPE)).flatten(1).T


def posterior(a: Tensor, y: Tensor, std: float) -> tuple[Tensor, Tensor]:
    """Return mean and covariance of x_0 ~ N(MEAN, COVARIANCE) given y = A x_0 + std n."""
    gain = COVARIANCE @ a.T @ torch.linalg.pinv(a @ COVARIANCE @ a.T + std**2 * torch.eye(len(a)).double())
    return MEAN + gain @ (y - a @ MEAN), COVARIANCE - gain @ a @ COVARIANCE


def measured(operator: Operator, std: float = 0.0) -> Tensor:
    x_0 = MEAN + torch.linalg.cholesky(COVARIANCE) @ gaussian(D, seed=5)
    y = operator(x_0.reshape(1, *SHAPE))
    return y + std * operator(operator.adjoint(gaussian(*y.shape, seed=6)))  # noise that the mask lets through


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", OPERATORS)
def test_mmps_is_exact_for_a_gaussian(name: str, schedule: str) -> None:
    """Given y too, x_0 is Gaussian, so the exact denoiser of this Gaussian gives E[x_0 | x_t, y] in another way."""
    operator, std = OPERATORS[name], 0.3
    y = measured(operator, std)
    mean, left = posterior(matrix(operator), y.flatten(), std)
    denoiser = world(schedule)
    expected = Pictures(GaussianDenoiser(denoiser.schedule, mean, left))
    guided = MMPS(denoiser, operator, y, std, iterations=2 * D, tolerance=1e-12)
    for t in (scalar(0.05), scalar(0.5), scalar(0.9), f64(0.1, 0.4, 0.8)):
        x_t = 2 * gaussian(3, *SHAPE, seed=7)
        torch.testing.assert_close(guided(x_t, t), expected(x_t, t), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", OPERATORS)
def test_pigdm_is_exact_where_all_directions_are_alike(name: str) -> None:
    operator, std, spread = OPERATORS[name], 0.3, 0.7
    denoiser = Pictures(GaussianDenoiser(make_schedule("cosine"), MEAN, spread**2 * torch.eye(D, dtype=torch.float64)))
    y, a = measured(operator, std), matrix(operator)
    gain = spread**2 * a.T @ torch.linalg.inv(spread**2 * a @ a.T + std**2 * torch.eye(len(a)).double())
    mean, left = MEAN + gain @ (y.flatten() - a @ MEAN), spread**2 * (torch.eye(D).double() - gain @ a)
    expected = Pictures(GaussianDenoiser(denoiser.schedule, mean, left))
    guided = PiGDM(denoiser, operator, y, std, spread=spread)
    x_t, t = gaussian(3, *SHAPE, seed=7), f64(0.1, 0.4, 0.8)
    torch.testing.assert_close(guided(x_t, t), expected(x_t, t), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["mask", "pool"])
@pytest.mark.parametrize("std", [0.0, 0.3])
def test_samples_follow_the_posterior(name: str, std: float) -> None:
    """On a Gaussian a deterministic sampler is affine in its start: mean and covariance follow from d + 1 starts.

    unipc with 60 calls of the exact denoiser of this posterior errs by 3e-4 or less.
    """
    operator = OPERATORS[name]
    y = measured(operator, std)
    mean, left = posterior(matrix(operator), y.flatten(), std)
    guided = MMPS(world(), operator, y, std, iterations=2 * D, tolerance=1e-8)
    starts = torch.cat([torch.zeros(1, D, dtype=torch.float64), torch.eye(D, dtype=torch.float64)])
    times = make_grid(guided.schedule, 60, "log-snr", (2e-3, 2e3))
    for state in get_sampler("unipc").run(guided, starts.reshape(-1, *SHAPE), times, lambda k: starts):
        out = state.x.flatten(1)
    slope = (out[1:] - out[0]).T
    torch.testing.assert_close(out[0], mean, rtol=0, atol=1e-3)
    torch.testing.assert_close(slope @ slope.T, left, rtol=0, atol=1e-3)


@pytest.mark.statistical
@pytest.mark.parametrize("name", ["mask", "pool"])
def test_drawn_samples_have_the_posteriors_moments(name: str) -> None:
    """By `sample`, under inference mode: means err by sqrt(V_ii / n), covariances by sqrt((V_ii V_jj + V_ij^2) / n).

    5 of those, and 0.01 for the sampler's own error with 60 calls.
    """
    operator, std, n = OPERATORS[name], 0.3, 3000
    y = measured(operator, std)
    mean, left = posterior(matrix(operator), y.flatten(), std)
    guided = MMPS(world(), operator, y, std, iterations=D, tolerance=1e-4)
    x = sample(guided, SHAPE, n, steps=60, sampler="dpmpp-2m", bounds=(5e-3, 100.0), batch_size=n).flatten(1).double()
    variances = left.diagonal()
    assert bool(((x.mean(0) - mean).abs() < 5 * (variances / n).sqrt() + 0.01).all())
    error = 5 * ((torch.outer(variances, variances) + left**2) / n).sqrt() + 0.01
    assert bool(((x.T.cov() - left).abs() < error).all())


def test_dps_is_the_papers_algorithm_on_its_own_chain() -> None:
    """Algorithm 1 by hand: an ancestral step, then zeta times the gradient of |y - A x0_hat|^2 over its root."""
    denoiser = Pictures(GaussianDenoiser(make_schedule("linear", 12), MEAN, COVARIANCE))
    operator, zeta = Pool(2), 0.3
    y, process = measured(operator), Process(denoiser.schedule)
    noises = [gaussian(2, *SHAPE, seed=20 + k) for k in range(12)]
    times = make_grid(denoiser.schedule, 12, "uniform")
    x = start = gaussian(2, *SHAPE, seed=8)
    for k in range(12):
        t, s = times[k], times[k + 1]
        x = x.clone().requires_grad_()
        x_0 = denoiser(x, t)
        norm = (y - operator(x_0)).flatten(1).norm(dim=1)
        (gradient,) = torch.autograd.grad(norm.square().sum(), x)
        mean, variance = process.posterior(x, x_0, t, s)
        x = mean + variance.sqrt() * noises[k] - zeta * gradient / norm.reshape(-1, 1, 1, 1)
        x = x.detach()
    guided = DPS(denoiser, operator, y, zeta=zeta)
    for state in get_sampler("ancestral").run(guided, start, times, lambda k: noises[k]):
        out = state.x
    torch.testing.assert_close(out, x, rtol=1e-9, atol=1e-9)


def test_rows_have_measurements_of_their_own_and_do_not_mind_their_neighbours() -> None:
    operator = Pool(2)
    y = gaussian(3, *operator.y_shape(SHAPE), seed=9)
    x_t, t = gaussian(3, *SHAPE, seed=10), f64(0.2, 0.5, 0.8)
    for kind in (MMPS, PiGDM, DPS):
        together = kind(world(), operator, y, 0.1)(x_t, t)
        alone = [kind(world(), operator, y[i : i + 1], 0.1)(x_t[i : i + 1], t[i : i + 1]) for i in range(3)]
        torch.testing.assert_close(together, torch.cat(alone), rtol=1e-10, atol=1e-10)


def test_a_bounded_answer_is_the_unbounded_one_within_its_bounds() -> None:
    operator, x_t = Pool(2), 2 * gaussian(3, *SHAPE, seed=10)
    for kind in (MMPS, PiGDM, DPS):
        free, bounded = (
            kind(world(), operator, measured(operator), 0.1, clip=clip)(x_t, scalar(0.5)) for clip in (None, 0.4)
        )
        assert free.abs().max() > 0.5
        torch.testing.assert_close(bounded, free.clamp(-0.4, 0.4))


class Learned(Pictures):
    """A denoiser that learned a variance too."""

    def predict(self, x_t: Tensor, t: Tensor, **cond: Any) -> tuple[Tensor, Tensor]:
        return self(x_t, t), torch.full_like(x_t, 0.25)


def test_a_learned_variance_passes_through() -> None:
    operator, y = Pool(2), gaussian(1, 1, 1, 2)
    guided = MMPS(Learned(world().denoiser), operator, y, 0.1)
    x_t, t = gaussian(3, *SHAPE, seed=11), scalar(0.4)
    x_0, share = guided.predict(x_t, t)
    torch.testing.assert_close(x_0, MMPS(world(), operator, y, 0.1)(x_t, t))
    assert share.unique().tolist() == [0.25]
    assert not hasattr(MMPS(world(), operator, y, 0.1), "predict")


def test_conjugate_gradients_solve_and_leave_what_is_not_positive() -> None:
    m, b = covariance(5), gaussian(4, 5, seed=12)
    solved = conjugate_gradients(lambda u: u @ m, b, 10, 1e-14)
    torch.testing.assert_close(solved @ m, b, rtol=1e-9, atol=1e-9)
    assert not bool(conjugate_gradients(lambda u: -u @ m, b, 10).any())
    one_bad = torch.tensor([1.0, -1.0, 1.0, 1.0], dtype=torch.float64)[:, None]
    half = conjugate_gradients(lambda u: one_bad * (u @ m), b, 10, 1e-14)
    torch.testing.assert_close(half, torch.where(one_bad > 0, solved, 0), rtol=1e-9, atol=1e-9)
    assert not bool(conjugate_gradients(lambda u: u @ m, 0 * b, 3).any())


@pytest.mark.parametrize("tolerance", [0.5, 0.2, 0.05, 0.01])
def test_conjugate_gradients_stop_at_their_tolerance(tolerance: float) -> None:
    """Iterate k is the u in the span V of b, M b, ..., M^(k-1) b with V^T M u = V^T b.  [Hestenes & Stiefel 1952]

    The first one whose residual is below the tolerance times |b| is the last.
    """
    m, b, products = covariance(6), gaussian(1, 6, seed=12), 0

    def product(u: Tensor) -> Tensor:
        nonlocal products
        products += 1
        return u @ m

    conjugate_gradients(product, b, 6, tolerance)
    powers = torch.stack([b[0] @ torch.linalg.matrix_power(m, k) for k in range(6)], 1)
    residuals = []
    for k in range(1, 6):
        v, _ = torch.linalg.qr(powers[:, :k])
        u = v @ torch.linalg.solve(v.T @ m @ v, v.T @ b[0])
        residuals.append(((b[0] - m @ u).norm() / b.norm()).item())
    assert products == 1 + sum(r > tolerance for r in itertools.accumulate(residuals, min))


def test_what_cannot_be() -> None:
    operator, y = Pool(2), torch.zeros(1, 1, 1, 2)
    for kind in (MMPS, PiGDM, DPS):
        with pytest.raises(UsageError, match="0 or more"):
            kind(world(), operator, y, -0.1)
        with pytest.raises(UsageError, match="NaN"):
            kind(world(), operator, y / 0, 0.1)
        with pytest.raises(UsageError, match=r"must be \(1, 1, 1, 2\) or \(3, 1, 1, 2\)"):
            kind(world(), operator, torch.zeros(2, 1, 1, 2), 0.1)(gaussian(3, *SHAPE), scalar(0.5))
    with pytest.raises(UsageError, match="iterations = 0"):
        MMPS(world(), operator, y, 0.1, iterations=0)
    with pytest.raises(UsageError, match="spread = 0"):
        PiGDM(world(), operator, y, 0.1, spread=0.0)
    with pytest.raises(UsageError, match="spread = inf"):
        PiGDM(world(), operator, y, 0.1, spread=math.inf)
    with pytest.raises(UsageError, match="zeta = -1"):
        DPS(world(), operator, y, zeta=-1.0)
    with pytest.raises(UsageError, match="zeta = inf"):
        DPS(world(), operator, y, zeta=math.inf)

    class Silent(Pictures):
        def __call__(self, x_t: Tensor, t: Tensor, **cond: Any) -> Tensor:
            return super().__call__(x_t, t).detach()

    with pytest.raises(UsageError, match="no gradient"):
        MMPS(Silent(world().denoiser), operator, y, 0.1)(gaussian(3, *SHAPE), scalar(0.5))
