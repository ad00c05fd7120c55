"""Variations, denoising, interpolation and mixtures on Gaussian data, where each is a formula."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from worlds import covariance, f64, gaussian, scalar

from gendi.diffusion.gaussian.exact import GaussianDenoiser
from gendi.diffusion.gaussian.inverse.latent import interpolate, mix, on_chain, slerp
from gendi.diffusion.gaussian.inverse.methods import inpaint, solve
from gendi.diffusion.gaussian.inverse.noisy import MEDIAN, denoise, denoised_mean, estimate_noise, vary
from gendi.diffusion.gaussian.inverse.operators import Pool
from gendi.diffusion.gaussian.samplers import get_sampler, sample
from gendi.diffusion.gaussian.samplers.draw import SampleNoise, times_from
from gendi.diffusion.gaussian.samplers.drawing import Drawing
from gendi.diffusion.gaussian.schedule import make_schedule
from gendi.errors import UsageError

D = 4
MEAN, COVARIANCE = gaussian(D, seed=3), covariance(D)
HOW = Drawing(steps=60, sampler="unipc", grid="log-snr", bounds=(2e-3, 2e3), seed=5)


def world(steps: int | None = None) -> GaussianDenoiser:
    return GaussianDenoiser(make_schedule("cosine", steps), MEAN, COVARIANCE)


def data(n: int, seed: int = 1) -> Tensor:
    return MEAN + gaussian(n, D, seed=seed) @ torch.linalg.cholesky(COVARIANCE).T


def along(function: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the matrix with C's eigenvectors and function(C's eigenvalues)."""
    values, vectors = torch.linalg.eigh(COVARIANCE)
    return vectors @ torch.diag(function(values)) @ vectors.T


def flow(x: Tensor, alpha: Tensor, sigma: Tensor, back: bool = False) -> Tensor:
    """The ODE of a Gaussian keeps each direction's place in its marginal: x_t - alpha m = (S_t / C)^(1/2) (x - m)."""
    root = along(lambda c: ((alpha**2 * c + sigma**2) / c).sqrt())
    return MEAN + (x - alpha * MEAN) @ torch.linalg.inv(root) if back else alpha * MEAN + (x - MEAN) @ root


@pytest.mark.parametrize("strength", [0.2, 0.6, 1.0])
def test_a_variation_is_noise_and_the_flow_back(strength: float) -> None:
    denoiser, x_0 = world(), data(3)
    alpha, sigma = denoiser.schedule(scalar(strength))
    noise = SampleNoise(HOW.seed, range(3), (D,), "cpu")(0).double()
    expected = flow(alpha * x_0 + sigma * noise, alpha, sigma, back=True)
    torch.testing.assert_close(vary(denoiser, x_0, strength, HOW).double(), expected, rtol=0, atol=2e-3)


def test_the_ends_of_strength() -> None:
    """0 is the picture; 1 is what `sample` draws, except for the signal that the cosine schedule leaves, 5e-5."""
    denoiser, x_0 = world(), data(3).float()
    assert torch.equal(vary(denoiser, x_0, 0.0, HOW), x_0)
    fresh = sample(denoiser, (D,), 3, steps=60, sampler="unipc", grid="log-snr", bounds=(2e-3, 2e3), seed=5)
    torch.testing.assert_close(vary(denoiser, x_0, 1.0, HOW), fresh, rtol=0, atol=1e-3)
    for strength in (-0.1, 1.1, math.nan):
        with pytest.raises(UsageError, match="between 0"):
            vary(denoiser, x_0, strength, HOW)


