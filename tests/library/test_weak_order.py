"""The weak order of the samplers that draw noise: with half the step the error of the law is 2^-order of what it was.

On x_0 ~ N(m, c) a sampler is affine in its start and in each of its noises, so a batch of unit vectors gives the law at
the end without statistics (as in test_sampler_laws), and the exact law is the marginal's. The grids are even in log-SNR
between two interior times.
"""

import math
from typing import Any

import pytest
import torch
from sde_worlds import even, law, line, marginal, orders
from torch import Tensor
from worlds import f64

from gendi.diffusion.gaussian.exact import MixtureDenoiser
from gendi.diffusion.gaussian.samplers import SAMPLERS, get_sampler
from gendi.diffusion.gaussian.schedule import make_schedule

ENDS = (0.4, 0.05)
NOISY = sorted(
    n for n, i in SAMPLERS.items() if not i.deterministic and i.takes == "mean" and n != "predictor-corrector"
)


def errors_of(
    sampler: str, name: str, sizes: tuple[int, ...], ends: tuple[float, float] = ENDS, **options: Any
) -> list[float]:
    """Return the error of the variance at the end, relative to it, for each number of steps."""
    schedule, found = make_schedule(name), []
    for n in sizes:
        times = even(schedule, n, ends)
        _, exact = marginal(schedule, times[-1])
        _, variance = law(get_sampler(sampler).run, line(schedule), times, **options)[-1]
        found.append(variance / exact - 1)
    return found


@pytest.mark.parametrize("name", ["linear", "cosine"])
@pytest.mark.parametrize("sampler", NOISY)
def test_the_weak_order_is_the_one_claimed(sampler: str, name: str) -> None:
    info = get_sampler(sampler)
    options = {"churn_noise": 1.0} if "churn_noise" in info.options else {}  # 1.003 is a bias that no step size mends
    slopes = orders([abs(e) for e in errors_of(sampler, name, (128, 256, 512), **options)])
    assert slopes == pytest.approx([info.order] * 2, abs=0.3)  # sa-solver is at 2.3 and 2.2, on its way to 2
    assert abs(slopes[-1] - info.order) < 0.25


@pytest.mark.parametrize("name", ["linear", "cosine", "variance-exploding"])
def test_the_correctors_bias_does_not_vanish_with_the_steps(name: str) -> None:
    """predictor-corrector claims order 0. A Langevin step of size e on a Gaussian of variance v maps the variance w to
    (1 - e / v)^2 w + 2 e, which rests at v / (1 - e / 2 v): too large by snr^2 sigma^2 / v, for e = 2 snr^2 sigma^2.
    Without the corrector the order is the predictor's.
    """
    assert get_sampler("predictor-corrector").order == 0
    schedule, snr = make_schedule(name), 0.3
    _, sigma = (value.item() for value in schedule(f64(0.4)[0]))
    _, v = marginal(schedule, f64(0.4)[0])
    (bias,) = errors_of("predictor-corrector", name, (600,), (0.6, 0.4), snr=snr)
    step = 2 * (snr * sigma) ** 2
    assert bias == pytest.approx(1 / (1 - step / (2 * v)) - 1, rel=0.05)
    slopes = orders([abs(e) for e in errors_of("predictor-corrector", name, (64, 128, 256), snr=0.0)])
    assert slopes == pytest.approx([1, 1], abs=0.1)


@pytest.mark.statistical
@pytest.mark.parametrize("sampler", ["dpmpp-2m-sde", "sa-solver", "ancestral"])
def test_a_mixtures_second_moment_converges_at_second_order(sampler: str) -> None:
    """A denoiser that is not affine. Two grids share their noise: that of a step from t to s is, for the reverse SDE,
    a Brownian path in the clock e^(2 lambda), so the coarse noise is the weighted sum of the fine ones, and the
    difference of two grids has little variance. At second order it falls by 4 with each halving, at first by 2, as
    that of `ancestral` must; 2.7 parts them.
    """
    schedule, paths = make_schedule("cosine"), 60_000
    world = MixtureDenoiser(schedule, f64(0.3, 0.7), f64(-1, 1)[:, None], torch.full((2, 1, 1), 0.16).double())
    alpha, sigma = (v.item() for v in schedule(f64(0.8)[0]))
    generator = torch.Generator().manual_seed(0)
    pick = torch.rand(paths, 1, generator=generator, dtype=torch.float64) < 0.7
    x_0 = torch.where(pick, 1.0, -1.0) + 0.4 * torch.randn(paths, 1, generator=generator, dtype=torch.float64)
    start = alpha * x_0 + sigma * torch.randn(paths, 1, generator=generator, dtype=torch.float64)

    def end(times: Tensor, noises: list[Tensor]) -> Tensor:
        *_, last = get_sampler(sampler).run(world, start, times, lambda k: noises[k])
        return last.x

    fine = even(schedule, 32, (0.8, 0.1))
    noises = [torch.randn(paths, 1, generator=generator, dtype=torch.float64) for _ in range(32)]
    ends = {32: end(fine, noises)}
    for n in (16, 8):
        clock = (schedule.log_snr(even(schedule, 2 * n, (0.8, 0.1)))).exp()
        spans = clock.diff().sqrt()
        noises = [
            (spans[2 * k] * noises[2 * k] + spans[2 * k + 1] * noises[2 * k + 1])
            / (spans[2 * k] ** 2 + spans[2 * k + 1] ** 2).sqrt()
            for k in range(n)
        ]
        ends[n] = end(even(schedule, n, (0.8, 0.1)), noises)
    coarse, half = ((ends[n].square() - ends[2 * n].square()).mean().item() for n in (8, 16))
    spread = (ends[8].square() - ends[16].square()).std().item() / math.sqrt(paths)
    assert (abs(coarse) > 2.7 * abs(half)) == (get_sampler(sampler).order == 2)
    assert abs(abs(coarse) - 2.7 * abs(half)) > 3 * spread  # so chance does not decide
