"""The learned schedule: monotone between its ends, its gradient that of E[l^2], its limit of density ~ sqrt(S)."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch import Tensor
from worlds import f64, scalar

from gendi.diffusion.gaussian.objectives.schedule_learner import ScheduleLearner
from gendi.diffusion.gaussian.schedule.learned import Learned, MonotoneNetwork, variance_surrogate
from gendi.errors import BundleError, UsageError
from gendi.train.config import RunConfig

LOW, HIGH = -8.0, 13.0


def shaken(seed: int, size: float = 1.0) -> MonotoneNetwork:
    """Return a network with random parameters around its start."""
    network = MonotoneNetwork(LOW, HIGH, hidden=16)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(size * torch.randn(p.shape, generator=generator, dtype=torch.float64))
    return network


def error(log_snr: Tensor) -> Tensor:
    """Return a squared eps error like that of networks: small where there is much noise, near 1 close to the data."""
    return 0.02 + torch.sigmoid((log_snr - 2) / 2)


@pytest.mark.parametrize("seed", range(5))
def test_it_falls_everywhere_and_meets_its_ends(seed: int) -> None:
    network = shaken(seed, 2.0)
    value, first, _ = network(torch.linspace(0, 1, 501, dtype=torch.float64))
    assert (value.diff() < 0).all() and (first < 0).all()
    assert value[0].item() == pytest.approx(HIGH, abs=1e-13) and value[-1].item() == pytest.approx(LOW, abs=1e-13)
    assert network(scalar(0.0))[0].item() == HIGH and network(scalar(1.0))[0].item() == LOW


def test_it_is_the_papers_formula() -> None:
    """lambda = high - (high - low) (m(t) - m(0)) / (m(1) - m(0)), m = a t + sum_k c_k sigmoid(s_k (t - m_k))."""
    network, t = shaken(3), torch.linspace(0, 1, 7, dtype=torch.float64)

    def positive(p: Tensor) -> Tensor:
        return (1 + p.exp()).log()

    def m(at: Tensor) -> Tensor:
        z = positive(network.slopes) * (at[:, None] - network.middles)
        return positive(network.line) * at + (positive(network.heights) / (1 + (-z).exp())).sum(1)

    start, end = m(f64(0)), m(f64(1))
    expected = HIGH - (HIGH - LOW) * (m(t) - start) / (end - start)
    torch.testing.assert_close(network(t)[0], expected, rtol=1e-11, atol=1e-11)


def test_it_starts_half_as_a_line_and_half_as_sigmoids_spread_over_time() -> None:
    network = MonotoneNetwork(LOW, HIGH, hidden=6)
    line, slopes, heights = (torch.nn.functional.softplus(p) for p in (network.line, network.slopes, network.heights))
    torch.testing.assert_close(line.item(), 0.5)
    torch.testing.assert_close(slopes.detach(), f64(8, 32, 8, 32, 8, 32), rtol=1e-12, atol=0)
    torch.testing.assert_close(heights.detach(), f64(*[0.5 / 6] * 6), rtol=1e-12, atol=0)
    torch.testing.assert_close(network.middles.detach(), f64(1, 3, 5, 7, 9, 11) / 12, rtol=1e-12, atol=0)


def test_its_optimiser_starts_without_moments() -> None:
    tensors = ScheduleLearner(LOW, HIGH).tensors()
    assert all(value.abs().max() == 0 for name, value in tensors.items() if ":" in name)


def test_its_derivatives_are_autograds() -> None:
    network, t = shaken(0), torch.linspace(0.01, 0.99, 50, dtype=torch.float64, requires_grad=True)
    value, first, second = network(t)
    slope = torch.autograd.grad(value.sum(), t, create_graph=True)[0]
    torch.testing.assert_close(first, slope, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(second, torch.autograd.grad(slope.sum(), t)[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_is_that_of_the_variance_with_moving_points(seed: int) -> None:
    """Autograd of E[l^2] goes through e as well; the surrogate sees e's values alone. Both by Gauss-Legendre in t."""
    network = shaken(seed, 0.5)
    nodes, weights = np.polynomial.legendre.leggauss(400)
    t, w = torch.from_numpy((nodes + 1) / 2), torch.from_numpy(weights / 2)
    value, first, _ = network(t)
    whole = (w * (0.5 * first * error(value)) ** 2).sum()
    wanted = torch.autograd.grad(whole, list(network.parameters()))
    losses = 0.5 * first.abs() * error(value) * (w * len(t)).sqrt()
    found = torch.autograd.grad(variance_surrogate(network, t, losses), list(network.parameters()))
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9)


def test_the_gradient_is_that_of_a_finite_difference() -> None:
    network = shaken(1, 0.5)
    t = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000

    def variance() -> Tensor:
        value, first, _ = network(t)
        return ((0.5 * first * error(value)) ** 2).mean()

    value, first, _ = network(t)
    variance_surrogate(network, t, 0.5 * first.abs() * error(value)).backward()  # type: ignore[no-untyped-call]
    for p in network.parameters():
        assert p.grad is not None
        h, flat = 1e-5, p.data.view(-1)
        start = flat[0].item()
        ends = []
        for sign in (1, -1):
            flat[0] = start + sign * h
            ends.append(variance().item())
        flat[0] = start
        # the midpoint rule and h^2 err by 1e-7 of gradients of order 1
        assert p.grad.view(-1)[0].item() == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-5, abs=1e-6)


