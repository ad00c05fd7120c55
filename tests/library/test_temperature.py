"""The temperature that every sampler takes, against Gaussians, whose law at another temperature is a formula."""

import math

import numpy as np
import pytest
import torch
from worlds import SCHEDULES, covariance, f64, gaussian

from gendi.diffusion.gaussian.config import SampleConfig
from gendi.diffusion.gaussian.exact import GaussianDenoiser
from gendi.diffusion.gaussian.samplers import get_sampler, sample
from gendi.diffusion.gaussian.samplers.draw import calls_to_times
from gendi.diffusion.gaussian.samplers.grid import BOUNDS, Bounds, bounds_for
from gendi.diffusion.gaussian.samplers.temperature import Tempered, scaled, tempered
from gendi.diffusion.gaussian.schedule import Schedule, make_schedule
from gendi.errors import UsageError

CONTINUOUS = make_schedule("linear", None)


def line(variance: float, schedule: Schedule = CONTINUOUS, mean: float = 0.0) -> GaussianDenoiser:
    return GaussianDenoiser(schedule, f64(mean), f64(variance)[:, None])


def ratio(sampler: str, calls: int, width: float, bounds: Bounds = BOUNDS, temperature: float = 1.0) -> float:
    """Return the standard deviation of what a sampler draws of N(0, width^2), over width; no statistics.

    The samplers in question are affine in the start and in each noise, so the responses to unit vectors say it all.
    """
    info = get_sampler(sampler)
    times = calls_to_times(CONTINUOUS, info, calls, None, bounds)
    start = torch.zeros(calls + 3, 1, dtype=torch.float64)
    start[1] = CONTINUOUS(times[0])[1]

    def noise(k: int) -> torch.Tensor:
        unit = torch.zeros_like(start)
        unit[2 + k] = 1
        return unit

    *_, last = info.run(tempered(line(width**2), temperature), start, times, noise)
    return float((last.x[1:] - last.x[0]).square().sum().sqrt()) / width


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("temperature", [0.4, 0.8, 1.5])
def test_a_tempered_unit_gaussian_is_the_gaussian_of_that_variance(schedule: str, temperature: float) -> None:
    """The denoiser of N(m, I) at temperature T is that of N(m, T I) at every time, whatever the schedule."""
    noise = make_schedule(schedule, 100)
    mean = gaussian(3)
    warm = Tempered(GaussianDenoiser(noise, mean, torch.eye(3, dtype=torch.float64)), temperature)
    cold = GaussianDenoiser(noise, mean, temperature * torch.eye(3, dtype=torch.float64))
    for t in (0.01, 0.3, 0.7, 1.0):
        x, time = gaussian(5, 3, seed=1), torch.tensor(t, dtype=torch.float64)
        torch.testing.assert_close(warm(x, time), cold(x, time), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("scale", [0.3, 2.0])
def test_the_scale_says_for_which_gaussian_a_temperature_is_exact(scale: float) -> None:
    warm, cold = Tempered(line(scale**2), 0.5, scale), line(0.5 * scale**2)
    x, t = gaussian(5, 1), torch.tensor(0.4, dtype=torch.float64)
    torch.testing.assert_close(warm(x, t), cold(x, t), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("sampler", ["deis", "dpmpp-2m", "ddim", "dpmpp-2m-sde", "ancestral"])
def test_every_sampler_draws_the_tempered_law(sampler: str) -> None:
    """With 400 calls the samplers' own errors are below 2%, a first-order shrinkage of about 3 / calls included."""
    assert ratio(sampler, 400, 1.0, temperature=0.5) == pytest.approx(math.sqrt(0.5), rel=0.02)


def test_temperature_1_changes_no_bit() -> None:
    world = GaussianDenoiser(CONTINUOUS, torch.zeros(2), covariance(2))
    assert tempered(world, 1.0) is world
    plain, named = (
        sample(world, (2,), n=4, steps=5, **more) for more in ({}, {"temperature": 1.0, "noise_scale": 1.0})
    )
    assert torch.equal(plain, named)
    assert not torch.equal(plain, sample(world, (2,), n=4, steps=5, temperature=0.9))


def test_a_noise_scale_multiplies_the_fresh_noise_and_not_the_start() -> None:
    """Without fresh noise, what is left of an ancestral step is its mean, which one step of the formula gives."""
    world = line(0.5)
    cold = [sample(world, (1,), n=3, steps=4, sampler="ancestral", seed=s, noise_scale=0.0) for s in (0, 1)]
    assert not torch.equal(*cold), "the start must still depend on the seed"
    noise = scaled(lambda step: torch.full((2,), float(step)), 0.5)
    assert noise(3).tolist() == [1.5, 1.5]


@pytest.mark.parametrize("bad", [{"temperature": 0.0}, {"temperature": math.inf}, {"noise_scale": -0.1}])
def test_a_temperature_out_of_range_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="out of range"):
        sample(line(1.0), (1,), n=1, steps=2, **bad)


@pytest.mark.parametrize("width", [0.1, 0.3, 1.0, 2.0])
def test_the_default_sampler_is_right_on_a_gaussian_at_its_default_calls(width: float) -> None:
    """With the exact denoiser its standard deviation is right to 2%, at the bounds that belong to that width."""
    default = SampleConfig()
    assert ratio(default.sampler, default.steps, width) == pytest.approx(1.0, abs=0.06 if width == 0.1 else 0.02)


def test_the_default_sampler_is_right_on_correlated_data() -> None:
    """The directions of correlation 0.9 have the variances 1.9 and 0.1; the covariance is theirs, rotated."""
    default = SampleConfig()
    found = [ratio(default.sampler, default.steps, math.sqrt(v)) ** 2 * v for v in (1.9, 0.1)]
    error = math.hypot(found[0] - 1.9, found[1] - 0.1) / math.hypot(1.9, 0.1)
    assert error < 0.04


@pytest.mark.parametrize("sampler", ["deis", "dpmpp-2m", "dpmpp-3m"])
@pytest.mark.parametrize("width", [0.02, 0.03, 0.05, 0.1, 0.5, 1.0])
def test_a_narrow_direction_keeps_its_width(sampler: str, width: float) -> None:
    """The last step returns width^2 / (width^2 + end^2) of x, so an end of a fifth of the width costs 2%."""
    bounds = bounds_for(width)
    assert width / math.hypot(width, bounds[0]) > 0.98
    assert ratio(sampler, 100, width, bounds) == pytest.approx(1.0, abs=0.025)


def test_the_old_end_of_the_grid_cut_narrow_directions() -> None:
    """Why the bounds follow the data: at the fixed end 0.03 no number of calls brings back what is lost."""
    for width in (0.03, 0.05):
        assert ratio("deis", 200, width, (0.03, 20.0)) == pytest.approx(width / math.hypot(width, 0.03), abs=0.01)


def test_bounds_follow_the_smallest_scale_between_their_ends() -> None:
    assert bounds_for(None) == BOUNDS
    assert bounds_for(1.0) == BOUNDS
    assert bounds_for(0.05) == (pytest.approx(0.01), BOUNDS[1])
    assert bounds_for(1e-4) == (0.002, BOUNDS[1])


def test_the_law_of_samples_is_the_tempered_one() -> None:
    """Statistical: 20,000 samples of N(0, 1) at T = 0.64; the standard deviation's own error is 0.8 / sqrt(2 n)."""
    x = sample(line(1.0), (1,), n=20_000, steps=30, sampler="deis", temperature=0.64, batch_size=20_000)
    assert float(x.std()) == pytest.approx(0.8, abs=4 * 0.8 / np.sqrt(2 * 20_000) + 0.004)
