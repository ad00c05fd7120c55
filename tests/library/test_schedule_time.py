"""The time of a log signal-to-noise ratio: closed forms against the curves themselves, with 50 digits."""

import math
from collections.abc import Callable

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp, mpf
from worlds import f64

from gendi.diffusion.gaussian.schedule import (
    SCHEDULES,
    Cosine,
    Linear,
    RectifiedFlow,
    Tabulated,
    VarianceExploding,
    make_schedule,
)
from gendi.diffusion.gaussian.schedule.base import Schedule, bisect

Curve = Callable[[mpf], mpf]
names = st.sampled_from(sorted(SCHEDULES))
steps = st.one_of(st.none(), st.integers(1, 1500))


def preserving(abar: Curve) -> Curve:
    return lambda t: mpmath.log(abar(t) / (1 - abar(t)))


def linear(t: mpf) -> mpf:
    """beta(t) = 0.1 + 19.9 t."""
    return mpmath.exp(-(mpf(0.1) * t + mpf(9.95) * t * t))


def cosine(t: mpf) -> mpf:
    def f(u: mpf) -> mpf:
        return mpmath.cos((u + mpf(0.008)) / (1 + mpf(0.008)) * mpmath.pi / 2) ** 2

    return f(t * mpf(Cosine.end)) / f(mpf(0))


def sigmoid(t: mpf) -> mpf:
    def s(x: mpf) -> mpf:
        return 1 / (1 + mpmath.exp(-x))

    value = (s(mpf(3)) - s(6 * t - 3)) / (s(mpf(3)) - s(mpf(-3)))
    return value + mpf(1e-9) * (1 - value)


CURVES: dict[str, Curve] = {
    "linear": preserving(linear),
    "cosine": preserving(cosine),
    "sigmoid": preserving(sigmoid),
    "variance-exploding": lambda t: -mpmath.log(400 * t),
    "sub-vp": lambda t: mpmath.log(linear(t) / (1 - linear(t)) ** 2),
    "rectified-flow": lambda t: 2 * mpmath.log(1 / (t * mpf(RectifiedFlow.end)) - 1),
}


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_closed_forms(name: str) -> None:
    """Each log-SNR between the schedule's end and 40, to 1e-12 of t.

    A log-SNR of 40 is a float64 to 7e-15, which is as much of t at least where SNR ~ 1 / t^2 or slower, and the forms
    have some ten operations.
    """
    schedule, curve = make_schedule(name), CURVES[name]
    end = schedule.log_snr(f64(1.0)).item()
    targets = torch.linspace(end + 1e-6, 40, 60, dtype=torch.float64)
    with mp.workdps(50):
        for target, t in zip(targets.tolist(), schedule.time(targets).tolist(), strict=True):
            slope = mpmath.diff(curve, mpf(t), h=mpf(t) * mpf(10) ** -20)
            assert abs((curve(mpf(t)) - mpf(target)) / slope) < 1e-12 * t


@given(names, steps, st.floats(-9, 0))
def test_it_inverts_log_snr(name: str, steps: int | None, digits: float) -> None:
    """The curves in continuous time take the logarithm of a number near 1, which leaves 1e-15 in t."""
    schedule, t = make_schedule(name, steps), f64(10**digits)
    found = schedule.time(schedule.log_snr(t))
    rough = 1e-14 if steps is None and name in ("cosine", "sigmoid") else 0.0
    torch.testing.assert_close(found, t, rtol=1e-12, atol=rough)
    torch.testing.assert_close(found, bisect(schedule.log_snr, schedule.log_snr(t)), rtol=0, atol=2e-13)


@given(names, steps, st.floats(0, 1))
def test_log_snr_inverts_it(name: str, steps: int | None, share: float) -> None:
    """Curves are sums of numbers near 1, whose round-off, some 1e-15, is e^l times that of a small noise and e^-l times
    that of a small signal.
    """
    schedule = make_schedule(name, steps)
    target = torch.lerp(f64(12.0), schedule.log_snr(f64(1.0)), share)
    off = (schedule.log_snr(schedule.time(target)) - target).abs().item()
    assert off < 1e-15 * (2 + 2 * math.cosh(target.item()))


@pytest.mark.parametrize("schedule", [Linear(), Cosine(40), VarianceExploding(7, 3.0)], ids=lambda s: s.name)
def test_beyond_the_ends(schedule: Schedule) -> None:
    low, high = schedule.time(f64(math.inf, -math.inf)).tolist()
    assert 0 < low < 1e-100
    assert high == 1


def test_a_table_ends_at_1_and_its_data_are_above_0() -> None:
    low, high = Tabulated(f64(6.0, 3.0, -7.0)).time(f64(math.inf, -math.inf)).tolist()
    assert 0 < low < 1e-12
    assert high == 1


@given(st.floats(1e-3, 1), st.one_of(st.none(), st.just(7)))
def test_a_table_between_its_entries(t: float, steps: int | None) -> None:
    """In continuous time by bisection; its chain is piecewise linear as any."""
    schedule = Tabulated(f64(6.0, 3.0, 2.5, -1.0, -7.0), steps)
    torch.testing.assert_close(schedule.time(schedule.log_snr(f64(t))), f64(t), rtol=0, atol=1e-12)
