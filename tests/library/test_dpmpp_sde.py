"""DPM-Solver++(2M) with eta = 1: at first order it is ancestral sampling, and it draws a Gaussian world correctly."""

import pytest
import torch
from torch import Tensor
from worlds import f64

from gendi.diffusion.gaussian.exact import GaussianDenoiser
from gendi.diffusion.gaussian.samplers import get_sampler, make_grid
from gendi.diffusion.gaussian.schedule import make_schedule
from gendi.errors import UsageError


def last(
    sampler: str, denoiser: GaussianDenoiser, x: Tensor, times: Tensor, noises: list[Tensor], **options: float
) -> Tensor:
    *_, state = get_sampler(sampler).run(denoiser, x, times, lambda k: noises[k], **options)
    return state.x


@pytest.mark.parametrize("name", ["linear", "cosine", "variance-exploding"])
def test_its_first_and_last_step_are_ancestral_with_small_variance(name: str) -> None:
    """Song et al.'s reverse SDE over one step of constant x0_hat is the posterior q(x_s | x_t, x_0)."""
    rng = torch.Generator().manual_seed(0)
    world = GaussianDenoiser(make_schedule(name), f64(0.3, -1.0), torch.eye(2, dtype=torch.float64) * 0.5)
    x = torch.randn(7, 2, generator=rng, dtype=torch.float64)
    noises = [torch.randn(7, 2, generator=rng, dtype=torch.float64) for _ in range(2)]
    for times in (f64(0.9, 0.4), f64(0.6, 0.0)):
        ours, paper = (last(s, world, x, times, noises) for s in ("dpmpp-2m-sde", "ancestral"))
        torch.testing.assert_close(ours, paper, rtol=1e-10, atol=1e-10)


def test_eta_zero_is_the_deterministic_solver_to_the_bit() -> None:
    world = GaussianDenoiser(make_schedule("cosine"), f64(0.0, 0.0), torch.eye(2, dtype=torch.float64))
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    times = make_grid(world.schedule, 8, "karras")
    ours = last("dpmpp-2m", world, x, times, [], eta=0.0)
    assert torch.equal(ours, last("dpmpp-2m", world, x, times, []))


@pytest.mark.statistical
def test_it_draws_the_gaussian_it_is_given() -> None:
    """20,000 draws of N(m, C), C = diag(4, 0.25): a variance v is known to v sqrt(2 / n), a mean to sqrt(v / n).

    Four standard errors, and 1% of a standard deviation for 120 steps of a second-order scheme.
    """
    n, mean, variance = 20_000, f64(1.0, -2.0), f64(4.0, 0.25)
    rng = torch.Generator().manual_seed(2)
    world = GaussianDenoiser(make_schedule("cosine"), mean, torch.diag(variance))
    times = make_grid(world.schedule, 120, "karras", (0.002, 200.0))
    x = world.schedule(times[0])[1] * torch.randn(n, 2, generator=rng, dtype=torch.float64)
    *_, state = get_sampler("dpmpp-2m-sde").run(
        world, x, times, lambda k: torch.randn(n, 2, generator=rng, dtype=torch.float64)
    )
    allowed = 4 * (variance / n).sqrt() + 0.01 * variance.sqrt()
    assert bool(((state.x.mean(0) - mean).abs() < allowed).all())
    assert bool(((state.x.var(0) - variance).abs() < 4 * variance * (2 / n) ** 0.5 + 0.02 * variance).all())


@pytest.mark.parametrize("eta", [-0.1, 1.1])
def test_eta_out_of_range(eta: float) -> None:
    world = GaussianDenoiser(make_schedule("cosine"), f64(0.0), torch.ones(1, 1, dtype=torch.float64))
    with pytest.raises(UsageError, match="eta = .* is out of range"):
        last("dpmpp-2m", world, torch.zeros(1, 1, dtype=torch.float64), f64(0.9, 0.0), [], eta=eta)
