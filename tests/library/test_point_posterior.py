"""The denoiser of rows with points in them, against Bayes' rule, and the law of what it draws without training."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from gendi.data.tables.points import points_of
from gendi.diffusion.gaussian.config import Parameterisation
from gendi.diffusion.gaussian.denoiser import NetworkDenoiser
from gendi.diffusion.gaussian.points import PointPosterior, with_drawn_points
from gendi.diffusion.gaussian.samplers import sample
from gendi.diffusion.gaussian.schedule import make_schedule

SHARES = (np.array([0.6, 0.3, 0.1]), np.array([0.8, 0.2]))
POINTS = [points_of(p) for p in SHARES]


class Constant(nn.Module):
    """A network that answers with the same numbers whatever it sees."""

    def __init__(self, out: list[float]) -> None:
        super().__init__()
        self.out = torch.tensor(out)

    def forward(self, x: Tensor, time_value: Tensor, /, **cond: Tensor) -> Tensor:
        return self.out.to(x).expand(len(x), -1)


def denoiser(out: list[float], sigma_data: float = 1.0) -> NetworkDenoiser:
    posterior = PointPosterior([torch.from_numpy(each) for each in POINTS])
    meaning = Parameterisation(precondition=True)
    return NetworkDenoiser(Constant(out), make_schedule("cosine", None), meaning, sigma_data, posterior=posterior)


@pytest.mark.parametrize("schedule_time", [0.02, 0.3, 0.8, 0.99])
@pytest.mark.parametrize("sigma_data", [1.0, 0.7])
def test_the_mean_of_each_group_is_that_of_bayes_rule(schedule_time: float, sigma_data: float) -> None:
    theta = [0.4, 0.3, -0.2, 0.5]  # a number, then two tilts of three words and one of two words
    made = denoiser(theta, sigma_data)
    t = torch.tensor(schedule_time, dtype=torch.float64)
    alpha, sigma = (float(value) for value in made.schedule(t))
    x_t = torch.randn(50, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = made(x_t, t).numpy()
    c = made.coefficients(t)
    np.testing.assert_allclose(found[:, 0], float(c.c_skip) * x_t[:, 0] + float(c.c_out) * theta[0], atol=1e-6)
    for p, points, own in zip(SHARES, POINTS, (slice(1, 3), slice(3, 4)), strict=True):
        likelihood = np.stack([stats.norm(alpha * e, sigma).logpdf(x_t[:, own]).sum(1) for e in points], 1)
        logits = np.log(p) + points @ np.array(theta[own]) + likelihood
        share = np.exp(logits - logits.max(1, keepdims=True))
        expected = (share / share.sum(1, keepdims=True)) @ points
        np.testing.assert_allclose(found[:, own], expected, atol=2e-5)  # the time value is float32


@pytest.mark.statistical
def test_a_network_that_says_nothing_draws_independent_words_with_their_shares() -> None:
    x = sample(denoiser([0.0] * 4), (4,), 4000, steps=30, sampler="unipc", seed=0).double().numpy()
    words = [np.square(x[:, own, None] - e.T).sum(1).argmin(1) for own, e in zip((slice(1, 3), slice(3, 4)), POINTS)]
    for word, p in zip(words, SHARES, strict=True):
        assert stats.chisquare(np.bincount(word, minlength=len(p)), 4000 * p).pvalue > 1e-3
    together = np.zeros((3, 2))
    np.add.at(together, tuple(words), 1)
    assert stats.chi2_contingency(together).pvalue > 1e-3
    assert abs(x[:, 0].std() - 1) < 4 / np.sqrt(2 * 4000)  # four standard errors


def test_rows_end_on_points() -> None:
    x = sample(denoiser([0.0] * 4), (4,), 200, steps=30, sampler="unipc", seed=1).double().numpy()
    away = np.sqrt(np.square(x[:, 1:3, None] - POINTS[0].T).sum(1).min(1))
    assert np.quantile(away, 0.99) < 0.1  # the points are at least 2 apart


def test_points_are_drawn_by_the_law_that_has_the_mean() -> None:
    law = np.array([0.2, 0.7, 0.1])
    mean = torch.from_numpy(np.tile(np.concatenate([[5.0], law @ POINTS[0]]), (1000, 1)))
    uniform = ((torch.arange(1000, dtype=torch.float64) + 0.5) / 1000)[:, None].expand(-1, 3)
    x = with_drawn_points(torch.zeros_like(mean), mean, [torch.from_numpy(POINTS[0])], uniform).numpy()
    assert (x[:, 0] == 0).all()
    np.testing.assert_array_equal([(x[:, 1:] == e).all(1).sum() for e in POINTS[0]], 1000 * law)
