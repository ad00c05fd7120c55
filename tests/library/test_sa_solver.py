"""SA-Solver against DDIM and ancestral sampling, quadrature, SciPy and the marginals."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import quad, solve_ivp
from sde_worlds import MIXTURE, even, law, line, marginal, orders
from torch import Tensor
from worlds import PRESERVING, SCHEDULES, f64, gaussian, scalar

from gendi.diffusion.gaussian.exact import MixtureDenoiser
from gendi.diffusion.gaussian.samplers.ancestral import ancestral
from gendi.diffusion.gaussian.samplers.ddim import ddim
from gendi.diffusion.gaussian.samplers.sa_solver import sa_solver
from gendi.diffusion.gaussian.schedule import make_schedule

# ---- SA-Solver


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(("tau", "other"), [(0.0, ddim), (1.0, ancestral)])
def test_first_order_is_ddim_or_ancestral(name: str, tau: float, other: Callable[..., Any]) -> None:
    schedule = make_schedule(name)
    runs = [
        run(line(schedule), gaussian(3, 1), f64(1, 0.9, 0.6, 0.2, 0), lambda k: gaussian(3, 1, seed=k), **options)
        for run, options in ((sa_solver, {"tau": tau, "order": 1, "correct": False}), (other, {}))
    ]
    for one, two in zip(*runs, strict=True):
        torch.testing.assert_close(one.x, two.x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("tau", [0.0, 0.6, 1.0])
@pytest.mark.parametrize(("order", "correct"), [(2, False), (1, True), (2, True), (3, False), (3, True)])
def test_every_step_is_the_integral_of_lagranges_polynomial(tau: float, order: int, correct: bool) -> None:
    """The paper's solution formula, with the polynomials as products and the integrals by SciPy."""
    schedule = make_schedule("cosine")
    world, times = line(schedule), f64(0.95, 0.8, 0.7, 0.5, 0.35, 0.2)
    lam = (schedule.log_snr(times) / 2).tolist()
    levels = [(a, s) for a, s in zip(*(c.tolist() for c in schedule(times)))]
    p = 1 + tau**2

    def step(k: int, x: Tensor, known: list[tuple[float, Tensor]]) -> Tensor:
        (_, before), (alpha, sigma) = levels[k], levels[k + 1]
        h = lam[k + 1] - lam[k]
        x = sigma / before * math.exp(-(tau**2) * h) * x
        x = x + sigma * math.sqrt(-math.expm1(-2 * tau**2 * h)) * gaussian(3, 1, seed=k)
        for j, (node, x_0) in enumerate(known):
            others = [other for i, (other, _) in enumerate(known) if i != j]

            def integrand(at: float, node: float = node, others: list[float] = others) -> float:
                lagrange = np.prod([(at - other) / (node - other) for other in others])
                return float(p * math.exp(-p * (lam[k + 1] - at)) * lagrange)

            x = x + alpha * quad(integrand, lam[k], lam[k + 1], epsabs=1e-13)[0] * x_0
        return x

    x, start, known, expected = gaussian(3, 1, seed=50), None, [], []
    for k in range(5):
        x_0 = world(x, times[k])
        if correct and start is not None:
            x = step(k - 1, start, [(lam[k], x_0), *known])
        known = [(lam[k], x_0), *known][:order]
        start, x = x, step(k, x, known)
        expected.append(x)
    states = sa_solver(
        world,
        gaussian(3, 1, seed=50),
        times,
        lambda k: gaussian(3, 1, seed=k),
        tau=tau,
        order=order,
        correct=correct,
    )
    for state, one in zip(states, expected, strict=True):
        torch.testing.assert_close(state.x, one, rtol=1e-8, atol=1e-8)


def ode(denoiser: MixtureDenoiser, start: Tensor, times: Tensor) -> Tensor:
    """Solve d(x / alpha) / dl = (x / alpha - x0_hat) / l, l = sigma / alpha, by SciPy, l being e^-lambda."""
    alpha, _ = denoiser.schedule(times)

    def slope(minus_lambda: float, y: Any) -> Any:
        t = denoiser.schedule.time(scalar(-2 * minus_lambda))
        x = torch.as_tensor(y)[:, None] * denoiser.schedule(t)[0]
        return y - denoiser(x, t)[:, 0].numpy()

    ends = (-denoiser.schedule.log_snr(times[[0, -1]]) / 2).tolist()
    solution = solve_ivp(slope, ends, (start / alpha[0])[:, 0].numpy(), method="DOP853", rtol=1e-11, atol=1e-11)
    return alpha[-1] * torch.as_tensor(solution.y[:, -1:])


@pytest.mark.parametrize("correct", [False, True])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_order_at_tau_zero(order: int, correct: bool) -> None:
    """A corrector adds one; the first step, with one node, leaves 2 at most without it and 3 with it."""
    denoiser = MixtureDenoiser(make_schedule("linear"), **MIXTURE)
    start, times = f64(-1.5, -0.2, 0.1, 0.4, 2.0)[:, None], even(denoiser.schedule, 1)
    answer, errors = ode(denoiser, start, times), []
    for n in (40, 80, 160):
        *_, last = sa_solver(
            denoiser,
            start,
            even(denoiser.schedule, n),
            lambda k: start,
            tau=0.0,
            order=order,
            correct=correct,
        )
        errors.append((last.x - answer).abs().max().item())
    claimed = min(order + correct, 2 + correct)
    assert min(orders(errors)) > claimed - 0.3
    if order < 3:  # the third node is better than claimed until the first step's error is all that is left
        assert max(orders(errors)) < claimed + 0.3


@pytest.mark.parametrize("name", [*PRESERVING, "variance-exploding"])
@pytest.mark.parametrize(("order", "correct", "expected"), [(1, False, 1), (2, False, 2)])
def test_the_variance_it_draws_converges(name: str, order: int, correct: bool, expected: int) -> None:
    """tau = 1 on a Gaussian, between interior times: the error of the variance falls with the nodes."""
    schedule, errors = make_schedule(name), []
    for n in (50, 100, 200):
        times = even(schedule, n)
        got = law(sa_solver, line(schedule), times, order=order, correct=correct)[-1]
        errors.append(abs(got[1] - marginal(schedule, times[-1])[1]))
    assert orders(errors)[-1] == pytest.approx(expected, abs=0.35)