@pytest.mark.parametrize("std", [0.1, 0.7, 3.0])
def test_the_mean_of_a_noisy_picture(std: float) -> None:
    """E[x_0 | y] = m + C (C + s^2)^-1 (y - m)."""
    y = data(3) + std * gaussian(3, D, seed=2)
    expected = MEAN + (y - MEAN) @ along(lambda c: c / (c + std**2))
    torch.testing.assert_close(denoised_mean(world(), y, std), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.statistical
def test_denoising_draws_from_the_posterior() -> None:
    """q(x_0 | y) has covariance C s^2 / (C + s^2): 5 standard errors, and 0.01 for the sampler's own with 80 calls."""
    std, n = 0.7, 4000
    y = data(1) + std * gaussian(1, D, seed=2)
    how = Drawing(steps=80, sampler="dpmpp-2m-sde", grid="log-snr", bounds=(5e-3, 50.0), batch_size=n)
    x = denoise(world(), y.expand(n, D), std, how).double()
    mean, left = denoised_mean(world(), y, std)[0], along(lambda c: c * std**2 / (c + std**2))
    variances = left.diagonal()
    assert bool(((x.mean(0) - mean).abs() < 5 * (variances / n).sqrt() + 0.01).all())
    error = 5 * ((torch.outer(variances, variances) + left**2) / n).sqrt() + 0.01
    assert bool(((x.T.cov() - left).abs() < error).all())


@pytest.mark.parametrize("std", [0.0, -1.0, 1e9, math.nan])
def test_noise_that_no_time_has(std: float) -> None:
    with pytest.raises(UsageError, match="above 0 and at most"):
        denoise(world(), data(2), std, HOW)


def noise_error(n: int) -> float:
    """Five standard deviations of the median of |N(0, 1)| over n, over that median: 1 / (2 f sqrt(n)), f its density
    2 phi(0.6745).
    """
    density = 2 * math.exp(-(MEDIAN**2) / 2) / math.sqrt(2 * math.pi)
    return 5 / (2 * density * math.sqrt(n)) / MEDIAN


@pytest.mark.statistical
@pytest.mark.parametrize("std", [0.02, 0.3])
def test_the_noise_of_a_slope_is_found(std: float) -> None:
    """A plane has no diagonal detail; a last row or column of odd number is left out."""
    slope = torch.linspace(-1, 1, 65, dtype=torch.float64)[:, None] + torch.linspace(0, 2, 67, dtype=torch.float64)
    y = slope.expand(2, 3, 65, 67) + std * gaussian(2, 3, 65, 67)
    found = estimate_noise(y)
    assert bool(((found / std - 1).abs() < noise_error(3 * 32 * 33)).all()), found


@pytest.mark.statistical
def test_edges_hardly_move_the_estimate() -> None:
    """With a share e of other blocks the median lies between the clean (1/2 - e) / (1 - e) and (1/2) / (1 - e)
    quantiles.
    """
    std, side = 0.1, 128
    picture = torch.zeros(1, 1, side, side, dtype=torch.float64)
    picture[..., 33:96, 33:96] = 1.0  # its four corners alone have diagonal details
    picture[..., ::2, 0:8:4] = 1.0  # and two columns of points: 2 of 64 blocks in a row
    e = 2 / 64 + 4 / 64**2
    normal = torch.distributions.Normal(0.0, 1.0)
    low, high = (normal.icdf(torch.tensor((1 + q) / 2)).item() for q in ((0.5 - e) / (1 - e), 0.5 / (1 - e)))
    found = estimate_noise(picture + std * gaussian(1, 1, side, side)).item() / std * MEDIAN
    slack = noise_error(64**2) * MEDIAN
    assert low - slack < found < high + slack


def test_noise_of_too_small_a_picture() -> None:
    with pytest.raises(UsageError, match="2 x 2"):
        estimate_noise(torch.zeros(1, 1, 1, 5))


def test_slerp_turns_evenly_and_keeps_the_length() -> None:
    """From (1, 0) to (0, 1) the point at w is (cos, sin) of w pi / 2; rows have weights of their own."""
    a, b, w = f64(1, 0).expand(4, 2), f64(0, 1).expand(4, 2), f64(0, 1 / 3, 0.5, 1)
    expected = torch.stack([(w * math.pi / 2).cos(), (w * math.pi / 2).sin()], 1)
    torch.testing.assert_close(slerp(a, b, w), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(slerp(a, 2 * a, scalar(0.25)), 1.25 * a)
    torch.testing.assert_close(slerp(a, -a, scalar(0.25)), 0.5 * a)


def test_interpolation_is_the_great_circle_between_the_noises() -> None:
    denoiser, a, b = world(), data(1).expand(5, D), data(1, seed=9).expand(5, D)
    w = torch.linspace(0, 1, 5, dtype=torch.float64)
    alpha, sigma = denoiser.schedule(scalar(1.0))
    first, last = (flow(x[:1], alpha, sigma)[0].numpy() for x in (a, b))
    angle = np.arccos(first @ last / np.linalg.norm(first) / np.linalg.norm(last))
    points = [(np.sin((1 - v) * angle) * first + np.sin(v * angle) * last) / np.sin(angle) for v in w.numpy()]
    expected = flow(torch.from_numpy(np.stack(points)), alpha, sigma, back=True)
    found = interpolate(denoiser, a, b, w, steps=100)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)
    torch.testing.assert_close(found[[0, -1]], torch.stack([a[0], b[0]]), rtol=0, atol=1e-3)
    with pytest.raises(UsageError, match="between 0 and 1"):
        interpolate(denoiser, a, b, 2 * w)


@pytest.mark.parametrize(("weight", "detail"), [(0.0, 0.0), (1.0, 1.0), (0.0, 1.0), (0.3, 0.8)])
def test_a_mixture_has_the_content_of_one_and_the_detail_of_the_other(weight: float, detail: float) -> None:
    denoiser, a, b = world(), data(2), data(2, seed=9)
    alpha, sigma = denoiser.schedule(scalar(0.5))
    precision = along(lambda c: 1 / (alpha**2 * c + sigma**2))
    centred = [flow(x, alpha, sigma) - alpha * MEAN for x in (a, b)]
    content = [MEAN + alpha * x @ precision @ COVARIANCE for x in centred]
    eps = [sigma * x @ precision for x in centred]
    x_t = alpha * ((1 - weight) * content[0] + weight * content[1]) + sigma * slerp(eps[0], eps[1], scalar(detail))
    expected = flow(x_t, alpha, sigma, back=True)
    found = mix(denoiser, a, b, weight, detail, level=0.5, steps=100)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)
    if weight == detail:
        torch.testing.assert_close(found, b if weight else a, rtol=0, atol=1e-3)
        torch.testing.assert_close(mix(denoiser, a, b, weight, steps=100), found)


