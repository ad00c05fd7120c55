"""The probability-flow density against the exact density of a mixture."""

import math
from typing import Any

import pytest
import torch
from scipy import integrate, stats
from torch import Tensor
from worlds import covariance, f64, gaussian, scalar

from gendi.diffusion.gaussian.exact import MixtureDenoiser
from gendi.diffusion.gaussian.likelihood import log_density
from gendi.diffusion.gaussian.likelihood.dequantise import dequantise
from gendi.diffusion.gaussian.schedule import Schedule, VarianceExploding, make_schedule
from gendi.diffusion.randomness import stream
from gendi.errors import DivergedError, UsageError

FAR = VarianceExploding(variance=1e5)  # next to nothing of the data is left at t = 1


def world(schedule: Schedule | None = None) -> MixtureDenoiser:
    covariances = torch.stack([0.2 * covariance(2, seed) for seed in (1, 2)])
    means = f64(-1.4, 0.35, 0.6, -0.15).reshape(2, 2)  # their mean is 0, so N(0, sigma_1^2) errs at second order
    return MixtureDenoiser(schedule or make_schedule("cosine"), f64(0.3, 0.7), means, covariances)


def points(n: int) -> Tensor:
    return world().sample_data(torch.linspace(0, 0.99, n), gaussian(n, 2))


@pytest.mark.parametrize("schedule", [make_schedule("cosine"), make_schedule("sigmoid"), FAR], ids=lambda s: s.name)
def test_the_density_of_a_mixture(schedule: Schedule) -> None:
    """To 1e-4 nats per dimension of y = x / alpha at sigma / alpha = 3e-3, where p(y) = alpha^d q(x)."""
    denoiser, y = world(schedule), points(12)
    found = log_density(denoiser, y, divergence="exact", rtol=1e-6, atol=1e-6, smallest=3e-3)
    t = schedule.time(-2 * scalar(3e-3).log())
    alpha = schedule(t)[0]
    exact = -denoiser.log_density(alpha * y, t) / 2 - alpha.log()
    assert float((found.values - exact).abs().max()) < 1e-4
    assert found.alpha_end == pytest.approx(float(schedule(scalar(1.0))[0]))
    assert float(found.calls.max()) < 500


def test_the_density_of_the_data_themselves() -> None:
    """Noise of 1e-3 moves the density of x_0 by less than 1e-4 nats per dimension."""
    found = log_density(world(), points(12), divergence="exact", rtol=1e-6, atol=1e-6)
    exact = -world().log_density(points(12), scalar(0.0)) / 2
    assert float((found.values - exact).abs().max()) < 1e-4


def test_tighter_tolerances_err_less() -> None:
    denoiser, x_0 = world(), points(4)
    best = log_density(denoiser, x_0, divergence="exact", rtol=1e-8, atol=1e-8)
    errors = []
    for tolerance in (1e-3, 1e-5):
        found = log_density(denoiser, x_0, divergence="exact", rtol=tolerance, atol=tolerance)
        errors.append(float((found.values - best.values).abs().max()))
        assert errors[-1] < 100 * tolerance
    assert errors[0] > errors[1]


