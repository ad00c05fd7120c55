"""Respacing: a process of T steps, sampled on K of its times, is a shorter chain.  [Nichol & Dhariwal 2021, eq. 19]

The betas of this chain are 1 - abar_i / abar_{i-1} at those times. gendi needs no respaced process, because a step is
any pair (t, s).
"""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from worlds import abar_of, covariance, f64, gaussian, linear_betas

from gendi.diffusion.gaussian.exact import GaussianDenoiser
from gendi.diffusion.gaussian.process import Process
from gendi.diffusion.gaussian.samplers import get_sampler, make_grid
from gendi.diffusion.gaussian.schedule import make_schedule

T = 200
ABAR = abar_of(linear_betas(T))
PROCESS = Process(make_schedule("linear", T))


def respaced(indices: list[int]) -> tuple[list[float], list[float]]:
    """Return betas and abar of the chain on `indices` (increasing, from 1), as the paper makes them."""
    kept = [ABAR[i] for i in indices]
    betas = [1 - now / before for before, now in pairwise([1.0, *kept])]
    return betas, abar_of(betas)


@given(st.sets(st.integers(1, T), min_size=2, max_size=60))
def test_the_posterior_is_that_of_the_respaced_betas(chosen: set[int]) -> None:
    """Ho et al.'s eq. 7 by hand; 1 - abar loses 1e-16 / 1e-4 of itself at the first steps."""
    indices = sorted(chosen)
    betas, abar = respaced(indices)
    times = f64(*(i / T for i in indices))
    w_t, w_0, variance = (c.tolist() for c in PROCESS.posterior_weights(times[1:], times[:-1]))
    factor, beta = (c.tolist() for c in PROCESS.transition(times[1:], times[:-1]))
    log_large = PROCESS.reverse_log_variance(times[1:], times[:-1], 1.0).tolist()
    log_small = PROCESS.reverse_log_variance(times[1:], times[:-1], 0.0).tolist()
    for k in range(1, len(indices)):
        b, now, before = betas[k], 1 - abar[k + 1], 1 - abar[k]
        assert factor[k - 1] == pytest.approx(math.sqrt(1 - b), rel=1e-11)
        assert beta[k - 1] == pytest.approx(b, rel=1e-9)
        assert w_t[k - 1] == pytest.approx(math.sqrt(1 - b) * before / now, rel=1e-9)
        assert w_0[k - 1] == pytest.approx(math.sqrt(abar[k]) * b / now, rel=1e-9)
        assert variance[k - 1] == pytest.approx(before / now * b, rel=1e-9)
        assert log_large[k - 1] == pytest.approx(math.log(b), abs=1e-9)
        assert log_small[k - 1] == pytest.approx(math.log(before / now * b), abs=1e-9)


class Watched(GaussianDenoiser):
    """The exact denoiser of a plane, which keeps a list of the times at which it is called."""

    def __call__(self, x_t: Tensor, t: Tensor, **_: object) -> Tensor:
        self.times = [*getattr(self, "times", []), t.item()]
        return super().__call__(x_t, t)


def algorithm_2(world: GaussianDenoiser, x: Tensor, indices: list[int], variance: str) -> Tensor:
    """Ho et al.'s Algorithm 2 on a respaced chain, in their letters, noise `gaussian` of the step's number."""
    betas, abar = respaced(indices)
    for number, k in enumerate(reversed(range(len(indices)))):
        beta, now, before = betas[k], abar[k + 1], abar[k]
        x_0 = world(x, f64(indices[k] / T)[0])
        eps = (x - math.sqrt(now) * x_0) / math.sqrt(1 - now)
        x = (x - beta / math.sqrt(1 - now) * eps) / math.sqrt(1 - beta)
        if k > 0:
            spread = beta if variance == "large" else (1 - before) / (1 - now) * beta
            x = x + math.sqrt(spread) * gaussian(*x.shape, seed=number)
    return x


@pytest.mark.parametrize("variance", ["small", "large"])
@pytest.mark.parametrize("n", [1, 2, 27, T])
def test_sampling_on_a_grid_is_algorithm_2_of_the_respaced_chain(n: int, variance: str) -> None:
    """n = T is the whole chain, with the paper's own betas."""
    world = Watched(PROCESS.schedule, f64(1, -0.5), covariance(2))
    times = make_grid(PROCESS.schedule, n)
    indices = [round(t * T) for t in times.flip(0).tolist()[1:]]
    if n == T:
        assert indices == list(range(1, T + 1))
        assert respaced(indices)[0] == pytest.approx(linear_betas(T), rel=1e-9)
    x = gaussian(3, 2, seed=99)
    *_, last = get_sampler("ancestral").run(world, x, times, lambda k: gaussian(3, 2, seed=k), variance=variance)
    assert world.times == [i / T for i in reversed(indices)]  # the network sees the times it was trained at
    torch.testing.assert_close(last.x, algorithm_2(world, x, indices, variance), rtol=1e-8, atol=1e-8)
