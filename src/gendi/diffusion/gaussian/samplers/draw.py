"""Drawing samples: the loop over batches, and a noise stream of its own for every sample.

Sample i of seed s draws its starting noise and its step noises from the stream keyed (s, "sample", i), in that order.
So it is the same picture, to float round-off, whatever the batch size, the neighbours or the device. A trajectory
starts from noise at t = 1, or, where a picture is edited, from any state at any time.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from gendi.diffusion.batches import in_batches
from gendi.diffusion.conditions import Conditions, take
from gendi.diffusion.gaussian.conditioned import conditioned
from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.samplers.brownian import BrownianNoise
from gendi.diffusion.gaussian.samplers.checked import checked
from gendi.diffusion.gaussian.samplers.drawing import Drawing
from gendi.diffusion.gaussian.samplers.grid import BOUNDS, Bounds, make_grid
from gendi.diffusion.gaussian.samplers.info import SamplerInfo
from gendi.diffusion.gaussian.samplers.registry import get_sampler
from gendi.diffusion.gaussian.samplers.state import Noise, State
from gendi.diffusion.gaussian.samplers.temperature import scaled, tempered
from gendi.diffusion.gaussian.schedule import Schedule
from gendi.diffusion.randomness import stream
from gendi.errors import UsageError
from gendi.machine.stopping import Poll

Start = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Maps standard normal noise (B, *shape), alpha and sigma at the first time to x there."""


class SampleNoise:
    """Standard normal noise for a batch: row j always comes from the stream of sample indices[j]."""

    def __init__(self, seed: int, indices: Sequence[int], shape: tuple[int, ...], device: torch.device | str) -> None:
        self.streams = [stream(seed, "sample", index=i) for i in indices]
        self.shape, self.device = shape, device

    def __call__(self, step: int) -> Tensor:
        """Return the next noise, (B, *shape) float32; each call draws afresh, so `step` is for callers that replay."""
        rows = np.empty((len(self.streams), *self.shape), np.float32)
        for row, own in zip(rows, self.streams, strict=True):
            own.standard_normal(dtype=np.float32, out=row)
        return torch.from_numpy(rows).to(self.device)


def initial(denoiser: Denoiser, noise: Tensor, times: Tensor) -> Tensor:
    """Return x at times[0] from standard normal noise: its marginal's sigma times it (the signal left there is
    dropped).
    """
    return denoiser.schedule(times[0])[1].to(noise) * noise


def calls_to_times(
    schedule: Schedule, info: SamplerInfo, steps: int, grid: str | None = None, bounds: Bounds = BOUNDS
) -> Float64[Tensor, " n_plus_1"]:
    """Return the times of a sampler's grid on which it makes `steps` calls (at most, if it is adaptive).

    Raises `UsageError` as `make_grid` does, and for more calls than a discrete chain has steps, unless it is adaptive.
    """
    if not info.adaptive and schedule.steps is not None and steps > schedule.steps:
        raise UsageError(f"{steps} calls were asked of a chain of {schedule.steps}: choose 1 to {schedule.steps}.")
    if steps < 1:
        raise UsageError(f"sampling needs at least 1 step; got {steps}.")
    return make_grid(schedule, info.intervals(steps), grid or info.grid, bounds)


def times_from(schedule: Schedule, info: SamplerInfo, t: float, how: Drawing) -> Float64[Tensor, " n_plus_1"]:
    """Return the times of a sampler that starts at t in (0, 1] and makes `how.steps` calls (fewer where a chain has not
    as many below t).

    They are t, and then the end of the coarsest grid of the sampler's kind that has as many times below t. Raises
    `UsageError` for t outside (0, 1], and as `calls_to_times` does.
    """
    if not 0 < t <= 1:
        raise UsageError(f"t = {t:g} is out of range: sampling starts at a time above 0 and at most 1.")
    if t == 1:
        return calls_to_times(schedule, info, how.steps, how.grid, how.bounds)
    most = how.steps if schedule.steps is None else min(how.steps, schedule.steps)
    wanted = info.intervals(most)
    for calls in _more_and_more(most, schedule.steps, info):
        times = calls_to_times(schedule, info, calls, how.grid, how.bounds)
        below = times[times < t * (1 - 1e-9)]
        if len(below) >= wanted:
            break
    start = torch.tensor([t], dtype=torch.float64)
    return torch.cat([start, below[-wanted:]])


