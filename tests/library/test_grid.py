import math

import pytest
import torch
from diffusers import DDPMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import SCHEDULES

from gendi.diffusion.gaussian.samplers import GRIDS, make_grid
from gendi.diffusion.gaussian.samplers.grid import snap
from gendi.diffusion.gaussian.schedule import make_schedule
from gendi.errors import UsageError

kinds = st.sampled_from(sorted(GRIDS))


@settings(max_examples=25)
@given(st.sampled_from(SCHEDULES), kinds, st.integers(1, 200), st.data())
def test_n_steps_requested_are_n_steps_of_the_chain(name: str, kind: str, steps: int, data: st.DataObject) -> None:
    n = data.draw(st.integers(1, steps))
    times = make_grid(make_schedule(name, steps), n, kind)
    index = times * steps
    assert len(times) == n + 1
    assert bool((times.diff() < 0).all())
    assert times[0] == 1 or (kind == "leading" and n < steps)
    assert times[-1] == 0
    torch.testing.assert_close(index, index.round(), rtol=0, atol=1e-9)


@settings(max_examples=25)
@given(st.sampled_from(SCHEDULES), kinds, st.integers(1, 100))
def test_n_steps_requested_are_n_steps_of_continuous_time(name: str, kind: str, n: int) -> None:
    times = make_grid(make_schedule(name), n, kind)
    assert times.dtype == torch.float64
    assert len(times) == n + 1
    assert bool((times.diff() < 0).all())
    assert times[0] == pytest.approx(1, abs=1e-9) or kind == "leading"
    assert times[-1] == 0


@pytest.mark.parametrize("kind", sorted(GRIDS))
@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 50])
def test_all_steps_are_the_whole_chain(name: str, kind: str, steps: int) -> None:
    schedule = make_schedule(name, steps)
    assert torch.equal(make_grid(schedule, steps, kind), schedule.grid().flip(0))


def test_uniform_and_quadratic_times() -> None:
    assert make_grid(make_schedule("linear", 1000), 4).tolist() == [1, 0.75, 0.5, 0.25, 0]
    assert make_grid(make_schedule("cosine"), 4, "quadratic").tolist() == [1, 0.5625, 0.25, 0.0625, 0]


@pytest.mark.parametrize("name", SCHEDULES)
def test_log_snr_times_are_even_in_log_snr(name: str) -> None:
    schedule = make_schedule(name)
    gaps = schedule.log_snr(make_grid(schedule, 9, "log-snr")[1:-1]).diff()
    torch.testing.assert_close(gaps, gaps.mean().expand(7), rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", SCHEDULES)
def test_karras_times_are_even_in_the_seventh_root_of_the_noise_level(name: str) -> None:
    """sigma_i = (max^(1/7) + i / (n - 1) (min^(1/7) - max^(1/7)))^7  [Karras et al. 2022, eq. 5]"""
    schedule = make_schedule(name)
    reach = math.exp(schedule.log_snr(torch.tensor(1.0)).item() / -2)
    n = 8 if reach > 80 else 9  # the first of nine calls is at t = 1, wherever the levels begin
    levels = (schedule.log_snr(make_grid(schedule, 9, "karras", (0.002, 80.0))[9 - n : -1]) / -2).exp().tolist()
    first, last = min(reach, 80.0) ** (1 / 7), 0.002 ** (1 / 7)
    assert levels == pytest.approx([(first + i / (n - 1) * (last - first)) ** 7 for i in range(n)], rel=1e-6)


@pytest.mark.parametrize("rho", [1.0, 3.0, 7.0])
def test_another_exponent(rho: float) -> None:
    schedule = make_schedule("cosine")
    levels = (schedule.log_snr(make_grid(schedule, 9, "karras", (0.002, 80.0), rho)[1:-1]) / -2).exp() ** (1 / rho)
    torch.testing.assert_close(levels.diff(), levels.diff().mean().expand(7), rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", ["trailing", "linspace", "leading"])
@pytest.mark.parametrize("n", [2, 5, 10, 40, 999, 1000])
def test_the_spacings_of_diffusers(kind: str, n: int) -> None:
    """Its step j counts from 0. Left out: n = 1, where its linspace is step 0 alone; trailing steps at k + 1/2."""
    theirs = DDPMScheduler(1000, timestep_spacing=kind)
    theirs.set_timesteps(n)
    ours = make_grid(make_schedule("linear", 1000), n, kind)
    assert [round(t) - 1 for t in (ours * 1000).tolist()[:-1]] == theirs.timesteps.tolist()


def test_in_continuous_time_they_are_those_of_a_thousand_steps() -> None:
    schedule = make_schedule("cosine")
    assert make_grid(schedule, 4, "leading").tolist() == [0.751, 0.501, 0.251, 0.001, 0]
    assert make_grid(schedule, 4, "linspace").tolist() == pytest.approx([1, 0.667, 0.334, 0.001, 0], abs=1e-12)
    assert torch.equal(make_grid(schedule, 4, "trailing"), make_grid(schedule, 4))
    assert make_grid(schedule, 1, "linspace").tolist() == [1, 0]


@given(st.integers(1, 200), st.data())
def test_snapping_moves_no_time_further_than_it_must(steps: int, data: st.DataObject) -> None:
    """Times whose nearest steps are distinct and not 0 go to the nearest steps."""
    index = data.draw(st.lists(st.integers(1, steps), min_size=1, unique=True).map(lambda v: sorted(v, reverse=True)))
    shift = data.draw(st.lists(st.floats(-0.49, 0.49), min_size=len(index), max_size=len(index)))
    times = torch.tensor([*(min(steps, i + d) for i, d in zip(index, shift)), 0], dtype=torch.float64) / steps
    assert torch.equal(snap(times, steps), torch.tensor([*index, 0], dtype=torch.float64) / steps)


def test_what_cannot_be_is_refused() -> None:
    chain = make_schedule("linear", 10)
    with pytest.raises(UsageError, match="'karras'"):
        make_grid(chain, 5, "karas")
    with pytest.raises(UsageError, match="at least 1"):
        make_grid(chain, 0)
    with pytest.raises(UsageError, match="1 to 10"):
        make_grid(chain, 11)
    with pytest.raises(UsageError, match="rho = 3 for the grid uniform"):
        make_grid(chain, 5, "uniform", rho=3.0)
    for rho in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(UsageError, match="rho = "):
            make_grid(chain, 5, "karras", rho=rho)
    for bounds in ((0.0, 1.0), (2.0, 1.0), (1.0, 1.0), (math.nan, 1.0)):
        with pytest.raises(UsageError, match="bounds"):
            make_grid(chain, 5, "karras", bounds)
