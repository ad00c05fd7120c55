"""The rates f, g^2 of every schedule against derivatives, closed forms and the moments they must reproduce."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.interpolate import PchipInterpolator
from torch import Tensor
from worlds import f64, scalar

from gendi.diffusion.gaussian.process import Process
from gendi.diffusion.gaussian.schedule import (
    SCHEDULES,
    Linear,
    RectifiedFlow,
    Schedule,
    Tabulated,
    VarianceExploding,
    make_schedule,
)
from gendi.errors import UsageError

LEVELS = torch.tensor([9.0, 6.5, 5.0, 2.0, 1.9, -1.0, -4.0, -10.0], dtype=torch.float64)


def make(name: str, steps: int | None = None) -> Schedule:
    return Tabulated(LEVELS, steps) if name == "tabulated" else make_schedule(name, steps)


NAMES = (*SCHEDULES, "tabulated")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("steps", [None, 10])
def test_rates_are_the_derivatives_of_the_marginals(name: str, steps: int | None) -> None:
    schedule = make(name, steps)
    t = f64(0.003, 0.04, 0.11, 0.33, 0.52, 0.77, 0.93, 0.997).requires_grad_()
    alpha, sigma = schedule(t)
    (expected_f,) = torch.autograd.grad((alpha.log() + 0 * t).sum(), t, retain_graph=True)  # alpha may be constant
    (d_variance,) = torch.autograd.grad((sigma**2).sum(), t)
    f, g2 = schedule.rates(t.detach())
    torch.testing.assert_close(f, expected_f, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(g2, d_variance - 2 * expected_f * sigma.detach() ** 2, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_rates_by_central_differences(name: str) -> None:
    """(F(t + h) - F(t - h)) / 2h errs by h^2 F''' / 6, and by 1e-16 F / h of rounding."""
    schedule, t, h = make(name), f64(0.05, 0.2, 0.45, 0.7, 0.9), 1e-5
    (a, s), (a_, s_) = schedule(t + h), schedule(t - h)
    f, g2 = schedule.rates(t)
    torch.testing.assert_close(f, (a.log() - a_.log()) / (2 * h), rtol=1e-6, atol=1e-9)
    slope = (s**2 - s_**2) / (2 * h)
    torch.testing.assert_close(g2, slope - 2 * f * schedule(t)[1] ** 2, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_the_moments_obey_the_sde(name: str) -> None:
    """m' = f m and v' = 2 f v + g^2 from m = 1, v = 0 end in alpha and sigma^2 (Saerkkae & Solin 2019, eq. 5.50)."""
    schedule, end = make(name), 0.9

    def slope(t: float, y: np.ndarray) -> list[float]:
        f, g2 = (c.item() for c in schedule.rates(scalar(t)))
        return [f * y[0], 2 * f * y[1] + g2]

    m, v, at = 1.0, 0.0, 0.0
    breaks = [i / 8 for i in range(1, 8)] if name == "tabulated" else []  # the slope of beta jumps at entries
    for stop in (*breaks, end):
        run = solve_ivp(slope, (at, stop), [m, v], method="DOP853", rtol=1e-10, atol=1e-14)
        (m, v), at = run.y[:, -1], stop
    alpha, sigma = schedule(scalar(end))
    assert m == pytest.approx(alpha.item(), rel=1e-7)
    assert v == pytest.approx(sigma.item() ** 2, rel=1e-7)


def test_rates_in_closed_form() -> None:
    t = f64(0, 0.2, 0.5, 1)
    beta, integral = 0.1 + 19.9 * t, 0.1 * t + 9.95 * t**2
    for got, expected in (
        (Linear().rates(t), (-beta / 2, beta)),
        (make_schedule("sub-vp").rates(t), (-beta / 2, beta * (1 - (-2 * integral).exp()))),
        (VarianceExploding(variance=9.0).rates(t), (0 * t, 9 + 0 * t)),
    ):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)
    f, g2 = RectifiedFlow().rates(t[:3])  # the path of u = t (1 - 2^-14)
    torch.testing.assert_close(f, -1 / (1 - t[:3]), rtol=2e-4, atol=0)
    torch.testing.assert_close(g2, 2 * t[:3] / (1 - t[:3]), rtol=2e-4, atol=0)


def test_the_steps_of_a_chain_own_their_end() -> None:
    chain = Linear(4)
    betas = [min(0.999, b * 250) for b in np.linspace(1e-4, 2e-2, 4)]
    expected = f64(*(-4 * math.log1p(-b) for b in (betas[0], *betas)))
    torch.testing.assert_close(chain.rates(chain.grid())[1], expected, rtol=1e-12, atol=0)


def test_a_time_i_over_T_belongs_to_step_i_though_its_product_with_T_may_be_more() -> None:
    """i / T * T exceeds i by an ulp for 1000 of these times, and rounding up would give them to step i + 1."""
    for steps in range(1, 200):
        chain = Linear(steps)
        betas = torch.linspace(1e-4, 2e-2, steps, dtype=torch.float64) * (1000 / steps)
        expected = -steps * torch.log1p(-betas.clamp(max=0.999))
        times = f64(*(i / steps for i in range(1, steps + 1)))
        torch.testing.assert_close(chain.rates(times)[1], expected, rtol=1e-9, atol=0)


def test_sub_vp_and_rectified_flow_have_their_marginals() -> None:
    t = f64(0, 1e-6, 0.1, 0.6, 1)
    log_abar = -(0.1 * t + 9.95 * t**2)
    alpha, sigma = make_schedule("sub-vp")(t)
    torch.testing.assert_close((alpha, sigma), ((log_abar / 2).exp(), -torch.expm1(log_abar)), rtol=1e-13, atol=0)
    alpha, sigma = make_schedule("rectified-flow")(t)
    u = t * (1 - 2**-14)
    torch.testing.assert_close((alpha, sigma), (1 - u, u), rtol=1e-13, atol=0)
    assert alpha[-1].item() == 2**-14


@pytest.mark.parametrize("steps", [None, 20])
def test_sub_vp_transitions_by_subtraction(steps: int | None) -> None:
    """Var(x_t | x_s) = sigma_t^2 - (alpha_t / alpha_s)^2 sigma_s^2, for any s < t."""
    schedule = make_schedule("sub-vp", steps)
    for s, t in ((0.0, 0.05), (0.05, 0.1), (0.05, 1.0), (0.35, 0.6), (0.6, 1.0)):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(scalar(t)), schedule(scalar(s))
        factor, variance = Process(schedule).transition(scalar(t), scalar(s))
        assert factor.item() == pytest.approx((alpha_t / alpha_s).item(), rel=1e-12)
        assert variance.item() == pytest.approx((sigma_t**2 - factor**2 * sigma_s**2).item(), rel=1e-9)


@pytest.mark.parametrize(
    "levels",
    [LEVELS, f64(2, -1), f64(4, 1, -3), f64(9, 3, 2.9), f64(2, 1.9, -5), f64(9, 3, 2.9, 2.8, -5, -5.1)],
    ids=lambda levels: str(len(levels)),
)
def test_a_table_is_scipys_monotone_cubic(levels: Tensor) -> None:
    """Some of these tables are short, and the parabolas at the ends of some would rise."""
    knots = np.arange(1, len(levels) + 1) / len(levels)
    curve = PchipInterpolator(knots, levels.numpy())
    t = torch.linspace(1 / len(levels), 1, 101, dtype=torch.float64)
    expected = torch.from_numpy(curve(t.numpy()))
    torch.testing.assert_close(Tabulated(levels).log_snr(t), expected, rtol=1e-10, atol=1e-10)


def test_a_table_meets_the_schedule_contract() -> None:
    schedule = Tabulated(LEVELS)
    t = torch.linspace(0, 1, 1001, dtype=torch.float64)
    log_snr = schedule.log_snr(t)
    assert log_snr[0] == math.inf
    assert bool((log_snr.diff() < 0).all())
    torch.testing.assert_close(schedule.time(log_snr[1:-1]), t[1:-1], rtol=0, atol=1e-9)
    chain = Tabulated(LEVELS, 8)
    torch.testing.assert_close(chain.log_snr(chain.grid()[1:-1]), LEVELS[:-1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("bad", [[1.0], [1.0, 1.0], [1.0, 2.0], [math.nan, 0.0], [math.inf, 0.0]])
def test_a_table_that_is_no_falling_curve_is_refused(bad: list[float]) -> None:
    with pytest.raises(UsageError, match="strictly falling"):
        Tabulated(f64(*bad))


@pytest.mark.parametrize("name", NAMES)
def test_rates_outside_the_unit_interval_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"\[0, 1\]"):
        make(name).rates(f64(0.5, 1.01))
