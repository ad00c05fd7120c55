"""The bound of the exact denoiser on one-dimensional Gaussian data N(m, C), where every term has a closed form."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from worlds import PRESERVING, SCHEDULES, abar_of, f64, gaussian, linear_betas, scalar

from gendi.diffusion.gaussian.denoiser import LearnedVariance
from gendi.diffusion.gaussian.exact import GaussianDenoiser
from gendi.diffusion.gaussian.likelihood import auroc, chain_times, variational_bound
from gendi.diffusion.gaussian.likelihood.elbo import decoder_loss, prior_kl, snr_loss, step_kl
from gendi.diffusion.gaussian.likelihood.result import estimate
from gendi.diffusion.gaussian.likelihood.strata import SLICES, Strata
from gendi.diffusion.gaussian.process import Process
from gendi.diffusion.gaussian.schedule import Schedule, make_schedule
from gendi.errors import UsageError

M, C = 0.3, 0.6
ENTROPY = 0.5 * math.log(2 * math.pi * math.e * C)


class OptimalVariance(GaussianDenoiser):
    """A denoiser whose share makes p(x_s | x_t) the true reverse step: posterior variance + w_0^2 Var[x_0 | x_t]."""

    def __init__(self, schedule: Schedule, before: dict[float, float]) -> None:
        super().__init__(schedule, f64(M), f64(C)[:, None])
        self.before = before

    def predict(self, x_t: Tensor, t: Tensor, **_: Any) -> tuple[Tensor, Tensor]:
        process = Process(self.schedule)
        s = scalar(self.before[float(t.flatten()[0])])
        t = t.flatten()[0]
        _, w_0, variance = process.posterior_weights(t, s)
        best = (variance + w_0**2 * self.variance(x_t[:1], t)[0]).log()
        small, large = (process.reverse_log_variance(t, s, share) for share in (0.0, 1.0))
        return self(x_t, t), ((best - small) / (large - small)).expand_as(x_t)


def world(name: str, steps: int | None = None) -> GaussianDenoiser:
    return GaussianDenoiser(make_schedule(name, steps), f64(M), f64(C)[:, None])


def quadrature() -> tuple[Tensor, Tensor, Tensor]:
    """Return x_0 and eps (25, 1) and weights under which means of quadratics of the two are exact."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)
    a, b = (torch.from_numpy(g.reshape(-1, 1)) for g in np.meshgrid(nodes, nodes))
    return M + math.sqrt(C) * a, b, torch.from_numpy(np.outer(weights, weights).reshape(-1) / weights.sum() ** 2)


def mean(term: Tensor) -> float:
    return float((quadrature()[2] * term[:, 0]).sum())


def left(denoiser: GaussianDenoiser, t: Tensor) -> float:
    """Return Var[x_0 | x_t]."""
    alpha, sigma = (float(value) for value in denoiser.schedule(t))
    return C * sigma**2 / (alpha**2 * C + sigma**2)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(("t", "s"), [(0.02, 0.01), (0.5, 0.1), (1.0, 0.9)])
def test_a_step_costs_the_fall_of_snr_times_the_error(name: str, t: float, s: float) -> None:
    denoiser, (x_0, eps, _) = world(name), quadrature()
    snr_t, snr_s = (denoiser.schedule.log_snr(scalar(at)).exp() for at in (t, s))
    seen = mean(step_kl(denoiser, x_0, scalar(t), scalar(s), eps))
    assert seen == pytest.approx(float(snr_s - snr_t) / 2 * left(denoiser, scalar(t)), rel=1e-8)
    rate = mean(snr_loss(denoiser, x_0, scalar(t), eps))
    assert rate == pytest.approx(float(snr_t) / 2 * left(denoiser, scalar(t)), rel=1e-9)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_step_of_large_variance_pays_for_it(name: str) -> None:
    denoiser, (x_0, eps, _) = world(name), quadrature()
    t, s = scalar(0.3), scalar(0.2)
    process = Process(denoiser.schedule)
    _, w_0, small = process.posterior_weights(t, s)
    large = process.transition(t, s)[1]
    expected = 0.5 * ((large / small).log() + (small + w_0**2 * left(denoiser, t)) / large - 1)
    assert mean(step_kl(denoiser, x_0, t, s, eps, "large")) == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize("name", PRESERVING)
