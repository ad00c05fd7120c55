"""Draws of x_0 whose linear scores keep bounds, in worlds where the law given the bounds is a formula."""

import math

import pytest
import torch
from scipy.stats import truncnorm
from torch import Tensor
from worlds import covariance, f64, gaussian

from gendi.diffusion.gaussian.exact import GaussianDenoiser, MixtureDenoiser
from gendi.diffusion.gaussian.inverse.box import Box, in_box, truncated_normal
from gendi.diffusion.gaussian.samplers import Drawing
from gendi.diffusion.gaussian.schedule import make_schedule
from gendi.errors import UsageError

D, N = 5, 1500
SCHEDULE = make_schedule("cosine")
AXES = torch.linalg.inv(torch.eye(D, dtype=torch.float64) + 0.3 * gaussian(D, D, seed=9))
MEAN = 0.5 * gaussian(D, seed=3)
HOW = Drawing(batch_size=N, bounds=(0.02, 20.0), steps=150)


def free(n: int = N, d: int = D) -> tuple[Tensor, Tensor]:
    low = torch.full((n, d), -math.inf, dtype=torch.float64)
    return low, -low


def agrees(drawn: Tensor, mean: Tensor, cov: Tensor, excess: float) -> None:
    """Assert mean and covariance within five standard errors, the covariance within a further share of `excess`."""
    std = cov.diagonal().sqrt()
    assert bool(((drawn.mean(0) - mean).abs() <= 5 * std / math.sqrt(len(drawn)) + 0.01 * std).all())
    room = 5 * math.sqrt(2 / len(drawn)) + excess
    assert bool(((torch.cov(drawn.T) - cov).abs() <= room * std[:, None] * std).all())


@pytest.mark.statistical
@pytest.mark.parametrize("unit", [True, False], ids=["white", "correlated"])
def test_known_scores_of_a_gaussian_leave_its_conditional_law(unit: bool) -> None:
    """With v = eta^2 / (1 + eta^2) the sampler is exact for N(m, I); for another covariance it errs a little."""
    c = torch.eye(D, dtype=torch.float64) if unit else covariance(D)
    low, high = free()
    known, others = [0, 3], [1, 2, 4]
    low[:, known] = high[:, known] = f64(0.8, -0.5)
    x = in_box(GaussianDenoiser(SCHEDULE, MEAN, c), Box.of(AXES, low, high), HOW)
    z = x @ AXES
    assert float((z[:, known] - f64(0.8, -0.5)).abs().max()) < 1e-9
    cz, mz = AXES.T @ c @ AXES, MEAN @ AXES
    gain = cz[:, known] @ torch.linalg.inv(cz[known][:, known])
    mean, cov = mz + gain @ (f64(0.8, -0.5) - mz[known]), cz - gain @ cz[known]
    agrees(z[:, others], mean[others], cov[others][:, others], 0.0 if unit else 0.1)


@pytest.mark.statistical
def test_bounds_leave_the_law_of_a_gaussian_within_them() -> None:
    """Against draws of the Gaussian itself of which those outside the bounds are thrown away."""
    low, high = free()
    low[:, 0], high[:, 0], low[:, 1] = 0.5, 1.2, 0.2
    z = in_box(GaussianDenoiser(SCHEDULE, MEAN, torch.eye(D)), Box.of(AXES, low, high), HOW) @ AXES
    assert bool(((z >= low - 1e-9) & (z <= high + 1e-9)).all())
    all_ = (MEAN + gaussian(400_000, D, seed=1)) @ AXES
    kept = all_[((all_ >= low[:1]) & (all_ <= high[:1])).all(1)]
    agrees(z, kept.mean(0), torch.cov(kept.T), 0.02)