def _more_and_more(first: int, most: int | None, info: SamplerInfo) -> Iterator[int]:
    """Yield numbers of calls of a whole grid, from `first` on, each as few as 2% more, up to a chain's length."""
    calls = first
    while most is None or calls < most:
        yield calls
        calls += max(1, calls // 50)
        if info.adaptive or calls > 10_000_000:
            return
    yield most


def trajectory(
    denoiser: Denoiser,
    shape: tuple[int, ...],
    indices: Sequence[int],
    how: Drawing | None = None,
    *,
    cond: Conditions | None = None,
    t: float = 1.0,
    start: Start | None = None,
    run: Callable[..., Iterator[State]] | None = None,
    poll: Poll | None = None,
    **settings: Any,
) -> Iterator[State]:
    """Yield the state after each step of drawing the samples `indices`; x is (len(indices), *shape) in model space.

    Args:
        how, settings: how to draw, as a `Drawing` or as its fields and the sampler's options by keyword.
        cond: conditions by name, one row for each of `indices`.
        t: the time to start at, in (0, 1].
        start: what x is there; by default sigma times the noise.
        run: what to run on the sampler's grid in the place of the sampler.
        poll: called after every network call; raise from it to stop.

    Raises what `sample` raises, as soon as the first state is asked for, and `UsageError` for t outside (0, 1].
    """
    how = Drawing.of(settings) if how is None else how
    info, options = get_sampler(how.sampler), dict(how.options) if run is None else {}
    for option in options:
        info.check_option(how.sampler, option)
    if info.takes != "mean" and run is None and how.temperature != 1:
        raise UsageError(
            f"temperature = {how.temperature:g}: a temperature changes E[x_0 | x_t], and the sampler {how.sampler} "
            "follows paths that are learned as they are. Leave it out, or take another sampler."
        )
    times = times_from(denoiser.schedule, info, t, how)
    noise: Noise = SampleNoise(how.seed, indices, shape, how.device)
    first = noise(0)
    if start is None:
        x = initial(denoiser, first, times)
    else:
        alpha, sigma = denoiser.schedule(times[0])
        x = start(first, alpha.to(first), sigma.to(first))
    if run is None and info.brownian:
        noise = BrownianNoise(how.seed, indices, shape, times, how.device)
    if run is None and info.takes_calls:
        options["calls"] = how.steps
    watched = checked(tempered(conditioned(denoiser, cond), how.temperature), how.sampler, poll)
    yield from (run or info.run)(watched, x, times, scaled(noise, how.noise_scale), **options)


@torch.inference_mode()
def draw(n: int, how: Drawing, work: Callable[[slice], Iterator[State]]) -> Float[Tensor, " n *shape"]:
    """Return the last x of `work` (the states of some rows of n), batch by batch; float32 on the CPU, model space.

    Raises what `work` does, and `UsageError` for n or a batch size below 1.
    """
    if n < 1 or how.batch_size < 1:
        raise UsageError(
            f"the number of samples and the batch size must be at least 1; got n = {n}, batch size {how.batch_size}."
        )
    done: list[Tensor] = []

    def batch(rows: slice) -> None:
        for state in work(rows):
            x = state.x
        done.append(x.cpu())

    in_batches(n, how.batch_size, batch)
    return torch.cat(done)


def sample(
    denoiser: Denoiser,
    shape: tuple[int, ...],
    n: int,
    how: Drawing | None = None,
    *,
    cond: Conditions | None = None,
    poll: Poll | None = None,
    **settings: Any,
) -> Float[Tensor, " n *shape"]:
    """Draw samples first_index, ..., first_index + n - 1 of `seed`.

    Args:
        denoiser: E[x_0 | x_t].
        shape: shape of one sample in model space, (C, H, W) for images.
        n: how many samples.
        how: how to draw; or its fields (steps, sampler, seed, ...) and the sampler's options by keyword, in `settings`.
        cond: conditions by name, n rows each, for a conditional denoiser (see `gendi.diffusion.conditions`).
        poll: called after every network call; raise from it to stop.

    Returns:
        (n, *shape) float32 on the CPU, in model space.

    Raises:
        UsageError: n, steps or batch_size below 1, unknown names, more steps than the chain has, an option that the
            sampler has not or out of its range, a denoiser that returns another shape than it was given.
        DivergedError: a denoiser that returns NaN or infinity.
    """
    plan = Drawing.of(settings) if how is None else how

    def work(rows: slice) -> Iterator[State]:
        return trajectory(denoiser, shape, plan.indices(rows), plan, cond=take(cond, rows, plan.device), poll=poll)

    return draw(n, plan, work)