def test_decoder_takes_the_variance_of_the_second_step(name: str) -> None:
    denoiser, (x_0, eps, _) = world(name, 1000), quadrature()
    _, _, lent = Process(denoiser.schedule).posterior_weights(scalar(2 / 1000), scalar(1 / 1000))
    expected = 0.5 * (math.log(2 * math.pi) + lent.log() + left(denoiser, scalar(1e-3)) / lent)
    for variance in ("small", "large"):
        seen = mean(decoder_loss(denoiser, x_0, scalar(1e-3), eps, None, variance))
        assert seen == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize("variance", ["small", "large"])
def test_the_decoder_of_a_respaced_chain_takes_its_own_second_step(variance: str) -> None:
    """50 of 1000 times that begin at the first, as guided-diffusion's "50" does: Ho et al.'s beta-tilde of the respaced
    betas. The step from 2 t to t is no step of that chain, and costs 0.16 bits more on N(0.8, 0.3).
    """
    denoiser = world("linear", 1000)
    indices = [0, *(1 + round(999 * k / 49) for k in range(50))]
    times = f64(*(i / 1000 for i in indices))
    abar = abar_of(linear_betas(1000))
    one, two = abar[indices[1]], abar[indices[2]]
    lent = (1 - one) / (1 - two) * (1 - two / one)
    variance_left = left(denoiser, times[1])
    expected = 0.5 * (math.log(2 * math.pi * lent) + variance_left / lent)
    x_0, eps, _ = quadrature()
    seen = mean(decoder_loss(denoiser, x_0, times[1], eps, None, variance, times[2]))
    assert seen == pytest.approx(expected, rel=1e-6)
    x_0 = denoiser.sample_data(torch.zeros(400), gaussian(400, 1))
    bound = variational_bound(denoiser, x_0, times=times, variance=variance)
    assert abs(bound.decoder.nats - expected) < 5 * bound.decoder.error
    assert mean(decoder_loss(denoiser, *(quadrature()[0], times[1], quadrature()[1]))) > expected + 0.05


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_with_the_true_reverse_variance_the_bound_is_the_entropy_for_any_length(name: str, steps: int) -> None:
    """The reverse chain of a Gaussian is Gaussian: all that is lost is KL(q(x_1) || N(0, sigma_1^2))."""
    schedule = make_schedule(name)
    times = chain_times(schedule, steps)
    denoiser = OptimalVariance(schedule, {float(t): float(s) for s, t in pairwise(times)})
    assert isinstance(denoiser, LearnedVariance)
    x_0, eps, _ = quadrature()
    total = mean(prior_kl(schedule, x_0)) + mean(decoder_loss(denoiser, x_0, times[1], eps, None, "learned"))
    total += sum(mean(step_kl(denoiser, x_0, times[i + 1], times[i], eps, "learned")) for i in range(1, steps))
    alpha, sigma = (float(value) for value in schedule(scalar(1.0)))
    ratio = (alpha**2 * C + sigma**2) / sigma**2
    lost = 0.5 * (ratio - 1 - math.log(ratio) + (alpha * M / sigma) ** 2)
    assert total == pytest.approx(ENTROPY + lost, abs=1e-8)


def test_the_sum_over_steps_tends_to_the_integral_at_first_order() -> None:
    """With steps of width d in ln SNR a step costs (e^d - 1) g / 2, g = SNR Var[x_0 | x_t] at its noisy end, so by
    Euler and Maclaurin the sum is (e^d - 1) / d (I - d (g_high - g_low) / 2) / 2 = I / 2 + O(d), I the integral of g;
    the next term is d^2 / 12 times g' at the ends, which is below 1e-3.
    """
    schedule, (x_0, eps, _) = make_schedule("cosine"), quadrature()
    denoiser = world("cosine")
    high, low = (math.exp(value) * C for value in (2 * math.log(50), float(schedule.log_snr(scalar(1.0)))))
    integral, rise = math.log1p(high) - math.log1p(low), high / (1 + high) - low / (1 + low)
    for steps in (31, 61):
        times = chain_times(schedule, steps, "log-snr", 0.02)
        kl = sum(mean(step_kl(denoiser, x_0, times[i + 1], times[i], eps)) for i in range(1, steps))
        d = math.log(high / low) / (steps - 1)
        assert kl == pytest.approx(0.5 * math.expm1(d) / d * (integral - d / 2 * rise), abs=1e-4)


