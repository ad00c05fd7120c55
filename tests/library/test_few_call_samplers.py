"""The samplers of students, with the exact flow map: any number of calls has the law of the data, with no error at all.

In a Gaussian world each step is affine in x and in its noise. A batch of the origin, the unit vectors of the start and
those of each noise gives the whole map, and with it the law of the result, without statistics.
"""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from worlds import SCHEDULES, covariance, f64, gaussian, scalar

from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.gaussian.conditioned import conditioned
from gendi.diffusion.gaussian.exact import GaussianDenoiser, MixtureDenoiser
from gendi.diffusion.gaussian.flow_map import FlowMap, GaussianFlow, MixtureFlow
from gendi.diffusion.gaussian.samplers import get_sampler, make_grid, sample, trajectory
from gendi.diffusion.gaussian.samplers.checked import checked
from gendi.diffusion.gaussian.schedule import Schedule, make_schedule
from gendi.errors import DivergedError, UsageError

MEAN, COVARIANCE = f64(0.7, -1.2), covariance(2, seed=3)


def flow(schedule: Schedule) -> GaussianFlow:
    return GaussianFlow(GaussianDenoiser(schedule, MEAN, COVARIANCE))


def law(sampler: str, schedule: Schedule, times: Tensor, **options: str) -> tuple[Tensor, Tensor]:
    """Return mean and covariance of the last state, for a start from q(x_t) at the first time."""
    calls, d = len(times) - 1, len(MEAN)
    rows = 1 + d * (1 + calls)
    alpha, sigma = schedule(times[0])
    values, vectors = torch.linalg.eigh(alpha**2 * COVARIANCE + sigma**2 * torch.eye(d).double())
    start = (alpha * MEAN).repeat(rows, 1)
    start[1 : 1 + d] += (vectors * values.sqrt()).T

    def noise(k: int) -> Tensor:
        unit = torch.zeros(rows, d, dtype=torch.float64)
        unit[1 + d * (1 + k) : 1 + d * (2 + k)] = torch.eye(d)
        return unit

    *_, last = get_sampler(sampler).run(flow(schedule), start, times, noise, **options)
    responses = last.x[1:] - last.x[0]
    return last.x[0], responses.T @ responses


