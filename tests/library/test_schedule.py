import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from worlds import PRESERVING, SCHEDULES, abar_of, f64, linear_betas, scalar

from gendi.diffusion.gaussian.schedule import Cosine, Linear, VarianceExploding, make_schedule
from gendi.diffusion.gaussian.schedule.levels import noise_time
from gendi.diffusion.gaussian.schedule.preserving import Sigmoid
from gendi.errors import UsageError

names = st.sampled_from(SCHEDULES)
chains = st.one_of(st.none(), st.integers(1, 2000))


@pytest.mark.parametrize("steps", [1, 2, 20, 27, 100, 1000])
def test_linear_passes_through_the_products_of_the_papers_betas(steps: int) -> None:
    schedule = make_schedule("linear", steps)
    alpha, sigma = schedule(schedule.grid())
    abar = f64(*abar_of(linear_betas(steps)))
    torch.testing.assert_close(alpha**2, abar, rtol=1e-12, atol=0)
    torch.testing.assert_close(sigma**2, 1 - abar, rtol=1e-12, atol=1e-15)


@given(st.integers(1, 3000), st.data())
def test_the_time_i_over_T_is_step_i_though_rounding_may_say_otherwise(steps: int, data: st.DataObject) -> None:
    i = data.draw(st.integers(0, steps))
    alpha, _ = make_schedule("linear", steps)(scalar(i / steps))
    assert alpha.item() ** 2 == pytest.approx(abar_of(linear_betas(steps))[i], rel=1e-11)


