"""Flow maps in worlds where they are known: a formula for a Gaussian, SciPy's solution of the ODE for a mixture.

In y = x / alpha and the level l = sigma / alpha the ODE is dy / dl = eps_hat  [Song et al. 2021 (DDIM), eq. 14].
"""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor
from worlds import SCHEDULES, covariance, f64, gaussian, scalar

from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.exact import GaussianDenoiser, MixtureDenoiser
from gendi.diffusion.gaussian.flow_map import (
    FlowMap,
    GaussianFlow,
    MixtureFlow,
    average_velocity,
    ddim_target,
    moved,
    shortcut_target,
)
from gendi.diffusion.gaussian.process import like
from gendi.diffusion.gaussian.samplers import get_sampler
from gendi.diffusion.gaussian.schedule import make_schedule
from gendi.diffusion.gaussian.sde import ode_velocity

NAMES = (*SCHEDULES, "sub-vp", "rectified-flow")
TIMES = (1.0, 0.8, 0.55, 0.3, 0.05, 0.0)


def one_gaussian(name: str = "cosine") -> GaussianFlow:
    return GaussianFlow(GaussianDenoiser(make_schedule(name), f64(0.7, -0.4, 0.2), covariance(3, seed=4)))


def mixture(name: str = "cosine") -> MixtureFlow:
    covariances = torch.stack([0.2 * covariance(2, seed) for seed in (1, 2)])
    means = f64(-1.4, 0.35, 0.6, -0.15).reshape(2, 2)
    return MixtureFlow(MixtureDenoiser(make_schedule(name), f64(0.3, 0.7), means, covariances))


def power(matrix: Tensor, exponent: float) -> Tensor:
    values, vectors = np.linalg.eigh(matrix.numpy())
    return torch.from_numpy(vectors @ np.diag(values**exponent) @ vectors.T)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("t", "s"), [(1.0, 0.0), (0.9, 0.35), (0.2, 0.75), (0.0, 0.6)])
