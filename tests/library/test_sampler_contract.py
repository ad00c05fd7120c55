"""What every sampler promises, whatever it computes: its calls, its noise, its errors."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from worlds import f64, gaussian

from gendi.diffusion.gaussian.samplers import SAMPLERS, get_sampler, make_grid, sample, trajectory
from gendi.diffusion.gaussian.samplers.draw import SampleNoise
from gendi.diffusion.gaussian.schedule import Schedule, make_schedule
from gendi.diffusion.randomness import stream
from gendi.errors import UsageError

EVERY = sorted(name for name, info in SAMPLERS.items() if info.takes != "map")
STEPPING = [name for name in EVERY if not SAMPLERS[name].adaptive]
BETWEEN = ("dpm-2", "pndm")  # they visit the middles of steps, which are no times of the grid
LOOSE = {"steps": 400, "rtol": 0.1, "atol": 0.1}  # for the adaptive solver


def settings(sampler: str, steps: int) -> dict[str, Any]:
    return LOOSE if SAMPLERS[sampler].adaptive else {"steps": steps}


class Elementwise:
    """A denoiser of sums, products and quotients alone, which round the same in any batch; it counts its calls."""

    def __init__(self, schedule: Schedule | None = None, limit: int = 10**9) -> None:
        self.schedule = schedule or make_schedule("linear", 50)
        self.limit, self.calls, self.times, self.conditions = limit, 0, [], []

    def __call__(self, x_t: Tensor, t: Tensor, **cond: Tensor) -> Tensor:
        if len(x_t) > self.limit:
            raise MemoryError
        self.calls += 1
        self.times.append(t.max().item())
        self.conditions.append(cond)
        return x_t / (1 + x_t * x_t)


@pytest.mark.parametrize("sampler", STEPPING)
@pytest.mark.parametrize("steps", [50, None])
@pytest.mark.parametrize("n", [*range(1, 13), 27, 50])
def test_n_steps_are_n_calls_at_the_times_of_the_grid(sampler: str, steps: int | None, n: int) -> None:
    info, denoiser = SAMPLERS[sampler], Elementwise(make_schedule("linear", steps))
    states = list(trajectory(denoiser, (3,), range(2), steps=n, sampler=sampler))
    times = make_grid(denoiser.schedule, info.intervals(n), info.grid).tolist()
    assert denoiser.calls == n
    assert [state.t.item() for state in states] == times[:-1]
    assert [state.s.item() for state in states] == times[1:]
    if info.deterministic and sampler not in BETWEEN:  # a sampler that draws noise may raise the level before a call
        assert set(denoiser.times) == set(times[:-1])
    if steps is not None:
        assert all(t * steps == pytest.approx(round(t * steps), abs=1e-9) for t in denoiser.times)
    if info.intervals(50) == 50:
        assert denoiser.times == times[:-1]
    assert all(bool(state.x.isfinite().all()) for state in states)


@pytest.mark.parametrize("sampler", sorted(set(STEPPING) - {"angular"}))
def test_the_last_state_is_what_the_denoiser_said_last(sampler: str) -> None:
    """At s = 0 samplers return x0_hat, because sigma_0 = 0 and no noise is added."""
    *_, last = trajectory(Elementwise(), (3,), range(4), steps=10, sampler=sampler)
    torch.testing.assert_close(last.x, last.x_0, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("sampler", "options"), [*((name, {}) for name in EVERY), ("ddim", {"eta": 0.6})])
def test_a_sample_does_not_know_its_neighbours(sampler: str, options: dict[str, Any]) -> None:
    def draw(n: int, **more: int) -> Tensor:
        return sample(Elementwise(), (2, 3), n, sampler=sampler, seed=5, **options, **more)

    options = options | settings(sampler, 7)

    whole = draw(7)
    for size in (1, 3, 7, 100):
        assert torch.equal(draw(7, batch_size=size), whole)
    assert torch.equal(draw(2, first_index=4), whole[4:6])
    order = [6, 0, 3]
    *_, last = trajectory(Elementwise(), (2, 3), order, sampler=sampler, seed=5, **options)
    assert torch.equal(last.x, whole[order])
    assert not torch.equal(sample(Elementwise(), (2, 3), 7, sampler=sampler, seed=6, **options), whole)


def test_noise_of_sample_i_is_the_stream_of_its_key() -> None:
    noise = SampleNoise(3, [8, 2], (2, 2), "cpu")
    first, second = noise(0), noise(1)
    for row, index in enumerate((8, 2)):
        expected = stream(3, "sample", index=index).standard_normal((2, 2, 2), dtype=np.float32)
        assert np.array_equal(torch.stack([first[row], second[row]]).numpy(), expected)


def test_the_start_is_noise_at_the_level_of_the_first_time() -> None:
    class Nothing(Elementwise):
        def __call__(self, x_t: Tensor, t: Tensor, **cond: Tensor) -> Tensor:
            self.start = x_t
            return x_t

    denoiser = Nothing(make_schedule("variance-exploding"))
    list(trajectory(denoiser, (2,), [4], steps=1, sampler="ddim", seed=9))
    expected = 20 * stream(9, "sample", index=4).standard_normal((1, 2), dtype=np.float32)
    np.testing.assert_allclose(denoiser.start.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("sampler", EVERY)
def test_running_out_of_memory_halves_the_batch_and_changes_nothing(sampler: str) -> None:
    chosen = settings(sampler, 5)
    whole = sample(Elementwise(), (3,), 11, **chosen, sampler=sampler)
    assert torch.equal(sample(Elementwise(limit=2), (3,), 11, **chosen, sampler=sampler, batch_size=8), whole)
    with pytest.raises(MemoryError):
        sample(Elementwise(limit=0), (3,), 2, **chosen, sampler=sampler)


def test_conditions_go_with_their_samples() -> None:
    denoiser = Elementwise()
    sample(denoiser, (3,), 5, steps=1, cond={"digit": torch.arange(5)}, batch_size=2)
    assert [cond["digit"].tolist() for cond in denoiser.conditions] == [[0, 1], [2, 3], [4]]


def test_poll_is_called_after_every_call_and_may_stop() -> None:
    class Stop(Exception):
        pass

    polls = 0

    def poll() -> None:
        nonlocal polls
        polls += 1
        if polls == 6:
            raise Stop

    denoiser = Elementwise()
    with pytest.raises(Stop):
        sample(denoiser, (3,), 4, steps=4, batch_size=2, poll=poll)
    assert denoiser.calls == 6


def test_sampling_tracks_no_gradient_and_returns_float32() -> None:
    weight = torch.ones((), requires_grad=True)

    class Weighted(Elementwise):
        def __call__(self, x_t: Tensor, t: Tensor, **cond: Tensor) -> Tensor:
            return weight * x_t

    x = sample(Weighted(), (3,), 2, steps=3)
    assert not x.requires_grad
    assert x.dtype == torch.float32


def _run(name: str, times: Tensor, **options: Any) -> None:
    list(get_sampler(name).run(Elementwise(), gaussian(2, 3), times, lambda k: gaussian(2, 3), **options))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sample(Elementwise(), (3,), 0), "at least 1"),
        (lambda: sample(Elementwise(), (3,), 1, batch_size=0), "at least 1"),
        (lambda: sample(Elementwise(), (3,), 1, steps=51), "1 to 50"),
        (lambda: sample(Elementwise(), (3,), 1, steps=0), "at least 1"),
        (lambda: sample(Elementwise(), (3,), 1, sampler="dpmp-2m"), "'dpmpp-2m'"),
        (lambda: sample(Elementwise(), (3,), 1, grid="uniforn"), "'uniform'"),
        (lambda: sample(Elementwise(), (3,), 1, sampler="ddim", eta=1.01), "eta"),
        (lambda: sample(Elementwise(), (3,), 1, sampler="ddim", eta=-0.1), "eta"),
        (lambda: sample(Elementwise(), (3,), 1, sampler="ddim", eta=float("nan")), "eta"),
        (lambda: sample(Elementwise(), (3,), 1, sampler="dpmpp-2m", eta=2.0), "eta"),
        (lambda: _run("ancestral", f64(1, 0), variance="larg"), "'large'"),
        (lambda: _run("ddim", f64(1, 0.5, 0.5, 0)), "strictly decreasing"),
        (lambda: _run("ddim", f64(0, 1)), "strictly decreasing"),
        (lambda: _run("ddim", f64(1)), "strictly decreasing"),
        (lambda: _run("dpmpp-2m", f64(1.5, 0.5)), r"\[0, 1\]"),
        (lambda: _run("dpmpp-2m", f64(0.5, -0.5)), r"\[0, 1\]"),
    ],
)
def test_what_cannot_be_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()