@pytest.mark.statistical
def test_it_converges_to_the_density_prop_to_the_root_of_the_second_moment() -> None:
    """e varies by a factor u uniform on [1/2, 3/2] of E u^2 = 13/12, so sqrt(S) is prop. to error.

    The least E[l^2] is then 13/12 (1/2 int error)^2; the mean, the bound, (1/2 int error) stays, and the least variance
    is a twelfth of its square. What noisy steps of 64 and the network's sigmoids leave: 8% of it, of several hundred.
    """
    learner, generator = ScheduleLearner(LOW, HIGH), torch.Generator().manual_seed(0)
    bound = 0.5 * quad(lambda x: float(error(scalar(x))), LOW, HIGH)[0]

    def moments() -> tuple[float, float]:
        t = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
        with torch.no_grad():
            value, first, _ = learner.network(t)
            loss = 0.5 * first.abs() * error(value)
        return float(loss.mean()), float(13 / 12 * loss.square().mean() - loss.mean() ** 2)

    mean, before = moments()
    assert mean == pytest.approx(bound, rel=1e-4)
    assert before > 4 * bound**2 / 12
    steps, batch = 1500, 64
    for step in range(steps):
        t = (torch.arange(batch) + torch.rand(batch, generator=generator, dtype=torch.float64)) / batch
        with torch.no_grad():
            value, first, _ = learner.network(t)
        u = 0.5 + torch.rand(batch, generator=generator, dtype=torch.float64)
        learner.remember(t, 0.5 * first.abs() * error(value) * u, 0.03 * (1 - step / steps))
    mean, after = moments()
    assert mean == pytest.approx(bound, rel=1e-4)
    assert after == pytest.approx(bound**2 / 12, rel=0.08)
    t = torch.linspace(0.02, 0.98, 97, dtype=torch.float64)
    with torch.no_grad():
        value, first, _ = learner.network(t)
    density = error(value) / (2 * bound)  # of log-SNR, in closed form; that of the network is 1 / |lambda'|
    # E[l^2] exceeds its least by the mean square of this, relatively: 8% of the variance are (8%)^2 = 0.08 / 13 of it
    assert (1 / first.abs() / density - 1).square().mean().sqrt() < 0.1


def test_the_table_is_the_network_and_ends_in_data() -> None:
    learned = Learned(shaken(3, 0.5))
    table = learned.tabulated()
    t = torch.linspace(0, 1, 301, dtype=torch.float64)
    with torch.no_grad():
        value = learned.network(t)[0]
    torch.testing.assert_close(table.log_snr((1 + 1000 * t) / 1001), value, rtol=0, atol=1e-3)
    for schedule in (learned, table):
        alpha, sigma = schedule(f64(0.0, 1.0))
        assert (alpha[0].item(), sigma[0].item()) == (1.0, 0.0)
        assert 2 * (alpha[1] / sigma[1]).log().item() == pytest.approx(LOW, abs=1e-12)


def test_its_rates_are_the_slope_of_its_curve() -> None:
    schedule, t, h = Learned(shaken(4, 0.5)), torch.linspace(0.05, 0.95, 19, dtype=torch.float64), 1e-6
    fall = -(schedule.log_snr(t + h) - schedule.log_snr(t - h)) / (2 * h)
    f, g2 = schedule.rates(t)
    torch.testing.assert_close(g2 / schedule(t)[1] ** 2, fall, rtol=1e-6, atol=0)
    torch.testing.assert_close(f, -g2 / 2)


def test_state_comes_back_exactly_and_bad_state_is_named() -> None:
    one, two = ScheduleLearner(LOW, HIGH), ScheduleLearner(LOW, HIGH)
    t = torch.linspace(0.1, 0.9, 8, dtype=torch.float64)
    two.restore(one.tensors())  # before any step
    for learner in (one, two):
        learner.remember(t, 1 + t, 0.01)
    fresh = ScheduleLearner(LOW, HIGH)
    fresh.restore(one.tensors())
    for learner in (one, two, fresh):
        learner.remember(t, 2 - t, 0.01)
    for name, value in one.tensors().items():
        assert torch.equal(value, two.tensors()[name]) and torch.equal(value, fresh.tensors()[name]), name
    with pytest.raises(BundleError, match="'line'"):
        fresh.restore({})
    with pytest.raises(BundleError, match="'middles'"):
        fresh.restore({**one.tensors(), "middles": torch.zeros(3)})


def test_ends_that_do_not_fall_are_refused() -> None:
    with pytest.raises(UsageError, match="must lie below"):
        MonotoneNetwork(5.0, 5.0)


LEARNED = {"process": {"schedule": "learned", "steps": None}, "objective": {"weighting": "bound"}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"process": {"schedule": "learned"}}, "process.steps = 1000 must be none"),
        ({"objective": {"weighting": "simple"}}, "objective.weighting = 'simple' must be 'bound'"),
        (
            {"objective": {"weighting": "bound", "time_sampling": "log-snr"}},
            "objective.time_sampling = 'log-snr' must be 'uniform'",
        ),
        ({"process": {"schedule": "linear", "steps": 10}}, "'bound' is for continuous time"),
    ],
)
def test_a_configuration_whose_loss_is_not_the_bound_is_refused(change: dict[str, object], message: str) -> None:
    RunConfig.from_dict(LEARNED)
    with pytest.raises(UsageError, match=message):
        RunConfig.from_dict({**LEARNED, **change})