@pytest.mark.parametrize("name", [*SCHEDULES, "rectified-flow"])
@pytest.mark.parametrize("calls", [1, 2, 3, 7])
@pytest.mark.parametrize("sampler", ["consistency", "flow-map"])
def test_any_number_of_calls_has_the_law_of_the_data(sampler: str, calls: int, name: str) -> None:
    schedule = make_schedule(name)
    mean, variance = law(sampler, schedule, make_grid(schedule, calls, get_sampler(sampler).grid))
    torch.testing.assert_close(mean, MEAN, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(variance, COVARIANCE, rtol=1e-9, atol=1e-9)


def test_the_exact_map_at_chosen_levels_has_it_too() -> None:
    schedule = make_schedule("cosine", 1000)
    mean, variance = law("consistency", schedule, make_grid(schedule, 3, "angle"), levels="2.5, 0.2")
    torch.testing.assert_close(mean, MEAN, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(variance, COVARIANCE, rtol=1e-9, atol=1e-9)


def test_the_mean_of_x_0_in_the_place_of_the_end_loses_variance() -> None:
    """On the line, with c the data's variance, v -> k^2 v at every call, k = alpha c / (alpha^2 c + sigma^2), where the
    exact map has c: one call at sigma = alpha leaves c / (c + 1) of it. More calls do not mend it.
    """
    schedule, c = make_schedule("cosine"), 0.5
    denoiser = GaussianDenoiser(schedule, f64(0.0), f64(c)[:, None])
    for calls in (2, 8, 32):
        times = make_grid(schedule, calls, "angle")
        variance = 1.0
        for t, s in pairwise(times):
            (a, b), (a_s, b_s) = (tuple(v.item() for v in schedule(time)) for time in (t, s))
            variance = (a_s * a * c / (a**2 * c + b**2)) ** 2 * variance + b_s**2
        eye = torch.eye(calls + 1, dtype=torch.float64)[:, :, None]
        *_, last = get_sampler("consistency").run(denoiser, eye[:, 0], times, lambda k, eye=eye: eye[:, 1 + k])
        assert last.x.square().sum().item() == pytest.approx(variance, rel=1e-9)
        assert variance < 0.9 * c


@pytest.mark.statistical
@pytest.mark.parametrize(("sampler", "calls"), [("consistency", 2), ("flow-map", 1), ("flow-map", 3)])
def test_samples_of_a_mixture_have_its_weights(sampler: str, calls: int) -> None:
    """A share of n samples errs by sqrt(p (1 - p) / n), and a variance within a mode by sqrt(2 / n) of itself; 5 of
    those. Here nothing else errs: the start drops alpha_1 = 5e-5 of the data.
    """
    n, schedule = 3000, make_schedule("cosine")
    mixture = MixtureDenoiser(schedule, f64(0.3, 0.7), f64(-2, 2)[:, None], torch.full((2, 1, 1), 0.09).double())
    x = sample(MixtureFlow(mixture, 1e-6), (1,), n, steps=calls, sampler=sampler, batch_size=n)[:, 0].double()
    assert abs((x > 0).double().mean().item() - 0.7) < 5 * math.sqrt(0.21 / n)
    assert (x[x > 0] - 2).var().item() == pytest.approx(0.09, rel=5 * math.sqrt(2 / (0.7 * n)))


def test_calls_through_all_wrappers_make_no_difference() -> None:
    exact, x = flow(make_schedule("cosine")), gaussian(3, 2, seed=1)
    inner = conditioned(exact, {"class": torch.arange(3)})
    wrapped = checked(inner, "flow-map")
    assert isinstance(inner, FlowMap) and isinstance(wrapped, FlowMap)
    assert torch.equal(wrapped.move(x, scalar(0.8), scalar(0.2)), exact.move(x, scalar(0.8), scalar(0.2)))
    assert torch.equal(wrapped(x, scalar(0.8)), exact(x, scalar(0.8)))
    assert wrapped.calls == 2


def test_conditions_reach_a_flow_map() -> None:
    spec, received = ConditionConfig("class", size=3), []

    class Spy(GaussianFlow):
        def move(self, x_t: Tensor, t: Tensor | float, s: Tensor | float, /, **cond: Tensor) -> Tensor:
            received.append(cond[spec.name].tolist())
            return super().move(x_t, t, s)

    spy = Spy(flow(make_schedule("cosine")).denoiser)
    sample(spy, (2,), 3, steps=2, sampler="flow-map", cond={"class": torch.arange(3)}, batch_size=2)
    assert received == [[0, 1], [0, 1], [2], [2]]


def test_the_states_of_a_flow_map_point_to_x_0() -> None:
    """The x_0 of a state is on the line of DDIM's step: x_s = alpha_s x_0 + sigma_s (x_t - alpha_t x_0) / sigma_t."""
    exact, x = flow(make_schedule("linear")), gaussian(3, 2, seed=2)
    for state in get_sampler("flow-map").run(exact, x, f64(0.9, 0.5, 0.0), torch.zeros):
        (a, b), (a_s, b_s) = exact.schedule(state.t), exact.schedule(state.s)
        step = a_s * state.x_0 + b_s * (x - a * state.x_0) / b
        torch.testing.assert_close(step, state.x, rtol=1e-10, atol=1e-10)
        x = state.x


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ("2", "of 1 calls after the first, and 3 calls"),
        ("2, x", "no list of numbers"),
        ("0.5, 2", "must fall"),
        ("0.5, 0", "a number above 0"),
        ("nan, 1", "a number above 0"),
    ],
)
def test_levels_that_cannot_be(levels: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        sample(flow(make_schedule("cosine")), (2,), 2, steps=3, sampler="consistency", levels=levels)


def test_a_plain_denoiser_is_no_flow_map() -> None:
    with pytest.raises(UsageError, match="needs a flow map"):
        sample(flow(make_schedule("cosine")).denoiser, (2,), 2, steps=3, sampler="flow-map")


@pytest.mark.parametrize("sampler", ["consistency", "flow-map"])
def test_no_temperature_for_paths(sampler: str) -> None:
    with pytest.raises(UsageError, match="temperature = 0.5"):
        sample(flow(make_schedule("cosine")), (2,), 2, steps=3, sampler=sampler, temperature=0.5)


def test_nan_of_a_flow_map_names_the_call() -> None:
    class Broken(GaussianFlow):
        def move(self, x_t: Tensor, t: Tensor | float, s: Tensor | float, /, **cond: Tensor) -> Tensor:
            return super().move(x_t, t, s) * math.nan

    with pytest.raises(DivergedError, match="values of x_s in call 1 of flow-map, at t = 1"):
        list(trajectory(Broken(flow(make_schedule("cosine")).denoiser), (2,), [0], steps=2, sampler="flow-map"))