def test_mixtures_that_cannot_be() -> None:
    for bad in ({"weight": 1.2}, {"weight": 0.5, "detail": -0.1}, {"weight": 0.5, "level": 0.0}):
        with pytest.raises(UsageError, match="out of range"):
            mix(world(), data(1), data(1), **bad)


@pytest.mark.parametrize("name", ["ancestral-karras", "ddim", "heun", "euler-maruyama", "dopri5"])
@pytest.mark.parametrize("t", [0.03, 0.4, 0.97])
@pytest.mark.parametrize("chain", [None, 1000])
def test_a_sampler_may_start_anywhere(name: str, t: float, chain: int | None) -> None:
    """It makes the intervals of its number of calls from t to 0; on a chain it visits times of the chain."""
    info, schedule = get_sampler(name), make_schedule("cosine", chain)
    times = times_from(schedule, info, t, replace(HOW, grid=None, steps=20))
    assert len(times) == info.intervals(20) + 1 and times[0] == t and times[-1] == 0
    assert bool((times.diff() < 0).all())
    if chain is not None:
        torch.testing.assert_close(times * chain, (times * chain).round(), rtol=0, atol=1e-9)


def test_a_chain_has_no_more_times_than_its_steps() -> None:
    schedule = make_schedule("cosine", 100)
    times = times_from(schedule, get_sampler("ddim"), 0.05, replace(HOW, grid=None, steps=20))
    torch.testing.assert_close(times, f64(0.05, 0.04, 0.03, 0.02, 0.01, 0.0))
    with pytest.raises(UsageError, match="t = 0"):
        times_from(schedule, get_sampler("ddim"), 0.0, HOW)