@pytest.mark.statistical
def test_rows_with_bounds_of_their_own_are_drawn_as_if_alone() -> None:
    """Each row has its own known score; given it, the mean of the others is linear in it."""
    low, high = free()
    low[:, 2] = high[:, 2] = torch.linspace(-2, 2, N, dtype=torch.float64)
    low[::2, 4] = high[::2, 4] = 0.0
    x = in_box(GaussianDenoiser(SCHEDULE, torch.zeros(D), torch.eye(D)), Box.of(AXES, low, high), HOW)
    z, r = x @ AXES, AXES.T @ AXES
    assert torch.allclose(z[:, 2], low[:, 2])
    alone = z[1::2, 0] - low[1::2, 2] * r[0, 2] / r[2, 2]
    std = (r[0, 0] - r[0, 2] ** 2 / r[2, 2]).sqrt()
    assert abs(float(alone.mean() / std)) < 5 / math.sqrt(N / 2)
    assert abs(float(alone.std() / std) - 1) < 5 / math.sqrt(N)


@pytest.mark.statistical
def test_known_scores_choose_among_the_parts_of_a_mixture() -> None:
    means = torch.tensor([[1.0, 0, 1, 0], [-1, 1, 0, 0.5], [0, -1.2, -1, -0.5]]).double()
    stds = torch.tensor([[0.6, 0.6, 0.5, 0.6], [0.5, 0.7, 0.6, 0.5], [0.6, 0.5, 0.7, 0.5]]).double()
    weights, y = f64(0.5, 0.3, 0.2), f64(-0.5, -0.3)
    low, high = free(d=4)
    low[:, :2] = high[:, :2] = y
    world = MixtureDenoiser(SCHEDULE, weights, means, torch.diag_embed(stds**2))
    how = Drawing(steps=300, batch_size=N, bounds=(0.02, 20.0))
    x = in_box(world, Box.of(torch.eye(4, dtype=torch.float64), low, high), how)
    logs = (-0.5 * ((y - means[:, :2]) / stds[:, :2]) ** 2 - stds[:, :2].log()).sum(1)
    share = (weights.log() + logs).softmax(0)[:, None]
    mean = (share * means[:, 2:]).sum(0)
    variance = (share * (stds[:, 2:] ** 2 + means[:, 2:] ** 2)).sum(0) - mean**2
    std = variance.sqrt()
    assert bool(((x[:, 2:].mean(0) - mean).abs() < 5 * std / math.sqrt(N) + 0.05 * std).all())
    assert bool((x[:, 2:].std(0) / std - 1).abs().max() < 5 / math.sqrt(2 * N) + 0.05)


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    low, high = free(6)
    low[:, 1] = high[:, 1] = torch.linspace(-1, 1, 6, dtype=torch.float64)
    low[3:, 0] = 0.3
    world, how = GaussianDenoiser(SCHEDULE, MEAN, covariance(D)), Drawing(steps=5)
    box = Box.of(AXES, low, high)
    together = in_box(world, box, how)
    alone = in_box(world, box.rows(slice(4, 5)), Drawing(steps=5, first_index=4))
    assert torch.allclose(together[4:5], alone, atol=1e-6)
    assert torch.allclose(in_box(world, box, Drawing(steps=5, batch_size=2)), together, atol=1e-6)


def test_quantiles_of_a_restricted_normal_are_those_of_scipy() -> None:
    mean, std = f64(0, 1, -2, 0, 0), f64(1, 0.5, 2, 1, 1)
    low, high = f64(-1, 1.2, -math.inf, 5, -30), f64(2, math.inf, -4, 6, -29)
    u = f64(0.3, 0.9, 0.01, 0.5, 0.5)
    wanted = truncnorm.ppf(u, (low - mean) / std, (high - mean) / std, mean, std)
    found = truncated_normal(mean, std, low, high, u)
    assert torch.allclose(found[:4], torch.from_numpy(wanted)[:4], atol=1e-9)
    assert found[4] == -29  # beyond what differences of probabilities can say, at the nearer end


def test_bounds_the_wrong_way_round_are_refused() -> None:
    low, high = free(2)
    low[0, 0], high[0, 0] = 1, 0
    with pytest.raises(UsageError, match="at most its upper bound"):
        Box.of(AXES, low, high)