@pytest.mark.parametrize("steps", [10, 100, 1000])
def test_cosine_chain_is_nichol_and_dhariwals(steps: int) -> None:
    f = [math.cos((i / steps + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(steps + 1)]
    abar = abar_of([min(1 - f[i + 1] / f[i], 0.999) for i in range(steps)])
    schedule = make_schedule("cosine", steps)
    alpha, _ = schedule(schedule.grid())
    torch.testing.assert_close(alpha**2, f64(*abar), rtol=1e-10, atol=0)


def test_sigmoid_is_chens_table() -> None:
    """gamma(t) = (s(3) - s(-3 + 6 t)) / (s(3) - s(-3)), clipped at 1e-9."""

    def s(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    t = f64(0, 0.1, 0.5, 0.9, 1)
    expected = [max(1e-9, (s(3) - s(-3 + 6 * float(v))) / (s(3) - s(-3))) for v in t]
    torch.testing.assert_close(make_schedule("sigmoid")(t)[0] ** 2, f64(*expected), rtol=1e-7, atol=0)


@pytest.mark.parametrize(("name", "steps", "end"), [("linear", 1000, "4.0e-05"), ("cosine", 1000, "2.4e-09")])
def test_the_signal_left_at_the_end(name: str, steps: int, end: str) -> None:
    alpha, _ = make_schedule(name, steps)(scalar(1))
    assert f"{alpha.item() ** 2:.1e}" == end


def test_the_continuous_cosine_ends_where_the_capped_chain_ends() -> None:
    assert f"{Cosine()(scalar(1))[0].item() ** 2:.1e}" == "2.4e-09"


@pytest.mark.parametrize("steps", [50, 100, 500, 1000, 4000])
def test_linear_betas_scale_with_T_so_that_the_chain_ends_in_noise(steps: int) -> None:
    """The betas sum to 1000 (1e-4 + 2e-2) / 2 = 10.05 for every T, and 0 <= -ln(1 - b) - b <= b^2 for b <= 1/2."""
    betas = linear_betas(steps)
    total = -2 * math.log(Linear(steps)(scalar(1))[0].item())
    assert 0 <= total - 10.05 <= sum(b * b for b in betas)


@pytest.mark.parametrize("steps", [1000, 20_000])
def test_a_long_linear_chain_is_the_continuous_curve(steps: int) -> None:
    """The sum of i betas differs from its integral by at most 9.95 / 4 / (T - 1), the logarithms by sum b^2."""
    chain, curve = Linear(steps), Linear()
    bound = 9.95 / 4 / (steps - 1) + sum(b * b for b in linear_betas(steps))
    t = chain.grid()
    assert (chain.log_abar(t) - curve.log_abar(t)).abs().max() <= bound


@pytest.mark.parametrize(("name", "tolerance"), [("cosine", 1e-3), ("sigmoid", 1e-10)])
def test_a_long_chain_is_the_continuous_curve_before_the_cap(name: str, tolerance: float) -> None:
    """The continuous cosine is 3.1e-5 slower, and |d log abar / dt| <= pi tan(0.9 pi / 2) = 20 up to t = 0.9."""
    chain, curve = make_schedule(name, 5000), make_schedule(name)
    t = chain.grid()[1:4501]
    assert (2 * (chain(t)[0].log() - curve(t)[0].log())).abs().max() <= tolerance


@given(st.sampled_from(PRESERVING), chains, st.floats(0, 1))
def test_variance_is_preserved(name: str, steps: int | None, t: float) -> None:
    alpha, sigma = make_schedule(name, steps)(scalar(t))
    assert alpha.dtype == sigma.dtype == torch.float64
    assert (alpha**2 + sigma**2).item() == pytest.approx(1, abs=1e-12)


@given(st.sampled_from((None, 1, 7, 1000)), st.floats(0, 1), st.floats(0.1, 1e4))
def test_variance_explodes_as_the_report_says(steps: int | None, t: float, variance: float) -> None:
    """x_i = x_0 + sqrt(i beta) eps: after i = t T steps of variance beta = variance / T, the noise is t variance."""
    alpha, sigma = VarianceExploding(steps, variance)(scalar(t))
    assert alpha.item() == 1
    assert sigma.item() ** 2 == pytest.approx(t * variance, rel=1e-12)


@given(names, chains, st.integers(0, 10**6 - 1), st.integers(1, 10**6))
def test_log_snr_falls_from_infinity(name: str, steps: int | None, low: int, gap: int) -> None:
    s, t = low / 10**6, min(1.0, (low + gap) / 10**6)
    log_snr = make_schedule(name, steps).log_snr(f64(0, s, t))
    assert log_snr[0] == math.inf
    assert log_snr[1] > log_snr[2]


@given(names, chains, st.lists(st.floats(1e-4, 1), min_size=1, max_size=5))
def test_time_inverts_log_snr(name: str, steps: int | None, times: list[float]) -> None:
    schedule = make_schedule(name, steps)
    t = f64(*times)
    torch.testing.assert_close(schedule.time(schedule.log_snr(t)), t, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
def test_time_inverts_log_snr_on_the_steps_and_clamps_beyond_the_ends(name: str) -> None:
    schedule = make_schedule(name, 1000)
    grid = schedule.grid()[1:]
    torch.testing.assert_close(schedule.time(schedule.log_snr(grid)), grid, rtol=0, atol=1e-12)
    low, high = schedule.time(f64(1e4, -1e4)).tolist()
    assert 0 < low < 1e-12
    assert high == 1


@pytest.mark.parametrize("t", [-1e-9, 1.0001, math.nan, math.inf])
@pytest.mark.parametrize("name", SCHEDULES)
def test_times_outside_the_unit_interval_are_refused(name: str, t: float) -> None:
    with pytest.raises(UsageError, match=r"\[0, 1\]"):
        make_schedule(name, 10)(f64(0.5, t))


def test_an_unknown_name_gets_the_nearest_one() -> None:
    with pytest.raises(UsageError, match="'cosine'"):
        make_schedule("cosin")


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_chain_has_steps(name: str) -> None:
    with pytest.raises(UsageError, match="at least 1 step"):
        make_schedule(name, 0)
    with pytest.raises(UsageError, match="continuous"):
        make_schedule(name).grid()


@pytest.mark.parametrize("tau", [0.7, 1.4])
def test_a_sigmoid_of_another_temperature_is_chens(tau: float) -> None:
    """gamma(t) = (s(3 / tau) - s((-3 + 6 t) / tau)) / (s(3 / tau) - s(-3 / tau))  [Chen 2023, algorithm 1]."""

    class Other(Sigmoid):
        pass

    Other.tau = tau

    def s(x: float) -> float:
        return 1 / (1 + math.exp(-x / tau))

    schedule, times = Other(), (0.1, 0.5, 0.9)
    expected = f64(*((s(3) - s(-3 + 6 * t)) / (s(3) - s(-3)) for t in times))
    torch.testing.assert_close(schedule(f64(*times))[0] ** 2, expected, rtol=1e-7, atol=0)
    torch.testing.assert_close(schedule.time(schedule.log_snr(f64(*times))), f64(*times), rtol=1e-12, atol=0)
    # beta = -gamma' / gamma, and s' = s (1 - s) / tau
    slopes = f64(*(6 / tau * (v := s(-3 + 6 * t)) * (1 - v) / (s(3) - s(-3)) for t in times))
    torch.testing.assert_close(schedule.rates(f64(*times))[1], slopes / expected, rtol=1e-7, atol=0)


@pytest.mark.parametrize("steps", [None, 50])
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_noise_level_is_sigma_over_alpha_up_to_the_last(name: str, steps: int | None) -> None:
    schedule = make_schedule(name, steps)
    alpha, sigma = schedule(f64(0.3, 1))
    inside, last = (sigma / alpha).tolist()
    assert noise_time(schedule, inside).item() == pytest.approx(0.3, abs=1e-12)
    assert noise_time(schedule, last * (1 - 1e-9)).item() == pytest.approx(1, abs=1e-8)
    assert noise_time(schedule, (schedule.log_snr(scalar(1)) / -2).exp().item()).item() == pytest.approx(1, abs=1e-12)
    for level in (last * 1.001, 0.0, -1.0):
        with pytest.raises(UsageError, match="out of range"):
            noise_time(schedule, level)