def test_a_samples_figure_does_not_depend_on_its_neighbours() -> None:
    denoiser, x_0 = world(), points(6)
    whole = log_density(denoiser, x_0, rtol=1e-4, atol=1e-4)
    small = log_density(denoiser, x_0, rtol=1e-4, atol=1e-4, batch_size=4)
    alone = log_density(denoiser, x_0[5:], rtol=1e-4, atol=1e-4, first_index=5)
    torch.testing.assert_close(whole.values, small.values, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(whole.values[5:], alone.values, rtol=1e-10, atol=1e-10)
    assert torch.equal(whole.calls, small.calls)


@pytest.mark.statistical
@pytest.mark.parametrize("kind", ["rademacher", "gaussian"])
def test_hutchinson_is_unbiased(kind: str) -> None:
    """30 probes of one point, in 5 standard errors of their mean."""
    denoiser, x_0 = world(), points(3)[1:2]
    exact = log_density(denoiser, x_0, divergence="exact", rtol=1e-3, atol=1e-3)
    found = log_density(denoiser, x_0, divergence=kind, probes=30, rtol=1e-3, atol=1e-3)
    assert found.error_probes > 0
    assert abs(float(found.values - exact.values)) < 5 * found.error_probes + 1e-2  # the tolerance of two integrations
    assert math.isnan(log_density(denoiser, x_0, divergence=kind, rtol=1e-3).error_probes)


class Wide:
    """The exact denoiser of N(0, diag(c)), elementwise."""

    def __init__(self, c: Tensor, schedule: Schedule) -> None:
        self.c, self.schedule = c, schedule

    def __call__(self, x_t: Tensor, t: Tensor, **_: Any) -> Tensor:
        alpha, sigma = (v.reshape(-1, 1) for v in self.schedule(t))
        return alpha * self.c / (alpha**2 * self.c + sigma**2) * x_t


@pytest.mark.parametrize("kind", ["gaussian", "rademacher"])
def test_a_probe_errs_by_the_divergence_that_it_sees(kind: str) -> None:
    """On N(0, diag(c)) df/dz is diag(a_i), and the integral A_i of a_i over the path is how much direction i grows.

    So a probe e gives sum A_i e_i^2 / d for sum A_i / d, and nothing else: with c^2 for c^2 e^T e / d it would err by
    the integral of c^2, which is 4.6 here, times e^T e / d - 1. The probes are those of the sample's stream.
    """
    schedule, d, probes = make_schedule("cosine"), 8, 3
    c = torch.linspace(0.02, 3.0, d, dtype=torch.float64)
    options: dict[str, Any] = {"smallest": 0.01, "rtol": 1e-7, "atol": 1e-7}
    world, x_0 = Wide(c, schedule), 0.5 * gaussian(1, d)
    found = log_density(world, x_0, divergence=kind, probes=probes, **options)
    exact = log_density(world, x_0, divergence="exact", **options)
    u_1 = float((-schedule.log_snr(scalar(1.0)) / 2).exp())

    def width(u: float) -> Tensor:
        return ((c + u**2) / (1 + u**2)).sqrt()

    rng = stream(0, "density", index=0)
    drawn = rng.standard_normal((probes, d)) if kind == "gaussian" else 2.0 * rng.integers(0, 2, (probes, d)) - 1
    e = torch.from_numpy(drawn)
    growth = (width(u_1) / width(0.01)).log()
    expected = float((growth * (e.square() - 1)).sum(1).mean()) / d
    assert float(exact.values - found.values) == pytest.approx(expected, abs=1e-5)
    assert (abs(expected) > 0.01) == (kind == "gaussian")


@pytest.mark.parametrize("variance", [0.25, 4.0])
def test_the_end_of_a_short_schedule_is_a_normal_of_its_noise(variance: float) -> None:
    """At t = 1 the model is N(0, sigma_1^2), however much of the data is left there; the flow of N(0, diag(c)) is

        x_1 = x_0 sqrt((c + sigma_1^2) / (c + u_0^2)),

    so -log p(x_0) is that of x_1 less the logarithm of the factor, per dimension.
    """
    c, x_0 = f64(0.1, 0.5, 2.0), gaussian(4, 3)
    found = log_density(
        Wide(c, VarianceExploding(variance=variance)), x_0, divergence="exact", smallest=0.01, rtol=1e-8, atol=1e-8
    )
    factor = ((c + variance) / (c + 0.01**2)).sqrt()
    exact = stats.norm(0, math.sqrt(variance)).logpdf((factor * x_0).numpy()) + factor.log().numpy()
    assert found.values.tolist() == pytest.approx((-exact.mean(1)).tolist(), abs=1e-5)


def test_the_calls_are_those_that_the_network_got() -> None:
    count = 0

    class Counted(Wide):
        def __call__(self, x_t: Tensor, t: Tensor, **_: Any) -> Tensor:
            nonlocal count
            count += 1
            return super().__call__(x_t, t)

    denoiser, x_0 = Counted(f64(0.5, 2.0), make_schedule("cosine")), gaussian(1, 2)
    enough = int(log_density(denoiser, x_0, divergence="exact").calls.item())
    assert enough == count
    log_density(denoiser, x_0, divergence="exact", most_calls=enough)
    with pytest.raises(UsageError, match=f"more than {enough - 1} network calls"):
        log_density(denoiser, x_0, divergence="exact", most_calls=enough - 1)


def test_uniform_dequantisation_adds_log2_of_the_scale() -> None:
    """Change of variables from bytes to [-1, 1]: density per byte = density in model space / 127.5."""
    x_0 = f64(0.1, -0.2)[None]
    y, log_q = dequantise(x_0, [stream(0, "x")], "uniform", 1 / 255, 1e-3)
    assert -log_q.item() / math.log(2) == pytest.approx(-math.log2(127.5), abs=1e-12)
    assert bool(((y - x_0).abs() <= 1 / 255).all())


def test_normal_dequantisation_has_the_density_it_says() -> None:
    half, std = 1 / 255, 3e-3
    x_0 = torch.zeros(1, 2000, dtype=torch.float64)
    y, log_q = dequantise(x_0, [stream(0, "x")], "normal", half, std)
    law = stats.truncnorm(-half / std, half / std, scale=std)
    assert log_q.item() == pytest.approx(float(law.logpdf(y[0].numpy()).mean()), rel=1e-10)
    assert stats.kstest(y[0].numpy(), law.cdf).pvalue > 1e-3


@pytest.mark.parametrize("kind", ["uniform", "normal"])
@pytest.mark.statistical
def test_dequantised_values_bound_the_code_length(kind: str) -> None:
    """Bins of a smooth density: the bound is within 5 standard errors of -log P(bin), or above it."""
    law, half = stats.norm(0.2, 0.5), 0.02
    denoiser = MixtureDenoiser(FAR, f64(1.0), f64(0.2)[:, None], f64(0.25)[:, None, None])
    x_0 = torch.zeros(60, 1, dtype=torch.float64)
    found = log_density(
        denoiser, x_0, half_bin=half, dequantisation=kind, divergence="exact", smallest=0.01, rtol=1e-4, atol=1e-4
    )
    p, _ = integrate.quad(law.pdf, -half, half)
    # p(y) is that of x_0 + 0.01 noise: wider by 2e-4; the tolerance and the density's bend over the bin are below 1e-3
    assert abs(found.total.nats + math.log(p)) < 5 * found.total.error + 1e-3


def test_refusals() -> None:
    denoiser, x_0 = world(), points(2)
    for options, message in (
        ({"divergence": "exat"}, "Perhaps you meant 'exact'"),
        ({"probes": 0}, "probes = 0"),
        ({"rtol": 1.0}, "rtol = 1 is out of range"),
        ({"dequantisation": "unifrm"}, "Perhaps you meant 'uniform'"),
        ({"dequantisation": "uniform"}, "half_bin"),
        ({"most_calls": 20}, "more than 20 network calls at rtol"),
        ({"smallest": 0.0}, "smallest noise"),
    ):
        with pytest.raises(UsageError, match=message):
            log_density(denoiser, x_0, **options)
    with pytest.raises(UsageError, match="n must be 1"):
        log_density(denoiser, x_0[:0])


def test_a_denoiser_that_returns_nan() -> None:
    class Broken:
        schedule = make_schedule("linear")

        def __call__(self, x_t: Tensor, t: Tensor, **_: Any) -> Tensor:
            return x_t * math.nan

    with pytest.raises(DivergedError, match="NaN"):
        log_density(Broken(), points(2))


@pytest.mark.statistical
def test_the_error_of_probes_is_the_spread_of_the_mean_over_seeds() -> None:
    """The deviation over 20 seeds errs by 1 / sqrt(38) = 16% of itself: 5 of those."""
    denoiser, x_0, options = world(), points(40), {"rtol": 0.01, "atol": 0.01, "smallest": 0.05}
    runs = [log_density(denoiser, x_0, divergence="gaussian", probes=2, seed=seed, **options) for seed in range(20)]
    spread = torch.stack([run.values.mean() for run in runs]).std().item()
    error = math.sqrt(sum(run.error_probes**2 for run in runs) / len(runs))
    assert spread == pytest.approx(error, rel=0.81)


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_the_density_of_a_chain_starts_at_its_first_step(name: str) -> None:
    schedule = make_schedule(name, 50)
    alpha, sigma = schedule(scalar(1 / 50))
    found = log_density(world(schedule), points(2), divergence="exact", rtol=1e-3, atol=1e-3)
    assert found.smallest == pytest.approx((sigma / alpha).item(), rel=1e-12)