def test_a_gaussians_flow_is_the_quotient_of_the_roots(name: str, t: float, s: float) -> None:
    """x_s = alpha_s m + S_s^(1/2) S_t^(-1/2) (x_t - alpha_t m), with the roots by NumPy."""
    schedule, m, c = make_schedule(name), f64(0.7, -0.4, 0.2), covariance(3, seed=4)
    (a, b), (a_s, b_s) = (tuple(v.item() for v in schedule(time)) for time in (t, s))
    eye, x = torch.eye(3).double(), gaussian(5, 3, seed=1)
    root = power(a_s**2 * c + b_s**2 * eye, 0.5) @ power(a**2 * c + b**2 * eye, -0.5)
    expected = a_s * m + (x - a * m) @ root.T
    torch.testing.assert_close(one_gaussian(name).move(x, t, s), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", NAMES)
def test_a_mixtures_flow_is_scipys_solution(name: str) -> None:
    """The ODE in level, with the posterior mean written out here; SciPy and we keep 1e-11 a step."""
    flow, schedule = mixture(name), make_schedule(name)
    weights, means = np.array([0.3, 0.7]), np.array([[-1.4, 0.35], [0.6, -0.15]])
    covariances = [0.2 * covariance(2, seed).numpy() for seed in (1, 2)]
    (a, b), (a_s, b_s) = (tuple(v.item() for v in schedule(time)) for time in (0.7, 0.02))
    x = gaussian(3, 2, seed=2)

    def slope(level: float, y: np.ndarray) -> np.ndarray:
        y, logs, answers = y.reshape(-1, 2), [], []
        for weight, mean, cov in zip(weights, means, covariances, strict=True):
            spread = cov + level**2 * np.eye(2)
            away = np.linalg.solve(spread, (y - mean).T).T
            logs.append(np.log(weight) - 0.5 * np.log(np.linalg.det(spread)) - 0.5 * ((y - mean) * away).sum(1))
            answers.append(level * away)  # E[eps | y, k]
        share = np.exp(np.array(logs) - np.max(logs, axis=0))
        return ((share / share.sum(0))[..., None] * np.array(answers)).sum(0).ravel()

    found = solve_ivp(slope, (b / a, b_s / a_s), (x / a).numpy().ravel(), method="DOP853", rtol=1e-11, atol=1e-11).y[
        :, -1
    ]
    expected = a_s * torch.from_numpy(found).reshape(-1, 2)
    torch.testing.assert_close(flow.move(x, 0.7, 0.02), expected, rtol=0, atol=1e-8)


def test_a_mixture_of_one_is_the_gaussian() -> None:
    gauss = one_gaussian()
    flow, x = MixtureFlow(gauss.denoiser), gaussian(4, 3, seed=3)
    for t, s in ((1.0, 0.0), (0.4, 0.0), (0.0, 0.9)):
        torch.testing.assert_close(flow.move(x, t, s), gauss.move(x, t, s), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize(("flow", "error"), [(one_gaussian(), 1e-12), (mixture(), 1e-8)], ids=["gaussian", "mixture"])
def test_n_calls_are_one_and_there_is_a_way_back(flow: FlowMap, error: float) -> None:
    x = gaussian(4, flow.denoiser.means.shape[1], seed=5)
    there = x
    for t, s in pairwise(TIMES):
        there = flow.move(there, scalar(t), scalar(s))
    torch.testing.assert_close(there, flow(x, scalar(1.0)), rtol=error, atol=error)
    torch.testing.assert_close(flow.move(there, scalar(0.0), scalar(1.0)), x, rtol=1e4 * error, atol=1e4 * error)
    torch.testing.assert_close(flow.move(x, scalar(0.6), scalar(0.6)), x, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("flow", [one_gaussian(), mixture()], ids=["gaussian", "mixture"])
def test_every_row_may_have_times_of_its_own(flow: FlowMap) -> None:
    x, t, s = gaussian(3, flow.denoiser.means.shape[1], seed=6), f64(0.9, 0.5, 0.2), f64(0.1, 0.0, 0.7)
    rows = [flow.move(x[k : k + 1], t[k], s[k]) for k in range(3)]
    torch.testing.assert_close(flow.move(x, t, s), torch.cat(rows), rtol=1e-9, atol=1e-9)


def test_a_long_solution_of_the_ode_ends_where_the_map_does() -> None:
    """The adaptive sampler at 1e-9, which knows nothing of flow maps; it errs by the tolerance of a hundred steps."""
    for flow in (one_gaussian(), mixture()):
        x = gaussian(3, flow.denoiser.means.shape[1], seed=7)
        *_, last = get_sampler("dopri5").run(flow.denoiser, x, f64(0.9, 0.1), torch.zeros, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(flow.move(x, 0.9, 0.1), last.x, rtol=0, atol=1e-6)


def test_the_answers_at_a_level_are_those_of_the_denoiser() -> None:
    """x = alpha x_0 + sigma eps holds for the means too, and where there is no noise x_0 is x and eps has mean 0."""
    exact, x = mixture().denoiser, gaussian(4, 2, seed=8)
    alpha, sigma = exact.schedule(scalar(0.4))
    x_0, eps = exact.at_level(x, alpha, sigma)
    torch.testing.assert_close(x_0, exact(x, scalar(0.4)), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(alpha * x_0 + sigma * eps, x, rtol=1e-12, atol=1e-12)
    x_0, eps = exact.at_level(x, scalar(1.0), scalar(0.0))
    torch.testing.assert_close(x_0, x, rtol=1e-12, atol=1e-12)
    assert not eps.any()


@pytest.mark.parametrize("name", NAMES)
def test_the_average_velocity_is_the_mean_of_the_velocities_on_the_way(name: str) -> None:
    """u (t - s) is the integral of dx / dt from s to t, here by Gauss and Legendre's rule on 20 points."""
    flow, x, t, s = one_gaussian(name), gaussian(4, 3, seed=9), 0.6, 0.25
    nodes, weights = np.polynomial.legendre.leggauss(20)
    total = torch.zeros_like(x)
    for node, weight in zip((t + s) / 2 + (t - s) / 2 * nodes, weights / 2, strict=True):
        total += weight * ode_velocity(flow.denoiser, flow.move(x, t, node), node)
    u = average_velocity(x, flow.move(x, t, s), t, s)
    torch.testing.assert_close(u, total, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(moved(x, u, t, s), flow.move(x, t, s), rtol=1e-12, atol=1e-12)


def test_a_shortcut_of_twice_the_length_is_the_mean_of_its_halves() -> None:
    flow, x = one_gaussian(), gaussian(4, 3, seed=10)
    times = (0.7, 0.5, 0.3)
    points = [flow.move(x, 0.7, time) for time in times]
    halves = [average_velocity(points[k], points[k + 1], times[k], times[k + 1]) for k in (0, 1)]
    torch.testing.assert_close(
        shortcut_target(*halves), average_velocity(points[0], points[2], 0.7, 0.3), rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("s", [0.45, 0.0])
def test_a_step_of_ddim_to_its_target_ends_where_it_should(name: str, s: float) -> None:
    """x_s = alpha_s x_0 + sigma_s (x_t - alpha_t x_0) / sigma_t  [Song et al. 2021 (DDIM), eq. 12]."""
    flow, x = one_gaussian(name), gaussian(4, 3, seed=11)
    t = f64(0.9, 0.8, 0.7, 0.6)
    schedule, x_s = flow.schedule, flow.move(x, t, scalar(s))
    x_0 = ddim_target(schedule, x, x_s, t, s)
    (a, b), (a_s, b_s) = schedule(t), schedule(s)
    step = a_s * x_0 + like(b_s / b, x) * (x - like(a, x) * x_0)
    torch.testing.assert_close(step, x_s, rtol=1e-10, atol=1e-10)


def test_a_flow_map_is_a_denoiser_and_not_the_other_way_round() -> None:
    flow = one_gaussian()
    assert isinstance(flow, FlowMap) and isinstance(flow, Denoiser)
    assert not isinstance(flow.denoiser, FlowMap)
    x = gaussian(2, 3, seed=12).float()
    assert flow(x, scalar(0.5)).dtype == torch.float32
    # the end of the path of x_t is not the mean of x_0 given x_t: their spreads about m differ by S_t^(1/2) C^(-1/2)
    assert not torch.allclose(flow(x, scalar(0.9)), flow.denoiser(x, scalar(0.9)), atol=1e-2)