class Pictures:
    """A denoiser of vectors as a denoiser of pictures."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.denoiser, self.shape, self.schedule = world(), shape, world().schedule

    def __call__(self, x_t: Tensor, t: Tensor, **cond: Any) -> Tensor:
        return self.denoiser(x_t.flatten(1), t).unflatten(1, self.shape)


def edits() -> dict[str, Callable[[Drawing], Tensor]]:
    x_0, known = data(5).float(), torch.tensor([True, True, False, False])
    pictures, small = Pictures((1, 2, 2)), gaussian(5, 1, 1, 1, seed=4).float()
    return {
        "vary": lambda how: vary(world(), x_0, 0.5, how),
        "denoise": lambda how: denoise(world(), x_0, 0.5, how),
        "mmps": lambda how: inpaint(world(), x_0, known, how),
        "pigdm": lambda how: inpaint(world(), x_0, known, how, method="pigdm"),
        "dps": lambda how: inpaint(world(), x_0, known, how, method="dps"),
        "repaint": lambda how: inpaint(world(), x_0, known, how, method="repaint", resamplings=3, jump=2),
        "upscale": lambda how: solve(pictures, Pool(2), small, (1, 2, 2), how, std=0.1),
    }


@pytest.mark.parametrize("name", list(edits()))
@pytest.mark.parametrize("sampler", ["ancestral-karras", "euler-maruyama"])
def test_results_do_not_depend_on_the_batch(name: str, sampler: str) -> None:
    """Every sample has random streams of its own, keyed by the seed."""
    edit, how = edits()[name], Drawing(steps=6, sampler=sampler, seed=3)
    together = edit(how)
    torch.testing.assert_close(edit(replace(how, batch_size=2)), together, rtol=1e-4, atol=1e-4)
    assert together.shape[0] == 5 and together.dtype == torch.float32
    assert not torch.allclose(edit(replace(how, seed=4)), together)


@pytest.mark.parametrize("method", ["mmps", "dps", "repaint"])
def test_what_is_known_stays(method: str) -> None:
    x_0, known = data(3).float(), torch.tensor([True, False, True, False])
    painted = inpaint(world(), x_0, known, Drawing(steps=5), method=method)
    assert torch.equal(painted[:, known], x_0[:, known]) and not torch.allclose(painted, x_0)


def test_edits_that_cannot_be() -> None:
    x_0, known = data(3).float(), torch.tensor([True, False, True, False])
    with pytest.raises(UsageError, match="Perhaps you meant 'mmps'"):
        inpaint(world(), x_0, known, HOW, method="mmp")
    with pytest.raises(UsageError, match="repaint"):
        solve(Pictures((1, 2, 2)), Pool(2), torch.zeros(1, 1, 1, 1), (1, 2, 2), HOW, method="repaint")
    with pytest.raises(UsageError, match="nothing is unknown"):
        inpaint(world(), x_0, torch.ones(D).bool(), HOW)
    with pytest.raises(UsageError, match="does not fit"):
        inpaint(world(), x_0, torch.tensor([True, False]), HOW, method="repaint")
    with pytest.raises(UsageError, match="option"):
        vary(world(), x_0, 0.5, replace(HOW, options={"churn": 3.0}))


@pytest.mark.parametrize(("t", "nearest"), [(1e-4, 0.1), (0.14, 0.1), (0.16, 0.2), (0.5, 0.5), (1.0, 1.0)])
def test_an_edit_on_a_chain_starts_at_a_time_that_its_network_knows(t: float, nearest: float) -> None:
    chain, continuous = (GaussianDenoiser(make_schedule("linear", steps), f64(0), f64(1)[None]) for steps in (10, None))
    assert on_chain(chain, t) == nearest
    assert on_chain(continuous, t) == t