@pytest.mark.statistical
@pytest.mark.parametrize("draws", [None, 8])
def test_the_bound_of_a_chain_is_the_closed_form(draws: int | None) -> None:
    """The bound is unbiased, drawn or whole: 5 of its own standard errors are allowed."""
    denoiser = world("linear", 40)
    x_0 = denoiser.sample_data(torch.zeros(600), gaussian(600, 1))
    bound = variational_bound(denoiser, x_0, draws=draws)
    x, eps, _ = quadrature()
    times = denoiser.schedule.grid()
    kl = sum(mean(step_kl(denoiser, x, times[i + 1], times[i], eps)) for i in range(1, 40))
    for term, expected in (
        (bound.kl, kl),
        (bound.prior, mean(prior_kl(denoiser.schedule, x))),
        (bound.decoder, mean(decoder_loss(denoiser, x, times[1], eps))),
    ):
        assert abs(term.nats - expected) < 5 * term.error
    assert bound.calls == (40 if draws is None else 9)
    assert float(bound.cost.sum()) == pytest.approx(bound.kl.nats, rel=1e-12)
    assert len(bound.edges) == len(bound.cost) + 1
    assert (bound.error_t == 0) == (draws is None)
    assert bound.error_t <= bound.kl.error * 1.2
    assert not bound.discretised


def test_as_many_draws_as_steps_or_more_are_all_the_steps() -> None:
    denoiser, x_0 = world("linear", 7), gaussian(3, 1)
    whole, drawn = (variational_bound(denoiser, x_0, draws=draws) for draws in (None, 10))
    assert torch.equal(whole.values, drawn.values) and drawn.error_t == 0
    assert len(drawn.cost) == 6 and drawn.calls == 7


def test_slices_of_a_continuous_range_have_equal_probability() -> None:
    """The probability up to a time, linear within a stratum, is k / 8 where slice k of 8 begins."""
    strata = Strata.of_range(make_schedule("cosine"), 0.01)
    assert len(strata) == SLICES
    torch.testing.assert_close(strata.log_snr.diff(), strata.log_snr.diff().mean().expand(SLICES), rtol=1e-9, atol=0)
    edges = strata.slice_edges(8)
    p = np.cumsum(np.concatenate([[0.0], strata.probability.numpy()]))
    np.testing.assert_allclose(np.interp(edges.numpy(), strata.times.numpy(), p), np.arange(9) / 8, atol=1e-9)
    assert float(strata.log_snr[0]) == pytest.approx(-2 * math.log(0.01), abs=1e-9) and edges[-1] == 1


def test_two_values_have_a_standard_error() -> None:
    """|a - b| / 2, since the deviation of two values is |a - b| / sqrt(2); one value has none."""
    assert estimate(f64(1.0, 4.0)).error == pytest.approx(1.5, rel=1e-12)
    assert math.isnan(estimate(f64(1.0)).error)


@pytest.mark.statistical
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_continuous_bound_is_the_closed_form_and_tends_to_the_entropy(name: str) -> None:
    denoiser, n = world(name), 600
    x_0 = denoiser.sample_data(torch.zeros(n), gaussian(n, 1))
    bound = variational_bound(denoiser, x_0, draws=16, smallest=1e-3)
    low = float(denoiser.schedule.log_snr(scalar(1.0)))
    integral = 0.5 * (math.log1p(C * 1e6) - math.log1p(C * math.exp(low)))
    assert abs(bound.kl.nats - integral) < 5 * bound.kl.error  # 5 standard errors
    decoder = 0.5 * (math.log(2 * math.pi * 1e-6) + C / (C + 1e-6))
    assert abs(bound.decoder.nats - decoder) < 5 * bound.decoder.error
    prior = math.exp(low) * (C + M**2) / 2
    # KL(q(x_1) || prior) and terms in 1e-6 / C are all that part the closed forms from the entropy
    assert integral + decoder + prior == pytest.approx(ENTROPY, abs=math.exp(low) * (M**2 + C) / 2 + 1e-5)


