"""RePaint on Gaussian data, where it is an affine chain whose law can be followed exactly."""

import itertools

import pytest
import torch
from worlds import f64, gaussian, scalar

from gendi.diffusion.gaussian.exact import GaussianDenoiser
from gendi.diffusion.gaussian.inverse.repaint import repaint, walk
from gendi.diffusion.gaussian.samplers import get_sampler, make_grid
from gendi.diffusion.gaussian.schedule import make_schedule
from gendi.errors import UsageError

KNOWN = torch.tensor([True, False])
MEAN, Y = f64(0.5, -1.0), f64(1.4, 0.0)
RHO, STD = 0.9, 0.6


def world(rho: float = RHO) -> GaussianDenoiser:
    return GaussianDenoiser(make_schedule("cosine"), MEAN, STD**2 * f64(1, rho, rho, 1).reshape(2, 2))


def law(resamplings: int, jump: int = 1, steps: int = 12) -> tuple[float, float]:
    """Return mean and variance of the unknown value: of an affine map of the start and of every noise, each N(0, 1).

    Row 0 has no noise at all; the others have one number 1 in one place of the start or of one noise.
    """
    denoiser, times = world(), make_grid(make_schedule("cosine"), steps, "karras", (0.01, 20.0))
    draws = sum(1 for _ in walk(steps, resamplings, jump))
    inputs = torch.eye(2 * (1 + draws), dtype=torch.float64).reshape(-1, 1 + draws, 2)
    inputs = torch.cat([torch.zeros_like(inputs[:1]), inputs])
    run = repaint(
        denoiser, inputs[:, 0], times, lambda k: inputs[:, k + 1], y=Y[None], known=KNOWN, resamplings=resamplings,
        jump=jump,
    )  # fmt: skip
    for state in run:
        x = state.x
    assert bool((x[:, 0] == Y[0]).all())
    return x[0, 1].item(), (x[1:, 1] - x[0, 1]).square().sum().item()


def test_the_law_tends_to_the_posterior_as_resamplings_grow() -> None:
    """The posterior of the unknown value is N(m_2 + rho (y - m_1), s^2 (1 - rho^2)).

    The mean comes nearer with every resampling. The variance that is left is the grid's: noiseless at its end.
    """
    mean, variance = (MEAN[1] + RHO * (Y[0] - MEAN[0])).item(), STD**2 * (1 - RHO**2)
    in_mean = [abs(law(resamplings)[0] - mean) for resamplings in (1, 2, 4, 8, 16)]
    assert all(after < 0.8 * before for before, after in itertools.pairwise(in_mean)), in_mean
    assert in_mean[0] > 0.3 and in_mean[-1] < 0.1 * in_mean[0], in_mean
    in_variance = [abs(law(8, steps=steps)[1] - variance) for steps in (6, 12, 24)]
    assert in_variance == sorted(in_variance, reverse=True), in_variance


@pytest.mark.parametrize(("resamplings", "jump"), [(1, 1), (3, 1), (2, 2)])
def test_every_move_is_the_papers(resamplings: int, jump: int) -> None:
    """Down by the posterior, with what is known drawn from its marginal; up by q(x_t | x_s)  [Lugmayr et al. 2022]."""
    denoiser, times = world(), make_grid(make_schedule("cosine"), 4)
    moves = list(walk(4, resamplings, jump))
    noises, x = gaussian(len(moves), 3, 2, seed=1), gaussian(3, 2, seed=2)
    run = repaint(denoiser, x, times, lambda k: noises[k], y=Y[None], known=KNOWN, resamplings=resamplings, jump=jump)
    for k, (i, j) in enumerate(moves):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = denoiser.schedule(times[i]), denoiser.schedule(times[j])
        if j < i:  # up, to more noise
            factor = alpha_s / alpha_t
            x = factor * x + (sigma_s**2 - factor**2 * sigma_t**2).sqrt() * noises[k]
            continue
        factor, x_0 = alpha_t / alpha_s, denoiser(x, times[i])
        beta = sigma_t**2 - factor**2 * sigma_s**2
        mean = (factor * sigma_s**2 * x + alpha_s * beta * x_0) / sigma_t**2
        unknown = mean + (beta * sigma_s**2 / sigma_t**2).sqrt() * noises[k]
        x = torch.where(KNOWN, alpha_s * Y + sigma_s * noises[k], unknown)
        torch.testing.assert_close(next(run).x, x, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("resamplings", [1, 4])
def test_what_is_independent_of_the_known_is_ancestral_sampling(resamplings: int) -> None:
    """With one resampling and the same noise, to the digit; with more it keeps the law's mean."""
    denoiser, times = world(rho=0.0), make_grid(make_schedule("cosine"), 12)
    noises = gaussian(200, 3, 2, seed=1)
    start = gaussian(3, 2, seed=2)
    for state in get_sampler("ancestral").run(denoiser, start, times, lambda k: noises[k]):
        plain = state.x
    run = repaint(denoiser, start, times, lambda k: noises[k], y=Y[None], known=KNOWN, resamplings=resamplings)
    for state in run:
        painted = state.x
    same = torch.allclose(painted[:, 1], plain[:, 1], rtol=1e-12, atol=1e-12)
    assert same == (resamplings == 1)


def test_every_row_keeps_its_own_known_values() -> None:
    denoiser, y = world(), gaussian(3, 2, seed=3)
    times = make_grid(denoiser.schedule, 6)
    states = list(repaint(denoiser, gaussian(3, 2), times, lambda k: gaussian(3, 2, seed=k), y=y, known=KNOWN))
    assert torch.equal(states[-1].x[:, 0], y[:, 0]) and states[-1].s == scalar(0.0)
    assert len(states) == 6 * 10


@pytest.mark.parametrize(("n", "resamplings", "jump"), [(4, 1, 1), (5, 3, 1), (7, 4, 3), (3, 2, 9)])
def test_walks(n: int, resamplings: int, jump: int) -> None:
    """A walk goes down one place at a time, back up by at most `jump`, and over every stretch `resamplings` times."""
    steps = list(walk(n, resamplings, jump))
    assert steps[0][0] == 0 and steps[-1] == (n - 1, n)
    assert all(a[1] == b[0] for a, b in itertools.pairwise(steps))
    downs = [i for i, j in steps if j == i + 1]
    assert {(n - i) % jump for i, j in steps if j < i} <= {0}
    assert all(i - j == min(jump, i) for i, j in steps if j < i)
    assert [downs.count(i) for i in range(n)] == [resamplings] * n


def test_what_cannot_be() -> None:
    denoiser, x = world(), gaussian(3, 2)
    times = make_grid(denoiser.schedule, 4)
    for bad in ({"resamplings": 0}, {"jump": 0}):
        with pytest.raises(UsageError, match="1 or more"):
            list(repaint(denoiser, x, times, lambda k: x, y=Y[None], known=KNOWN, **bad))
    with pytest.raises(UsageError, match="decreasing"):
        list(repaint(denoiser, x, times.flip(0), lambda k: x, y=Y[None], known=KNOWN))
