"""The probability-flow ODE against the library `torchdiffeq`, which solves the equation in the form of its paper,

    dx/dt = f x - g^2 / 2 grad log q(x),      d log q / dt = -div(dx/dt)           [Song et al. 2021, eqs. 13 and 39]

in t and x themselves, with the score and the divergence differentiated from the mixture's density. Our solvers know
neither f nor g nor a score, and have other variables. Both sides keep a tolerance of 1e-8 per step; some tens of steps,
in which the flow spreads neighbours e-fold at most, leave less than 1e-6.
"""

import pytest
import torch
from torch import Tensor
from torchdiffeq import odeint
from worlds import covariance, f64, gaussian, scalar

from gendi.diffusion.gaussian.exact import MixtureDenoiser
from gendi.diffusion.gaussian.likelihood import log_density
from gendi.diffusion.gaussian.samplers import get_sampler
from gendi.diffusion.gaussian.schedule import make_schedule

NAMES = ("linear", "cosine", "sigmoid", "variance-exploding", "sub-vp", "rectified-flow")
TOLERANCE = 1e-8
CLOSE = 1e-6


def world(name: str) -> MixtureDenoiser:
    covariances = torch.stack([0.2 * covariance(2, seed) for seed in (1, 2)])
    means = f64(-1.4, 0.35, 0.6, -0.15).reshape(2, 2)
    return MixtureDenoiser(make_schedule(name), f64(0.3, 0.7), means, covariances)


class Flow:
    """d(x, log q) / dt for rows of x (B, 2)."""

    def __init__(self, denoiser: MixtureDenoiser) -> None:
        self.denoiser = denoiser

    def velocity(self, t: Tensor, x: Tensor) -> Tensor:
        f, g2 = self.denoiser.schedule.rates(t)
        score = torch.autograd.grad(self.denoiser.log_density(x, t).sum(), x, create_graph=True)[0]
        return f * x - g2 / 2 * score

    def __call__(self, t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            x = state[0].detach().requires_grad_()
            slope = self.velocity(t, x)
            rows = [torch.autograd.grad(slope[:, j].sum(), x, retain_graph=True)[0][:, j] for j in range(x.shape[1])]
        return slope.detach(), -torch.stack(rows).sum(0)


def theirs(denoiser: MixtureDenoiser, x: Tensor, begin: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    """Return x at `end` and what log q has gained on the way there."""
    times = torch.stack([begin, end])
    start = x, torch.zeros(len(x), dtype=torch.float64)
    # or its guess of a first step, and its last one, which it interpolates, would leave [0, 1]
    inside = {"step_t": end[None], "first_step": 1e-3}
    x_t, gain = odeint(Flow(denoiser), start, times, rtol=TOLERANCE, atol=TOLERANCE, method="dopri5", options=inside)
    return x_t[-1], gain[-1]


@pytest.mark.parametrize("name", NAMES)
def test_samples(name: str) -> None:
    denoiser, begin, end = world(name), scalar(0.9), scalar(0.02)
    alpha, sigma = denoiser.schedule(begin)
    x = alpha * denoiser.sample_data(f64(0.1, 0.2, 0.5, 0.9), gaussian(4, 2)) + sigma * gaussian(4, 2, seed=1)
    options = {"rtol": TOLERANCE, "atol": TOLERANCE}
    *_, last = get_sampler("dopri5").run(denoiser, x, torch.stack([begin, end]), gaussian, **options)
    torch.testing.assert_close(last.x, theirs(denoiser, x, begin, end)[0], rtol=CLOSE, atol=CLOSE)


@pytest.mark.parametrize("name", NAMES)
def test_densities(name: str) -> None:
    """log p(y) = log q(x) + d ln alpha for x = alpha y at the noise where the flow starts; q at t = 1 is N(0, sigma^2)
    for both.
    """
    denoiser, noise = world(name), 0.05
    y = denoiser.sample_data(f64(0.1, 0.2, 0.5, 0.9), gaussian(4, 2))
    ours = log_density(denoiser, y, divergence="exact", rtol=TOLERANCE, atol=TOLERANCE, smallest=noise)
    begin, end = denoiser.schedule.time(-2 * scalar(noise).log()), scalar(1.0)
    alpha = denoiser.schedule(begin)[0]
    x, gain = theirs(denoiser, alpha * y, begin, end)
    prior = torch.distributions.Normal(0.0, denoiser.schedule(end)[1]).log_prob(x).sum(1)
    torch.testing.assert_close(ours.values, -(prior - gain + 2 * alpha.log()) / 2, rtol=CLOSE, atol=CLOSE)