@pytest.mark.statistical
def test_weighted_draws_of_cells_are_unbiased() -> None:
    """The mean of 1000 stratified draws is the plain sum, within 5 standard errors."""
    strata = Strata.of_chain(make_schedule("linear"), chain_times(make_schedule("linear"), 50))
    values = gaussian(49, seed=3).abs()
    rng = np.random.default_rng(0)
    sums = torch.stack([(values[i] * w).sum() for i, w in (strata.draw(rng, 4) for _ in range(1000))])
    assert abs(float(sums.mean() - values.sum())) < 5 * float(sums.std()) / math.sqrt(1000)
    assert float(strata.probability.sum()) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_a_samples_terms_do_not_depend_on_its_neighbours(name: str) -> None:
    denoiser, x_0 = world(name), gaussian(7, 1)
    whole = variational_bound(denoiser, x_0, draws=4)
    small = variational_bound(denoiser, x_0, draws=4, batch_size=2)
    tail = variational_bound(denoiser, x_0[3:], draws=4, first_index=3)
    torch.testing.assert_close(whole.values, small.values, rtol=1e-12, atol=0)
    torch.testing.assert_close(whole.values[3:], tail.values, rtol=1e-12, atol=0)


def test_bytes_of_a_sharp_model_cost_their_entropy() -> None:
    """A denoiser that knows its two-valued data needs no more than their entropy, nearly 1 bit each."""
    schedule = make_schedule("linear")

    class Coin:
        def __init__(self) -> None:
            self.schedule = schedule

        def __call__(self, x_t: Tensor, t: Tensor, **_: Any) -> Tensor:
            alpha, sigma = schedule(t)
            return torch.tanh(x_t * (alpha / sigma**2).reshape(-1, 1))

    n = 600
    x_0 = torch.where(gaussian(n, 4) > 0, 1.0, -1.0).double()
    bound = variational_bound(Coin(), x_0, draws=40, half_bin=1 / 255)
    assert bound.discretised
    assert abs(bound.total.bits - 1) < 5 * bound.total.bits_error
    assert bound.total.bits_error < 0.1


@pytest.mark.parametrize("steps", [1, 3, 1000])
def test_chains_of_a_discrete_schedule_go_through_its_own_times(steps: int) -> None:
    times = chain_times(make_schedule("linear", 1000), steps)
    assert len(times) == steps + 1
    torch.testing.assert_close(times * 1000, (times * 1000).round(), rtol=0, atol=1e-9)
    assert bool((times.diff() > 0).all())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draws": 3}, "draws = 3"),
        ({"draws": 0}, "draws = 0"),
        ({"variance": "learned"}, "learned none"),
        ({"variance": "smal"}, "Perhaps you meant 'small'"),
        ({"batch_size": 0}, "got 0"),
    ],
)
def test_refusals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        variational_bound(world("linear", 10), gaussian(2, 1), **options)


def test_refusals_of_data_and_chains() -> None:
    denoiser = world("linear", 10)
    with pytest.raises(UsageError, match="reach from -2 to 2"):
        variational_bound(denoiser, f64(-2.0, 2.0)[:, None], half_bin=1 / 255)
    with pytest.raises(UsageError, match="NaN"):
        variational_bound(denoiser, f64(math.nan)[:, None])
    with pytest.raises(UsageError, match="n must be 1"):
        variational_bound(denoiser, gaussian(0, 1))
    for steps in (0, 11):
        with pytest.raises(UsageError, match=f"steps = {steps} is out of range"):
            chain_times(denoiser.schedule, steps)
    with pytest.raises(UsageError, match="smallest noise"):
        variational_bound(world("linear"), gaussian(2, 1), draws=2, smallest=1e9)


def test_auroc_counts_pairs() -> None:
    inside, outside = f64(1, 2, 3), f64(2, 4)
    assert auroc(inside, outside) == pytest.approx((1.5 + 3) / 6)
